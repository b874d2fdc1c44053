// Sorting by depth, every frame: a counting sort over 65536 depths between the nearest and the farthest centre.
import { WORLD_BYTES } from "./deform";

const DEPTHS: i32 = 65536;

/**
 * Order of Gaussians by depth along (x, y, z), the nearest first, or the farthest where `reverse` is set.
 * `keys` has room for `count` depths of four bytes, `counts` for 65537 of four bytes.
 */
export function sort(
  count: i32, world: usize, x: f32, y: f32, z: f32, reverse: i32, keys: usize, counts: usize, order: usize,
): void {
  let low: f32 = Infinity, high: f32 = -Infinity;
  const sign: f32 = reverse ? -1 : 1;
  for (let i = 0; i < count; i++) {
    const at = world + <usize>i * WORLD_BYTES;
    const depth = sign * (x * load<f32>(at) + y * load<f32>(at, 4) + z * load<f32>(at, 8));
    store<f32>(keys + (<usize>i << 2), depth);
    low = min<f32>(low, depth), high = max<f32>(high, depth);
  }
  const scale: f32 = <f32>(DEPTHS - 1) / max<f32>(high - low, 1e-9);
  memory.fill(counts, 0, <usize>(DEPTHS + 1) << 2);
  for (let i = 0; i < count; i++) {
    const key = keys + (<usize>i << 2);
    const level = <u32>((load<f32>(key) - low) * scale);
    store<u32>(key, level);
    const bin = counts + (<usize>level << 2);
    store<u32>(bin, load<u32>(bin, 4) + 1, 4);
  }
  let sum: u32 = 0;
  for (let i = 0; i <= DEPTHS; i++) {
    const bin = counts + (<usize>i << 2);
    sum += load<u32>(bin);
    store<u32>(bin, sum);
  }
  for (let i = 0; i < count; i++) {
    const bin = counts + (<usize>load<u32>(keys + (<usize>i << 2)) << 2);
    const place = load<u32>(bin);
    store<u32>(bin, place + 1);
    store<u32>(order + (<usize>place << 2), i);
  }
}

/** Gaussians in world space in that order. */
export function gather(count: i32, world: usize, order: usize, sorted: usize): void {
  for (let i = 0; i < count; i++, sorted += WORLD_BYTES) {
    const from = world + <usize>load<u32>(order + (<usize>i << 2)) * WORLD_BYTES;
    v128.store(sorted, v128.load(from));
    v128.store(sorted, v128.load(from, 16), 16);
    v128.store(sorted, v128.load(from, 32), 32);
  }
}
