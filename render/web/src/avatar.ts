// The avatar in a page: what an application loads, drives and draws.
import { type Camera, type Orbit, orbitCamera, orbitEye, openglMatrices, type Vector } from "./camera";
import { type Coefficients, coefficientValues, flatPose, type Pose, rowOf } from "./coefficients";
import { TILE } from "./engine";
import { PlayerError } from "./errors";
import { gazeTurns } from "./gaze";
import { LiveInput } from "./live";
import { COEFFICIENTS, loadPackage, type Manifest, manifestUrl, POSE } from "./manifest";
import { loadTrack, Playback, Track } from "./track";
import { hasGraphicsCard, WebglRenderer } from "./webgl";
import { Deformer, type Frame } from "./worker";

export interface AvatarOptions {
  /** Draw on the graphics card or on the processor; "auto" looks for a graphics card. */
  renderer?: "auto" | "webgl" | "software";
  /** Where this file lies, for its worker; known by itself unless a bundler moved it. */
  workerUrl?: string;
  /** How many workers share the picture where a processor draws it: half its cores, up to four, if not said. */
  workers?: number;
}

// On a processor, pixels are traded for frames a second.
const FEWEST_PIXELS = 256 * 256;
const FIRST_PIXELS = 512 * 512;
const SLOW = 55, FAST = 28;
const MOST_WORKERS = 4;
const LONGEST_LAG = 0.1;

export class Avatar {
  /** Where it is looked at from; change it, and the next frame shows it. */
  readonly orbit: Orbit;
  /** Whether the eyes follow the camera. */
  eyeContact = false;
  /** Called after each frame that was drawn. */
  onFrame: ((frame: Frame) => void) | null = null;
  /** Called when drawing or live input fails. */
  onError: ((error: Error) => void) | null = null;
  /** The track that was exported with it. */
  track: Track | null = null;
  playback: Playback | null = null;

  private canvas: HTMLCanvasElement | null = null;
  private webgl: WebglRenderer | null = null;
  private flat: CanvasRenderingContext2D | null = null;
  private fixed: [number, number] | null = null;
  private pixels = FIRST_PIXELS;
  private readonly row: Float32Array;
  private readonly offsets = new Float32Array(COEFFICIENTS + POSE);
  private readonly sent: Float32Array;
  private sentCamera = "";
  private sentGaze = "";
  private stale = true;
  private busy = false;
  private held = false;
  private lag = 0;
  private spare: ArrayBuffer[] = [];
  private animation = 0;
  private input: LiveInput | null = null;
  private soundFile: ArrayBuffer | null = null;
  private disposed = false;

  /** On a processor several workers draw a part of the picture each; the first one also sorts for other renderers. */
  private constructor(
    readonly manifest: Manifest, private readonly workers: Deformer[], readonly renderer: "webgl" | "software",
  ) {
    this.row = Float32Array.from(manifest.neutral);
    this.sent = new Float32Array(this.row.length);
    const { focal, width, height } = manifest.camera;
    const center = manifest.center;
    this.orbit = {
      // A little below the eyes lies the middle of a face.
      center: [center[0], center[1] - 0.035, center[2] - 0.03],
      distance: Math.hypot(...center), yaw: 0, pitch: 0, focal: (0.92 * focal) / Math.min(width, height), shift: [0, 0.02],
    };
  }

  /**
   * Loads an avatar that `avatar export --format web` wrote.
   *
   * @param url Its folder, or its avatar.json.
   */
  static async load(url: string, options: AvatarOptions = {}): Promise<Avatar> {
    const source = await loadPackage(url);
    const chosen = options.renderer ?? "auto";
    const renderer = chosen === "auto" ? (hasGraphicsCard() ? "webgl" : "software") : chosen;
    // The other half is left to the page and to the browser, which puts the picture on the screen.
    const half = Math.min((navigator.hardwareConcurrency || 1) >> 1, MOST_WORKERS);
    const count = renderer === "webgl" ? 1 : Math.max(options.workers ?? half, 1);
    const workers = Array.from({ length: count }, () => new Deformer(options.workerUrl ?? import.meta.url));
    const avatar = new Avatar(source.manifest, workers, renderer);
    const [loaded] = await Promise.all([
      loadTrack(source.manifest, manifestUrl(url)), ...workers.map((worker) => worker.load(source)),
    ]).catch((error) => {
      avatar.dispose();
      throw error;
    });
    avatar.track = loaded?.track ?? null;
    avatar.soundFile = loaded?.sound ?? null;
    return avatar;
  }

  /** Whether the exported track has a sound. */
  get hasSound(): boolean {
    return this.soundFile !== null || !!this.track?.sound;
  }

