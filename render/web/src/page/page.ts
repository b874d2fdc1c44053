// The page around the avatar: play, look around, move the face, step into VR and AR.
import { Avatar, enterXR, followWebcam, PlayerError, supportedXR, type Webcam } from "../index";
import { element, fill, Panel } from "./panel";
import { lookAround } from "./view";

const BLINK_SECONDS = 0.24;
const options = new URLSearchParams(location.search);

async function start(): Promise<void> {
  const renderer = options.get("renderer") as "webgl" | "software" | null;
  const place = options.get("avatar") ?? "./";
  const avatar = await Avatar.load(place, { renderer: renderer ?? "auto" });
  const canvas = element<HTMLCanvasElement>("picture");
  avatar.attach(canvas);
  avatar.onError = (error) => tell(error);
  await avatar.draw();
  element("message").hidden = true;
  element("bar").hidden = false;
  const reset = lookAround(avatar, canvas);
  element("front").onclick = reset;
  canvas.addEventListener("pointerdown", () => { element("hint").style.opacity = "0"; });
  element("hint").hidden = false;

  const face = new Face(avatar);
  const panel = new Panel(avatar, () => face.show(panel));
  face.show(panel);
  toggle("contact", (on) => { avatar.eyeContact = on; });
  toggle("face", (on) => {
    element("panel").hidden = !on;
    document.body.classList.toggle("open", on);
  });
  if (avatar.track) new Timeline(avatar);
  else element("player").hidden = true;
  if (options.has("live")) avatar.listen(options.get("live")!);
  if (avatar.manifest.webcam) webcamButton(avatar, place);
  for (const mode of await supportedXR()) {
    const button = element<HTMLButtonElement>(mode === "immersive-vr" ? "vr" : "ar");
    button.hidden = false;
    button.onclick = () => enterXR(avatar, mode).catch((error) => tell(error));
  }
  Object.assign(window, { avatar });
}

/** What the sliders add, and a blink now and then while nothing plays. */
class Face {
  private panel: Panel | null = null;
  private blink = 0;

  constructor(private readonly avatar: Avatar) {
    const wait = () => setTimeout(() => {
      if (!avatar.playback?.playing && !document.hidden) this.close(performance.now());
      wait();
    }, 2500 + 2500 * Math.random());
    wait();
  }

  show(panel: Panel): void {
    this.panel = panel;
    this.apply();
  }

  private close(start: number): void {
    const share = (performance.now() - start) / 1000 / BLINK_SECONDS;
    this.blink = share < 1 ? Math.sin(Math.PI * share) : 0;
    this.apply();
    if (share < 1) requestAnimationFrame(() => this.close(start));
  }

  private apply(): void {
    const moved = { ...this.panel?.coefficients };
    for (const name of ["eyeBlinkLeft", "eyeBlinkRight"]) moved[name] = Math.max(moved[name] ?? 0, 0.9 * this.blink);
    this.avatar.setOffsets(moved, this.panel?.pose);
  }
}

/** Play, pause, time and sound. */
class Timeline {
  private readonly play = element<HTMLButtonElement>("play");
  private readonly time = element<HTMLInputElement>("time");
  private readonly sound = element<HTMLButtonElement>("sound");
  private context: AudioContext | null = null;
  private dragging = false;

  constructor(private readonly avatar: Avatar) {
    this.sound.hidden = !avatar.hasSound;
    this.play.onclick = () => void this.toggle().catch((error) => tell(error));
    this.time.onpointerdown = () => { this.dragging = true; };
    this.time.onchange = () => { this.dragging = false; };
    this.time.oninput = () => void this.seek(Number(this.time.value)).catch((error) => tell(error));
    this.sound.onclick = () => {
      const on = this.sound.getAttribute("aria-pressed") !== "true";
      this.sound.setAttribute("aria-pressed", String(on));
      if (avatar.playback) avatar.playback.muted = !on;
    };
    // What is silent may begin by itself; sound waits for a person's click.
    if (!avatar.hasSound) void avatar.play();
    const tick = () => {
      requestAnimationFrame(tick);
      this.show();
    };
    tick();
  }

  private async toggle(): Promise<void> {
    if (this.avatar.playback?.playing) this.avatar.playback.pause();
    else await this.start();
  }

  private async start(): Promise<void> {
    if (this.avatar.playback) {
      this.avatar.playback.play();
      return;
    }
    if (this.avatar.hasSound) this.context ??= new AudioContext();
    const playback = await this.avatar.play(null, this.context);
    // What is said is said once; what moves in silence goes on.
    playback.loop = !this.avatar.hasSound;
    playback.muted = this.sound.getAttribute("aria-pressed") !== "true";
  }

  private async seek(share: number): Promise<void> {
    if (!this.avatar.playback) {
      await this.start();
      this.avatar.playback!.pause();
    }
    this.avatar.playback!.seek(share * this.avatar.track!.duration);
  }

  private show(): void {
    const { playback, track } = this.avatar;
    const playing = playback?.playing ?? false, time = playback?.time ?? 0;
    this.play.classList.toggle("playing", playing);
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    if (!this.dragging) this.time.value = String(time / track!.duration);
    fill(this.time);
    element("clock").textContent = `${clock(time)} / ${clock(track!.duration)}`;
  }
}

/** Follows the person before the webcam for as long as the button is pressed. */
function webcamButton(avatar: Avatar, place: string): void {
  const button = element<HTMLButtonElement>("webcam");
  let webcam: Webcam | null = null;
  button.hidden = false;
  element("play").addEventListener("click", () => {
    if (webcam) button.click();
  });
  button.onclick = async () => {
    button.disabled = true;
    try {
      if (webcam) webcam.stop();
      webcam = webcam ? null : await followWebcam(avatar, place);
    } catch (error) {
      tell(error);
    }
    button.disabled = false;
    button.setAttribute("aria-pressed", String(webcam !== null));
  };
}

function toggle(id: string, changed: (on: boolean) => void): void {
  const button = element<HTMLButtonElement>(id);
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    changed(on);
  };
}

function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** Says in the page what went wrong; what nobody foresaw goes to the console too. */
function tell(error: unknown): void {
  const message = element("message");
  message.textContent = error instanceof Error ? error.message : String(error);
  message.className = "error";
  message.hidden = false;
  if (!(error instanceof PlayerError)) console.error(error);
}

start().catch(tell);
