// The sliders of the face.
import { type Avatar } from "../index";
import { type Control, type Emotion, emotions, GROUPS, sides } from "./words";

const NECK = 3;

/** Builds the panel; returns what the sliders add to the face. */
export class Panel {
  private readonly sliders: Record<string, number> = {};
  private readonly strengths = new Map<Emotion, number>();
  private readonly emotions: Emotion[];
  readonly pose = new Float32Array(21);

  constructor(private readonly avatar: Avatar, private readonly changed: () => void) {
    this.emotions = emotions(avatar.manifest.coefficients);
    const apart = element<HTMLInputElement>("apart");
    apart.onchange = () => this.build(apart.checked);
    element("reset").onclick = () => {
      for (const name of Object.keys(this.sliders)) delete this.sliders[name];
      this.strengths.clear();
      this.pose.fill(0);
      this.build(apart.checked);
      this.changed();
    };
    element("consent").textContent = avatar.manifest.consent ? `Consent: ${avatar.manifest.consent}` : "";
    this.build(false);
  }

  /** What all sliders together add to the face. */
  get coefficients(): Record<string, number> {
    const sum = { ...this.sliders };
    for (const [{ adds }, strength] of this.strengths) {
      for (const [name, value] of adds) sum[name] = (sum[name] ?? 0) + strength * value;
    }
    return sum;
  }

  private build(apart: boolean): void {
    const groups = element("groups");
    const open = new Set(Array.from(groups.querySelectorAll("details[open]"), (each) => each.id));
    const folder = (name: string, index: number) => {
      const details = document.createElement("details");
      details.id = `group-${index}`;
      details.open = open.size ? open.has(details.id) : index < 2;
      const summary = document.createElement("summary");
      summary.textContent = name;
      details.append(summary);
      return details;
    };
    const feelings = folder("Emotion", 0);
    feelings.append(...this.emotions.map((emotion) => slider(emotion.text, this.strengths.get(emotion) ?? 0, 0, (value) => {
      this.strengths.set(emotion, value);
      this.changed();
    })));
    groups.replaceChildren(feelings, ...GROUPS.map((group, index) => {
      const details = folder(group.name, index + 1);
      const controls = apart ? group.controls.flatMap(sides) : group.controls;
      details.append(...controls.map((control) => this.control(control)));
      for (const { text, axis, reach } of group.turns ?? []) {
        const at = NECK + axis;
        details.append(slider(text, this.pose[at] / reach, -1, (value) => {
          this.pose[at] = value * reach;
          this.changed();
        }));
      }
      return details;
    }));
  }

  private control({ text, moves }: Control): HTMLElement {
    const known = moves.filter((name) => this.avatar.manifest.coefficients.includes(name));
    return slider(text, this.sliders[known[0]] ?? 0, 0, (value) => {
      for (const name of known) this.sliders[name] = value;
      this.changed();
    });
  }
}

function slider(text: string, value: number, low: number, changed: (value: number) => void): HTMLElement {
  const label = document.createElement("label");
  label.className = "slider";
  const words = document.createElement("span");
  words.textContent = text;
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: String(low), max: "1", step: "0.01", className: low < 0 ? "middle" : "" });
  input.value = String(value);
  const show = () => fill(input);
  input.oninput = () => {
    show();
    changed(Number(input.value));
  };
  show();
  label.append(words, input);
  return label;
}

/** Colours a slider's track up to its thumb. */
export function fill(input: HTMLInputElement): void {
  const share = (Number(input.value) - Number(input.min)) / (Number(input.max) - Number(input.min) || 1);
  input.style.setProperty("--done", `${100 * share}%`);
}

export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}