  /** Draws into a canvas from now on, as large as it is on the page, or as large as said here. */
  attach(canvas: HTMLCanvasElement, size?: { width: number; height: number }): void {
    this.canvas = canvas;
    this.fixed = size ? [size.width, size.height] : null;
    if (this.renderer === "webgl") this.attachWebgl(canvas);
    else this.flat = canvas.getContext("2d");
    this.stale = true;
    cancelAnimationFrame(this.animation);
    const tick = () => {
      this.animation = requestAnimationFrame(tick);
      this.pump();
    };
    tick();
  }

  /**
   * Shows a face: 52 ARKit coefficients in the order of `manifest.coefficients`, or some of them by name, and a pose.
   * What plays is stopped.
   *
   * @param pose Differences from the subject's pose at ease, by name or as 21 numbers.
   */
  setCoefficients(coefficients: Coefficients, pose?: Pose | ArrayLike<number>): void {
    this.stop();
    this.row.set(rowOf(this.manifest, coefficients, pose));
  }

  /** Adds to coefficients and pose, whether they play or were set. */
  setOffsets(coefficients: Coefficients, pose?: Pose | ArrayLike<number>): void {
    this.offsets.set(coefficientValues(this.manifest, coefficients));
    this.offsets.set(flatPose(pose), COEFFICIENTS);
  }

  /** Coefficients and pose of each moment as a track to play. */
  makeTrack(
    moments: { coefficients: Coefficients; pose?: Pose | ArrayLike<number> }[], fps: number, sound?: AudioBuffer,
  ): Track {
    const columns = this.row.length;
    const rows = new Float32Array(columns * moments.length);
    moments.forEach(({ coefficients, pose }, i) => rows.set(rowOf(this.manifest, coefficients, pose), i * columns));
    return new Track(rows, columns, fps, sound ?? null);
  }

  /**
   * Plays a track, its own where none is given, in time with its sound.
   *
   * Browsers let sound begin only on a person's click, and so the context should be made in one.
   */
  async play(track?: Track | null, context?: AudioContext | null): Promise<Playback> {
    let chosen = track ?? this.track;
    if (!chosen) throw new Error("This avatar came without a track: give one to play.");
    if (chosen === this.track && this.soundFile && context) {
      const sound = await context.decodeAudioData(this.soundFile).catch(() => null);
      if (!sound) this.onError?.(new PlayerError("This browser cannot play the avatar's sound."));
      this.track = chosen = new Track(chosen.rows, chosen.columns, chosen.fps, sound);
      this.soundFile = null;
    }
    this.stop();
    this.playback = new Playback(chosen, context ?? null);
    this.playback.play();
    return this.playback;
  }

  /** Ends what plays; the face stays as it is. */
  stop(): void {
    this.playback?.dispose();
    this.playback = null;
  }

  /** Follows coefficients that a WebSocket sends (docs/web.md says how they look). */
  listen(url: string): LiveInput {
    this.input?.close();
    this.input = new LiveInput(url, (coefficients, pose) => this.setCoefficients(coefficients, pose), (error) => this.onError?.(error));
    return this.input;
  }

  /** Pitch and yaw of the eyes towards a point; null without eye contact. */
  currentGaze(row: Float32Array, eye: Vector): [number, number] | null {
    return this.eyeContact ? gazeTurns(row, this.manifest, eye) : null;
  }

  /** Coefficients and pose as they are shown now, or some seconds later. */
  currentRow(later = 0): Float32Array {
    const row = this.playback ? this.playback.track.at(this.playback.time + later) : Float32Array.from(this.row);
    if (this.playback) this.row.set(row);
    for (let i = 0; i < this.offsets.length; i++) row[i] += this.offsets[i];
    return row;
  }

  /** Deforms and sorts for a direction of view without drawing: for XR and other renderers. */
  splats(forward: Vector, eye = orbitEye(this.orbit), buffer: ArrayBuffer | null = null): Promise<Frame> {
    const view = [1, 0, 0, 0, 0, 1, 0, 0, ...forward, 0, 0, 0, 0, 1];
    const camera = { view, fx: 1, fy: 1, cx: 0, cy: 0, width: 1, height: 1 };
    this.stale = true;
    const row = this.currentRow(), gaze = this.currentGaze(row, eye);
    return this.workers[0].frame({ row, gaze, camera, draw: false, buffer });
  }

  /** Draws the moment as it is now, and waits for it. */
  async draw(camera?: Camera): Promise<void> {
    while (this.busy) await new Promise((done) => setTimeout(done, 1));
    await this.request(this.currentRow(), camera ?? this.camera());
  }

