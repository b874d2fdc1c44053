// A motion on a time line, with its sound.
import { COEFFICIENTS, fetched, POSE, type Manifest } from "./manifest";
import { PlayerError } from "./errors";

export class Track {
  readonly duration: number;

  /** `rows` are `columns` numbers for each frame. */
  constructor(
    readonly rows: Float32Array, readonly columns: number, readonly fps: number, readonly sound: AudioBuffer | null = null,
  ) {
    this.duration = Math.max(rows.length / columns / fps, sound?.duration ?? 0);
  }

  get frames(): number {
    return this.rows.length / this.columns;
  }

  /** Coefficients and pose at a time in seconds, between frames as a mixture of both. */
  at(time: number, result = new Float32Array(this.columns)): Float32Array {
    const place = Math.min(Math.max(time * this.fps, 0), this.frames - 1);
    const before = Math.floor(place), share = place - before;
    const from = before * this.columns, to = Math.min(before + 1, this.frames - 1) * this.columns;
    for (let i = 0; i < this.columns; i++) {
      result[i] = (1 - share) * this.rows[from + i] + share * this.rows[to + i];
    }
    return result;
  }
}

/** The track that was exported with an avatar, and its sound as it lies on the server. */
export async function loadTrack(manifest: Manifest, place: string): Promise<{ track: Track; sound: ArrayBuffer | null } | null> {
  const entry = manifest.track;
  if (!entry) return null;
  const stored = await (await fetched(new URL(entry.file, place).href)).arrayBuffer();
  if (stored.byteLength !== 2 * entry.frames * entry.columns || entry.columns < COEFFICIENTS + POSE) {
    throw new PlayerError(`This avatar is damaged: ${entry.file} is cut short. Export it again.`);
  }
  const halves = new Uint16Array(stored);
  const rows = Float32Array.from(halves, (half, i) => manifest.neutral[i % entry.columns] + fromHalf(half));
  const sound = entry.sound ? await (await fetched(new URL(entry.sound, place).href)).arrayBuffer() : null;
  return { track: new Track(rows, entry.columns, entry.fps), sound };
}

export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return 0;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Where a track is: follows the sound that is heard, or the clock where there is none. */
export class Playback {
  private repeated = true;
  /** Called when a track that does not loop has ended. */
  onEnded: (() => void) | null = null;
  private offset = 0;
  private started: number | null = null;
  private source: AudioBufferSourceNode | null = null;
  private readonly volume: GainNode | null;

  constructor(readonly track: Track, readonly context: AudioContext | null) {
    this.volume = context && track.sound ? context.createGain() : null;
    this.volume?.connect(context!.destination);
  }

  /** Whether it begins again at its end. */
  get loop(): boolean {
    return this.repeated;
  }

  set loop(value: boolean) {
    this.repeated = value;
    if (this.source) this.source.loop = value;
  }

  get playing(): boolean {
    return this.started !== null;
  }

  set muted(value: boolean) {
    if (this.volume) this.volume.gain.value = value ? 0 : 1;
  }

  /** Seconds into the track, of what is heard now. */
  get time(): number {
    if (this.started === null) return this.offset;
    const latency = this.volume ? this.context!.outputLatency || this.context!.baseLatency || 0 : 0;
    const passed = Math.max(this.now() - this.started - latency, 0) + this.offset;
    if (this.loop) return this.track.duration > 0 ? passed % this.track.duration : 0;
    if (passed >= this.track.duration) {
      this.pause();
      this.offset = this.track.duration;
      this.onEnded?.();
    }
    return Math.min(passed, this.track.duration);
  }

  play(): void {
    if (this.playing) return;
    if (!this.loop && this.offset >= this.track.duration) this.offset = 0;
    void this.context?.resume();
    this.started = this.now();
    if (!this.volume) return;
    this.source = this.context!.createBufferSource();
    // Silence to the track's end keeps sound and picture together where the picture loops later.
    this.source.buffer = padded(this.context!, this.track.sound!, this.track.duration);
    this.source.loop = this.loop;
    this.source.connect(this.volume);
    this.source.start(0, this.offset);
  }

  pause(): void {
    if (!this.playing) return;
    const offset = this.started === null ? this.offset : this.elapsed();
    this.stop();
    this.offset = offset;
  }

  seek(time: number): void {
    const playing = this.playing;
    this.stop();
    this.offset = Math.min(Math.max(time, 0), this.track.duration);
    if (playing) this.play();
  }

  dispose(): void {
    this.stop();
    this.volume?.disconnect();
  }

  private elapsed(): number {
    const passed = Math.max(this.now() - this.started!, 0) + this.offset;
    return this.loop && this.track.duration > 0 ? passed % this.track.duration : Math.min(passed, this.track.duration);
  }

  private stop(): void {
    this.source?.stop();
    this.source?.disconnect();
    this.source = null;
    this.started = null;
  }

  private now(): number {
    return this.volume ? this.context!.currentTime : performance.now() / 1000;
  }
}

function padded(context: AudioContext, sound: AudioBuffer, duration: number): AudioBuffer {
  const length = Math.round(duration * sound.sampleRate);
  if (length <= sound.length) return sound;
  const result = context.createBuffer(sound.numberOfChannels, length, sound.sampleRate);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    result.copyToChannel(sound.getChannelData(channel), channel);
  }
  return result;
}
