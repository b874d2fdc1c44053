// From a posed mesh and a condition to Gaussians in world space.
import { expx4, sigmoidx4 } from "./mathematics";

const CHANNELS: i32 = 10;
const FIRST_SCALE: i32 = 3;
const OPACITY: i32 = 6;
// Floats of one Gaussian in world space: centre and colour; covariance xx xy xz yy yz zz; two unused.
export const WORLD_BYTES: usize = 48;

/**
 * Local parameters of all Gaussians at one condition: base plus residuals, through exp (scales) and the logistic
 * function (opacity, colour). A plane of `padded` floats for each of the ten channels.
 */
export function resolve(
  padded: i32, components: i32, condition: usize, residuals: usize, base: usize, local: usize,
): void {
  const bytes = <usize>padded << 2;
  for (let channel = 0; channel < CHANNELS; channel++) {
    const offset = <usize>channel * bytes;
    for (let at: usize = 0; at < bytes; at += 16) {
      let sum = v128.load(base + offset + at);
      let plane = residuals + offset + at;
      for (let k = 0; k < components; k++) {
        sum = f32x4.add(sum, f32x4.mul(v128.load(plane), v128.load32_splat(condition + (<usize>k << 2))));
        plane += <usize>CHANNELS * bytes;
      }
      if (channel >= OPACITY) sum = sigmoidx4(sum);
      else if (channel >= FIRST_SCALE) sum = expx4(sum);
      v128.store(local + offset + at, sum);
    }
  }
}

@inline
function byte(x: f32): u32 {
  return <u32>(min<f32>(max<f32>(x, 0), 1) * 255 + 0.5);
}

// A column of A times A transposed, of A's columns a, b and c; `lane` is a constant.
@inline
function product(a: v128, b: v128, c: v128, xa: f32, xb: f32, xc: f32): v128 {
  return f32x4.add(
    f32x4.add(f32x4.mul(a, f32x4.splat(xa)), f32x4.mul(b, f32x4.splat(xb))),
    f32x4.mul(c, f32x4.splat(xc)),
  );
}

/** Sizes of all triangles of a mesh, as `place` measures them. */
export function measure(faceCount: i32, faces: usize, vertices: usize, sizes: usize): void {
  for (let face = 0; face < faceCount; face++) {
    frame(faces + <usize>face * 6, vertices);
    store<f32>(sizes + (<usize>face << 2), max<f32>(frameSize, 1e-5));
  }
}

// The frame of the last triangle asked for: columns and size.
let frameSize: f32 = 0;
let ax: f32 = 0, ay: f32 = 0, az: f32 = 0, nx: f32 = 0, ny: f32 = 0, nz: f32 = 0, cx: f32 = 0, cy: f32 = 0, cz: f32 = 0;
let p0: usize = 0, p1: usize = 0, p2: usize = 0;

@inline
function frame(face: usize, vertices: usize): void {
  p0 = vertices + <usize>load<u16>(face) * 12;
  p1 = vertices + <usize>load<u16>(face, 2) * 12;
  p2 = vertices + <usize>load<u16>(face, 4) * 12;
  const x = load<f32>(p0), y = load<f32>(p0, 4), z = load<f32>(p0, 8);
  ax = load<f32>(p1) - x, ay = load<f32>(p1, 4) - y, az = load<f32>(p1, 8) - z;
  const sx = load<f32>(p2) - x, sy = load<f32>(p2, 4) - y, sz = load<f32>(p2, 8) - z;
  const length = sqrt<f32>(ax * ax + ay * ay + az * az);
  const scale: f32 = 1 / max<f32>(length, 1e-12);
  ax *= scale, ay *= scale, az *= scale;
  nx = ay * sz - az * sy, ny = az * sx - ax * sz, nz = ax * sy - ay * sx;
  const unit: f32 = 1 / max<f32>(sqrt<f32>(nx * nx + ny * ny + nz * nz), 1e-12);
  nx *= unit, ny *= unit, nz *= unit;
  cx = ay * nz - az * ny, cy = az * nx - ax * nz, cz = ax * ny - ay * nx;
  frameSize = (length + abs<f32>(cx * sx + cy * sy + cz * sz)) * 0.5;
}

