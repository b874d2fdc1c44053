// The face's controls in plain words. What moves two sides is one control, or one for each side where they are apart.
import PRESETS from "../../../../avatar/editing/emotions.json";
import FACE from "../../../../avatar/heads/controls.json";

export interface Control {
  text: string;
  /** Coefficients it moves, all of them together. */
  moves: string[];
}

export interface Group {
  name: string;
  controls: Control[];
  /** Turns of the neck, in both directions. */
  turns?: { text: string; axis: number; reach: number }[];
}

const HEAD: Group = {
  name: "Head",
  controls: [],
  turns: [
    { text: "Turn", axis: 1, reach: 0.4 }, { text: "Nod", axis: 0, reach: 0.3 }, { text: "Tilt", axis: 2, reach: 0.3 },
  ],
};
export const GROUPS: Group[] = [...FACE, HEAD];

/** The two sides of a control, one by one. */
export function sides(control: Control): Control[] {
  if (control.moves.length === 1) return [control];
  // "Look to its left, left" would say two things by one word.
  const organ = control.moves[0].startsWith("eye") ? " eye" : "";
  return control.moves.map((name) => ({
    text: `${control.text}, ${name.endsWith("Left") ? "left" : "right"}${organ}`, moves: [name],
  }));
}

export interface Emotion {
  text: string;
  /** What it adds to coefficients at its full strength. */
  adds: [string, number][];
}

// A page adds the same to every moment. What takes away from what plays, or parts lips that must close, it leaves out.
const PARTING = /^mouth(UpperUp|LowerDown|Funnel|ShrugUpper)/;

/** The emotions for the coefficients that there are. */
export function emotions(names: string[]): Emotion[] {
  return PRESETS.map(({ text, deltas }) => {
    const added = Object.entries(deltas).filter(([name, value]) => value > 0 && !PARTING.test(name));
    const both = ([name, value]: [string, number]) =>
      [name, `${name}Left`, `${name}Right`].filter((each) => names.includes(each)).map((each): [string, number] => [each, value]);
    return { text, adds: added.flatMap(both) };
  }).filter(({ adds }) => adds.length);
}