  dispose(): void {
    this.disposed = true;
    cancelAnimationFrame(this.animation);
    this.stop();
    this.input?.close();
    for (const worker of this.workers) worker.dispose();
    this.webgl?.dispose();
  }

  /** Stops and resumes drawing into the canvas, for as long as something else draws. */
  set paused(value: boolean) {
    this.held = value;
    this.stale = true;
  }

  private attachWebgl(canvas: HTMLCanvasElement): void {
    const attributes = { alpha: true, antialias: false, premultipliedAlpha: true, xrCompatible: "xr" in navigator };
    const gl = canvas.getContext("webgl2", attributes) as WebGL2RenderingContext | null;
    if (!gl) throw new Error("This canvas cannot be drawn to with WebGL2.");
    this.webgl = new WebglRenderer(gl, this.manifest.gaussians);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.webgl = new WebglRenderer(gl, this.manifest.gaussians);
      this.stale = true;
    });
  }

  private camera(): Camera {
    const [width, height] = this.size();
    return orbitCamera(this.orbit, width, height);
  }

  private size(): [number, number] {
    if (this.fixed) return this.fixed;
    const { clientWidth, clientHeight } = this.canvas!;
    let scale = Math.min(devicePixelRatio || 1, 2);
    if (this.renderer === "software") scale = Math.min(scale, Math.sqrt(this.pixels / Math.max(clientWidth * clientHeight, 1)));
    return [Math.max(1, Math.round(clientWidth * scale)), Math.max(1, Math.round(clientHeight * scale))];
  }

  /** Asks for the next frame where there is something new to see. */
  private pump(): void {
    if (this.busy || this.held || this.disposed || !this.canvas?.clientWidth) return;
    // What is asked for now is seen once it is drawn, and the sound goes on meanwhile.
    const row = this.currentRow(this.playback?.playing ? this.lag : 0), camera = this.camera();
    const still = row.every((value, i) => value === this.sent[i]) && this.sentCamera === JSON.stringify(camera);
    if (!this.stale && still && this.eyeContact === (this.sentGaze !== "null")) return;
    this.request(row, camera).catch((error) => {
      if (!this.disposed) this.onError?.(error);
    });
  }

  private async request(row: Float32Array, camera: Camera): Promise<void> {
    this.busy = true;
    const gaze = this.currentGaze(row, orbitEye(this.orbit));
    const moved = this.stale || String(gaze) !== this.sentGaze || row.some((value, i) => value !== this.sent[i]);
    this.sentGaze = String(gaze);
    this.stale = false;
    this.sent.set(row);
    this.sentCamera = JSON.stringify(camera);
    const draw = this.renderer === "software", parts = this.workers.length, spare = this.spare;
    this.spare = [];
    const start = performance.now();
    try {
      const frames = await Promise.all(this.workers.map((worker, part) => worker.frame({
        row: moved ? row : null, gaze, camera, draw, buffer: spare[part] ?? null, part, parts,
      })));
      this.present(frames, camera);
      this.lag += 0.1 * (Math.min((performance.now() - start) / 1000, LONGEST_LAG) - this.lag);
      this.spare = frames.map((frame) => frame.content);
      this.onFrame?.(frames.reduce((slowest, frame) => frame.took > slowest.took ? frame : slowest));
    } finally {
      this.busy = false;
    }
    if (this.renderer === "software") setTimeout(() => this.pump());
  }

  private present(frames: Frame[], camera: Camera): void {
    const { canvas } = this;
    if (!canvas) return;
    const { width, height } = camera;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (this.webgl) {
      this.webgl.update(new Float32Array(frames[0].content));
      this.webgl.gl.bindFramebuffer(this.webgl.gl.FRAMEBUFFER, null);
      this.webgl.draw([{ ...openglMatrices(camera), viewport: { x: 0, y: 0, width, height } }]);
    } else if (this.flat) {
      for (const [part, frame] of frames.entries()) this.place(frame, part, frames.length);
      this.adapt(Math.max(...frames.map((frame) => frame.took)));
    }
  }

  /** Puts a part's rows of tiles where they belong in the picture. */
  private place(frame: Frame, part: number, parts: number): void {
    if (!frame.content.byteLength) return;
    const picture = new ImageData(new Uint8ClampedArray(frame.content), frame.stride);
    for (let top = 0; top < picture.height; top += TILE) {
      const y = top * parts + part * TILE;
      this.flat!.putImageData(picture, 0, y - top, 0, top, frame.width, TILE);
    }
  }

  private adapt(took: number): void {
    if (took > SLOW) this.pixels = Math.max(FEWEST_PIXELS, this.pixels * 0.85);
    else if (took < FAST) this.pixels = Math.min(4 * FIRST_PIXELS, this.pixels * 1.02);
  }
}
