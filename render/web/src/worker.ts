// What runs beside the page: deforms, sorts, and draws where there is no graphics card.
import { type Camera } from "./camera";
import { Engine, pictureWidth } from "./engine";
import { PlayerError } from "./errors";
import { type Package } from "./manifest";
import { WORLD_FLOATS } from "./shaders";

export interface FrameRequest {
  /** Coefficients and pose; null to keep those of the frame before. */
  row: Float32Array | null;
  /** Pitch and yaw of both eyes, radians, instead of the row's. */
  gaze: [number, number] | null;
  /** Draw from here, or only sort along the way it looks. */
  camera: Camera;
  draw: boolean;
  /** A buffer to fill, from an earlier frame. */
  buffer: ArrayBuffer | null;
  /** Which rows of tiles to draw: every `parts`-th, from `part` on. */
  part?: number;
  parts?: number;
}

export interface Frame {
  /** Gaussians in world space, the farthest first, or a picture with straight alpha. */
  content: ArrayBuffer;
  /** Of the picture. */
  width: number;
  height: number;
  /** Pixels from one row of the picture to the next. */
  stride: number;
  /** Milliseconds that the frame took here. */
  took: number;
}

type Question = { id: number; load: Package } | { id: number; frame: FrameRequest };
type Answer = { id: number; frame?: Frame; error?: { text: string; known: boolean } };

export const WORKER_NAME = "headsplat";

/** Answers questions of the page, one after another. */
export function serve(scope: DedicatedWorkerGlobalScope): void {
  let engine: Engine | null = null;
  let last: Promise<void> = Promise.resolve();
  scope.onmessage = ({ data }: MessageEvent<Question>) => {
    last = last.then(async () => {
      try {
        if ("load" in data) {
          engine = await Engine.create(data.load);
          scope.postMessage({ id: data.id } satisfies Answer);
        } else {
          const frame = answered(engine!, data.frame);
          scope.postMessage({ id: data.id, frame } satisfies Answer, [frame.content]);
        }
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        scope.postMessage({ id: data.id, error: { text, known: error instanceof PlayerError } } satisfies Answer);
      }
    });
  };
}

function answered(engine: Engine, request: FrameRequest): Frame {
  const start = performance.now();
  const { camera, draw } = request;
  if (request.row) engine.deform(request.row, request.gaze);
  const result = draw ? engine.draw(camera, request.part, request.parts) : engine.sorted(Array.prototype.slice.call(camera.view, 8, 11));
  const fits = request.buffer?.byteLength === result.byteLength;
  const content = fits ? request.buffer! : new ArrayBuffer(result.byteLength);
  new Uint8Array(content).set(new Uint8Array(result.buffer, result.byteOffset, result.byteLength));
  const stride = draw ? pictureWidth(camera.width) : WORLD_FLOATS;
  return { content, width: camera.width, height: camera.height, stride, took: performance.now() - start };
}

/** The page's end of the line to one worker. */
export class Deformer {
  private readonly waiting = new Map<number, { done: (frame: Frame) => void; failed: (error: Error) => void }>();
  private next = 0;
  private readonly worker: Worker;

  constructor(url: string) {
    this.worker = started(url);
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) waiting?.failed(data.error.known ? new PlayerError(data.error.text) : new Error(data.error.text));
      else waiting?.done(data.frame!);
    };
    this.worker.onerror = (event) => {
      event.preventDefault?.();
      this.fail(new PlayerError("The avatar's worker could not be started."));
    };
  }

  async load(source: Package): Promise<void> {
    await this.ask({ load: source }, []);
  }

  frame(request: FrameRequest): Promise<Frame> {
    return this.ask({ frame: request }, request.buffer ? [request.buffer] : []);
  }

  dispose(): void {
    this.worker.terminate();
    this.fail(new PlayerError("The avatar was closed."));
  }

  private fail(error: Error): void {
    for (const { failed } of this.waiting.values()) failed(error);
    this.waiting.clear();
  }

  private ask(question: { load: Package } | { frame: FrameRequest }, moved: Transferable[]): Promise<Frame> {
    const id = this.next++;
    return new Promise((done, failed) => {
      this.waiting.set(id, { done, failed });
      this.worker.postMessage({ id, ...question }, moved);
    });
  }
}

/** A worker of this very file; from another origin by way of a file that imports it. */
function started(url: string): Worker {
  const options = { type: "module", name: WORKER_NAME } as const;
  if (new URL(url, location.href).origin === location.origin) return new Worker(url, options);
  const stub = new Blob([`import ${JSON.stringify(url)};`], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(stub), options);
}
