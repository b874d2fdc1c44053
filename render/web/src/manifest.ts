// The package on the server: avatar.json and the block of numbers it describes (docs/web.md).
import { PlayerError } from "./errors";

export const SCHEMA = 1;
export const COEFFICIENTS = 52;
/** Root, neck, jaw, left eye, right eye (axis-angle), translation and torso (metres). */
export const POSE = 21;

export interface Manifest {
  format: string;
  schema: number;
  gaussians: number;
  components: number;
  limit: number;
  gains: { joint: number; neck: number };
  stretch: [number, number];
  parents: number[];
  head_vertices: number;
  actions: string[];
  directions: number;
  correctives: number;
  jaw_open_angle: number;
  eye_look_angles: number[];
  arrays: Record<string, { offset: number; type: keyof typeof TYPES; shape: number[] }>;
  data: { file: string; bytes: number };
  camera: { focal: number; width: number; height: number };
  center: [number, number, number];
  limits: Record<string, [number, number]>;
  /** Degrees around the head within which it may be looked at; absent in packages of avatars that do not know theirs. */
  view_cone?: { yaw: [number, number]; pitch: [number, number] } | null;
  consent: string | null;
  coefficients: string[];
  pose: string[];
  neutral: number[];
  track: { file: string; frames: number; columns: number; fps: number; sound: string | null } | null;
  webcam: { module: string; wasm: string; model: string } | null;
}

const TYPES = {
  u8: Uint8Array, i8: Int8Array, u16: Uint16Array, i16: Int16Array, f32: Float32Array,
};
type Numbers = Uint8Array | Int8Array | Uint16Array | Int16Array | Float32Array;

export interface Package {
  manifest: Manifest;
  data: ArrayBuffer;
}

/** Arrays of a package by name. */
export class Arrays {
  constructor(private readonly manifest: Manifest, private readonly data: ArrayBuffer) {}

  has(name: string): boolean {
    return name in this.manifest.arrays;
  }

  get(name: string): Numbers {
    const entry = this.manifest.arrays[name];
    if (!entry || !TYPES[entry.type]) throw damaged(`it has no ${name}`);
    const count = entry.shape.reduce((a, b) => a * b, 1);
    const type = TYPES[entry.type];
    if (entry.offset + count * type.BYTES_PER_ELEMENT > this.data.byteLength) throw damaged(`${name} is cut short`);
    return new type(this.data, entry.offset, count);
  }

  floats(name: string): Float32Array {
    return this.get(name) as Float32Array;
  }

  /** Integers over each column's range, as floats; the last dimension has `columns`. */
  scaled(name: string, columns: number): Float32Array {
    const values = this.get(name);
    const range = this.get(`${name}_range`);
    const levels = 2 ** (8 * values.BYTES_PER_ELEMENT) - 1;
    const result = new Float32Array(values.length);
    for (let i = 0; i < values.length; i++) {
      const low = range[i % columns], high = range[columns + (i % columns)];
      result[i] = low + (values[i] / levels) * (high - low);
    }
    return result;
  }

  size(name: string, dimension: number): number {
    const entry = this.manifest.arrays[name];
    if (!entry) throw damaged(`it has no ${name}`);
    return entry.shape[dimension];
  }
}

export function damaged(detail: string): PlayerError {
  return new PlayerError(`This avatar is damaged: ${detail}. Export it again.`);
}

/** Fetches an avatar's package; `url` is its folder or its avatar.json. */
export async function loadPackage(url: string): Promise<Package> {
  const place = manifestUrl(url);
  const manifest = parseManifest(await (await fetched(place)).text());
  const stored = await (await fetched(new URL(manifest.data.file, place).href)).arrayBuffer();
  return { manifest, data: await checkedData(manifest, stored) };
}

export function manifestUrl(url: string): string {
  const absolute = new URL(url, globalThis.location?.href).href;
  return absolute.endsWith(".json") ? absolute : new URL("avatar.json", absolute.endsWith("/") ? absolute : `${absolute}/`).href;
}

export function parseManifest(text: string): Manifest {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw damaged("avatar.json is cut short");
  }
  if (manifest?.format !== "headsplat-web") {
    throw new PlayerError("This is no avatar for the web player: export one with `avatar export me --format web`.");
  }
  if (manifest.schema !== SCHEMA) {
    throw new PlayerError(
      `This avatar was exported for another version of the player (its layout is ${manifest.schema}, this player ` +
      `reads ${SCHEMA}): export it again, or update the player.`);
  }
  return manifest;
}

/** The block of numbers, decompressed and as long as it must be. */
export async function checkedData(manifest: Manifest, stored: ArrayBuffer): Promise<ArrayBuffer> {
  const data = await decompressed(stored);
  if (data.byteLength !== manifest.data.bytes) {
    throw damaged(`${manifest.data.file} has ${data.byteLength} bytes and not ${manifest.data.bytes}`);
  }
  return data;
}

async function decompressed(stored: ArrayBuffer): Promise<ArrayBuffer> {
  const first = new Uint8Array(stored, 0, Math.min(2, stored.byteLength));
  // A server that says what the compression is has had it undone on the way.
  if (first[0] !== 0x1f || first[1] !== 0x8b) return stored;
  if (!("DecompressionStream" in globalThis)) {
    throw new PlayerError("This browser is too old for the avatar: it cannot decompress what it loads.");
  }
  try {
    const stream = new Blob([stored]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(stream).arrayBuffer();
  } catch {
    throw damaged("avatar.bin is cut short");
  }
}

export async function fetched(url: string): Promise<Response> {
  const name = url.split("/").pop();
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new PlayerError(`${name} could not be loaded: the server does not answer.`);
  }
  if (!response.ok) throw new PlayerError(`${name} could not be loaded (${response.status}): is the folder complete?`);
  return response;
}
