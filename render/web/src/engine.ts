// Deforms, sorts and draws in WebAssembly; runs in a worker, and in node for tests.
import wasm from "engine.wasm";
import { type Camera } from "./camera";
import { PlayerError } from "./errors";
import { Arrays, damaged, type Package } from "./manifest";
import { Rig } from "./rig";
import { WORLD_FLOATS } from "./shaders";

const CHANNELS = 10;
export const TILE = 16;
const FIRST_ROOM = 1 << 18;

interface Exports {
  memory: WebAssembly.Memory;
  freeMemory(): number;
  resolve(padded: number, components: number, condition: number, residuals: number, base: number, local: number): void;
  measure(faceCount: number, faces: number, vertices: number, sizes: number): void;
  place(
    faceCount: number, padded: number, faces: number, counts: number, vertices: number, restSizes: number,
    weights: number, axes: number, local: number, low: number, high: number, world: number): void;
  sort(
    count: number, world: number, x: number, y: number, z: number, reverse: number, keys: number, counts: number,
    order: number): void;
  gather(count: number, world: number, order: number, sorted: number): void;
  project(
    count: number, world: number, order: number, camera: number, width: number, height: number, part: number,
    parts: number, splats: number, counts: number, lists: number, room: number): number;
  raster(
    width: number, height: number, part: number, parts: number, splats: number, counts: number, lists: number,
    picture: number): void;
}

/** One avatar in WebAssembly memory. */
export class Engine {
  readonly count: number;
  readonly rig: Rig;
  private readonly padded: number;
  private readonly faceCount: number;
  private readonly at: Record<string, number> = {};
  private end: number;
  private room = 0;
  private tiles = 0;
  private pictureStart = 0;

  private constructor(private readonly wasm: Exports, private readonly source: Package) {
    const { manifest, data } = source;
    const arrays = new Arrays(manifest, data);
    this.count = manifest.gaussians;
    this.padded = Math.ceil(this.count / 4) * 4;
    this.faceCount = arrays.size("faces", 0);
    this.end = wasm.freeMemory();
    this.rig = new Rig(manifest, arrays);
    this.fill(arrays);
  }

  static async create(source: Package): Promise<Engine> {
    let module: WebAssembly.WebAssemblyInstantiatedSource;
    try {
      module = await WebAssembly.instantiate(wasm as BufferSource, {
        env: { abort: () => { throw new Error("the engine stopped"); } },
      }) as WebAssembly.WebAssemblyInstantiatedSource;
    } catch {
      throw new PlayerError("This browser is too old for the avatar: it has no WebAssembly SIMD.");
    }
    return new Engine(module.instance.exports as unknown as Exports, source);
  }

  /** Deforms the Gaussians as a row of coefficients and pose asks, with the eyes turned as `gaze` says if it is given. */
  deform(row: Float32Array, gaze: [number, number] | null = null): void {
    const { wasm, rig, at } = this;
    const { components, stretch } = this.source.manifest;
    rig.pose(row, gaze);
    this.floats(at.vertices, rig.vertices.length).set(rig.vertices);
    this.floats(at.condition, components).set(rig.condition);
    wasm.resolve(this.padded, components, at.condition, at.residuals, at.base, at.local);
    wasm.place(
      this.faceCount, this.padded, at.faces, at.counts, at.vertices, at.restSizes, at.weights, at.axes, at.local,
      stretch[0], stretch[1], at.world);
  }

  /** Gaussians in world space as they are stored: 12 numbers each (see `WORLD_FLOATS`). */
  world(): Float32Array {
    return this.floats(this.at.world, this.count * WORLD_FLOATS);
  }

  /** Gaussians in world space, the farthest along a direction first. */
  sorted(forward: ArrayLike<number>): Float32Array {
    const { wasm, at } = this;
    wasm.sort(this.count, at.world, forward[0], forward[1], forward[2], 1, at.keys, at.bins, at.order);
    wasm.gather(this.count, at.world, at.order, at.sorted);
    return this.floats(at.sorted, this.count * WORLD_FLOATS);
  }

  /**
   * The picture from a camera: RGBA with straight alpha, in rows as long as `pictureWidth` says. Of several parts, a part
   * holds every so many rows of tiles (`TILE` pixels high), one below the other.
   */
  draw(camera: Camera, part = 0, parts = 1): Uint8ClampedArray {
    const { wasm, at } = this;
    const { width, height, view } = camera;
    wasm.sort(this.count, at.world, view[8], view[9], view[10], 0, at.keys, at.bins, at.order);
    this.floats(at.camera, 16).set([
      view[0], view[1], view[2], view[4], view[5], view[6], view[8], view[9], view[10], view[3], view[7], view[11],
      camera.fx, camera.fy, camera.cx, camera.cy,
    ]);
    const rows = Math.ceil((Math.ceil(height / TILE) - part) / parts);
    const tiles = Math.ceil(width / TILE) * Math.max(rows, 0);
    if (tiles > this.tiles || !this.room) {
      this.tiles = tiles;
      this.room ||= FIRST_ROOM;
      this.layOutPicture();
    }
    const project = () => wasm.project(
      this.count, at.world, at.order, at.camera, width, height, part, parts, at.splats, at.tiles, at.lists, this.room);
    const needed = project();
    if (needed > this.room) {
      this.room = Math.ceil(1.5 * needed);
      this.layOutPicture();
      project();
    }
    wasm.raster(width, height, part, parts, at.splats, at.tiles, at.lists, at.picture);
    return new Uint8ClampedArray(wasm.memory.buffer, at.picture, 4 * tiles * TILE * TILE);
  }