/**
 * Carries the Gaussians along with their triangles. `axes` holds each one's rotation in its triangle's frame, three
 * columns of four floats; Gaussians are ordered by triangle and `counts` says how many each carries.
 */
export function place(
  faceCount: i32, padded: i32, faces: usize, counts: usize, vertices: usize, restSizes: usize, weights: usize,
  axes: usize, local: usize, low: f32, high: f32, world: usize,
): void {
  const bytes = <usize>padded << 2;
  let at: usize = 0;
  for (let face = 0; face < faceCount; face++) {
    const count = <i32>load<u16>(counts + (<usize>face << 1));
    frame(faces + <usize>face * 6, vertices);
    const stretch = min<f32>(max<f32>(frameSize / load<f32>(restSizes + (<usize>face << 2)), low), high);
    const along = f32x4(ax, ay, az, 0), normal = f32x4(nx, ny, nz, 0), across = f32x4(cx, cy, cz, 0);
    const first = f32x4(load<f32>(p0), load<f32>(p0, 4), load<f32>(p0, 8), 0);
    const second = f32x4(load<f32>(p1), load<f32>(p1, 4), load<f32>(p1, 8), 0);
    const third = f32x4(load<f32>(p2), load<f32>(p2, 4), load<f32>(p2, 8), 0);
    for (let i = 0; i < count; i++, at += 4) {
      const value = local + at;
      const weight = weights + at * 2;
      const u = load<f32>(weight), v = load<f32>(weight, 4);
      const anchor = product(first, second, third, u, v, 1 - u - v);
      const shift = product(
        along, normal, across,
        stretch * load<f32>(value), stretch * load<f32>(value + bytes), stretch * load<f32>(value + 2 * bytes),
      );
      const out = world + at * 12;
      v128.store(out, f32x4.add(anchor, shift));
      const color =
        byte(load<f32>(value + 7 * bytes)) | (byte(load<f32>(value + 8 * bytes)) << 8) |
        (byte(load<f32>(value + 9 * bytes)) << 16) | (byte(load<f32>(value + 6 * bytes)) << 24);
      store<u32>(out, color, 12);

      const axis = axes + at * 12;
      const s0 = stretch * load<f32>(value + 3 * bytes), s1 = stretch * load<f32>(value + 4 * bytes),
        s2 = stretch * load<f32>(value + 5 * bytes);
      const a = f32x4.mul(
        product(along, normal, across, load<f32>(axis), load<f32>(axis, 4), load<f32>(axis, 8)), f32x4.splat(s0));
      const b = f32x4.mul(
        product(along, normal, across, load<f32>(axis, 16), load<f32>(axis, 20), load<f32>(axis, 24)), f32x4.splat(s1));
      const c = f32x4.mul(
        product(along, normal, across, load<f32>(axis, 32), load<f32>(axis, 36), load<f32>(axis, 40)), f32x4.splat(s2));
      const x = product(
        a, b, c, f32x4.extract_lane(a, 0), f32x4.extract_lane(b, 0), f32x4.extract_lane(c, 0));
      const y = product(
        a, b, c, f32x4.extract_lane(a, 1), f32x4.extract_lane(b, 1), f32x4.extract_lane(c, 1));
      const z = product(
        a, b, c, f32x4.extract_lane(a, 2), f32x4.extract_lane(b, 2), f32x4.extract_lane(c, 2));
      v128.store(out, v128.shuffle<f32>(x, y, 0, 1, 2, 5), 16);
      store<f32>(out, f32x4.extract_lane(y, 2), 32);
      store<f32>(out, f32x4.extract_lane(z, 2), 36);
    }
  }
}