  private layOutPicture(): void {
    this.end = this.pictureStart;
    this.at.picture = this.reserve(4 * this.tiles * TILE * TILE);
    this.at.tiles = this.reserve(4 * (this.tiles + 1));
    this.at.lists = this.reserve(4 * this.room);
  }

  private fill(arrays: Arrays): void {
    const { count, padded, faceCount, at } = this;
    const { components } = this.source.manifest;
    at.faces = this.store(arrays.get("faces"));
    at.counts = this.store(arrays.get("face_counts"));
    const carried = (arrays.get("face_counts") as Uint16Array).reduce((sum, each) => sum + each, 0);
    const largest = (arrays.get("faces") as Uint16Array).reduce((a, b) => Math.max(a, b), 0);
    if (carried !== count || 3 * largest + 3 > this.rig.rest.length) throw damaged("its triangles do not fit");
    at.vertices = this.store(this.rig.rest);
    at.restSizes = this.reserve(4 * faceCount);
    this.wasm.measure(faceCount, at.faces, at.vertices, at.restSizes);
    at.weights = this.store(interleaved(arrays.get("barycentric"), count, 1 / 255));
    at.axes = this.store(columns(arrays.get("quats"), count));
    at.base = this.store(this.base(arrays));
    at.residuals = this.store(this.residuals(arrays));
    at.condition = this.reserve(4 * Math.max(components, 1));
    at.local = this.reserve(4 * CHANNELS * padded);
    at.world = this.reserve(4 * WORLD_FLOATS * padded);
    at.sorted = this.reserve(4 * WORLD_FLOATS * padded);
    at.order = this.reserve(4 * padded);
    at.keys = this.reserve(4 * padded);
    at.bins = this.reserve(4 * 65538);
    at.camera = this.reserve(64);
    at.splats = this.reserve(64 * padded);
    this.pictureStart = this.end;
  }

  /** Offsets, log-scales, opacity and colour logits as planes. */
  private base(arrays: Arrays): Float32Array {
    const { count, padded } = this;
    const result = new Float32Array(CHANNELS * padded);
    const offsets = arrays.get("offsets"), step = arrays.get("offset_step")[0];
    const scales = arrays.scaled("log_scales", 3), opacities = arrays.scaled("opacity_logits", 1);
    const colors = arrays.get("colors");
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) {
        result[c * padded + i] = offsets[c * count + i] * step;
        result[(3 + c) * padded + i] = scales[3 * i + c];
        // A byte of 0 or 255 has no logit; it stands for what rounds to it.
        const color = Math.min(Math.max(colors[c * count + i], 0.4), 254.6) / 255;
        result[(7 + c) * padded + i] = Math.log(color / (1 - color));
      }
      result[6 * padded + i] = opacities[i];
    }
    return result;
  }

  /** Residuals in metres, log-scales and logits: for each component, planes of all channels. */
  private residuals(arrays: Arrays): Float32Array {
    const { count, padded } = this;
    const { components } = this.source.manifest;
    const result = new Float32Array(Math.max(components, 1) * CHANNELS * padded);
    const packed = arrays.get("residuals"), steps = arrays.get("residual_steps");
    const units = arrays.get("units"), kinds = arrays.get("unit_kinds");
    const bytes = Math.ceil(count / 2);
    for (let plane = 0; plane < components * CHANNELS; plane++) {
      const perKind = Array.from({ length: units.length / CHANNELS }, (_, kind) =>
        steps[kind * components * CHANNELS + plane] * units[kind * CHANNELS + (plane % CHANNELS)]);
      for (let i = 0; i < count; i++) {
        const pair = packed[plane * bytes + (i >> 1)];
        result[plane * padded + i] = ((i & 1 ? pair >> 4 : pair & 15) - 8) * perKind[kinds[i]];
      }
    }
    return result;
  }

  private reserve(bytes: number): number {
    const start = this.end;
    this.end = start + Math.ceil(bytes / 16) * 16;
    const { memory } = this.wasm;
    const missing = this.end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return start;
  }

  private store(values: ArrayBufferView): number {
    const start = this.reserve(values.byteLength);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    new Uint8Array(this.wasm.memory.buffer, start, values.byteLength).set(bytes);
    return start;
  }

  private floats(start: number, count: number): Float32Array {
    return new Float32Array(this.wasm.memory.buffer, start, count);
  }
}

/** Pixels from one row of a picture to the next. */
export function pictureWidth(width: number): number {
  return Math.ceil(width / TILE) * TILE;
}

function interleaved(planes: ArrayLike<number>, count: number, scale: number): Float32Array {
  const result = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) {
    result[2 * i] = planes[i] * scale;
    result[2 * i + 1] = planes[count + i] * scale;
  }
  return result;
}

/** The columns of each quaternion's (wxyz) rotation, four floats each. */
function columns(quats: ArrayLike<number>, count: number): Float32Array {
  const result = new Float32Array(12 * count);
  for (let i = 0; i < count; i++) {
    const length = Math.hypot(quats[i], quats[count + i], quats[2 * count + i], quats[3 * count + i]) || 1;
    const [w, x, y, z] = [0, 1, 2, 3].map((c) => quats[c * count + i] / length);
    result.set([
      1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y), 0,
      2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x), 0,
      2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y), 0,
    ], 12 * i);
  }
  return result;
}
