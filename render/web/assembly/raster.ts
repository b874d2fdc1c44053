// Draws Gaussians on the processor: tiles of 16 x 16 pixels, front to back, four pixels at a time.
import { log2 } from "./mathematics";
import { WORLD_BYTES } from "./deform";

const TILE: i32 = 16;
const HALF_LOG2E: f32 = 0.7213475204444817;
const BLUR: f32 = 0.3;
const NEAR: f32 = 0.01;
const MARGIN: f32 = 0.15;
// A splat on the screen, in this order: centre u, v; the exponent's coefficients xx, xy, yy; log2 of opacity; what a
// row's half-width follows from: bend, span, half; reach in y; colour; first and last tile across and down.
export const SPLAT_BYTES: usize = 64;

const pixels = memory.data(4 * 4 * 256, 16);
// What the innermost loop multiplies and compares with. As constants in the code they would be built again and again;
// from memory they are loaded once. First the series of 2^x for x in [-0.5, 0.5], to 1e-4.
const numbers = memory.data<f32>([
  0.0550293, 0.0550293, 0.0550293, 0.0550293, 0.2422570, 0.2422570, 0.2422570, 0.2422570,
  0.6932531, 0.6932531, 0.6932531, 0.6932531, 0.9999513, 0.9999513, 0.9999513, 0.9999513,
  12582912, 12582912, 12582912, 12582912, -7.9943534, -7.9943534, -7.9943534, -7.9943534,
  0.999, 0.999, 0.999, 0.999, 0.004, 0.004, 0.004, 0.004,
], 16);

/**
 * Projects Gaussians and lists them by tile. The camera is the rows right, down and forward of its rotation, its
 * translation, and its focal lengths and principal point in pixels: 16 floats. Of the rows of tiles only every
 * `parts`-th is listed, from `part` on, so that several workers can share a picture. Returns the length of the lists, or
 * what it would be where that exceeds `room`.
 */
export function project(
  count: i32, world: usize, order: usize, camera: usize, width: i32, height: i32, part: i32, parts: i32,
  splats: usize, counts: usize, lists: usize, room: i32,
): i32 {
  const r0 = load<f32>(camera), r1 = load<f32>(camera, 4), r2 = load<f32>(camera, 8);
  const d0 = load<f32>(camera, 12), d1 = load<f32>(camera, 16), d2 = load<f32>(camera, 20);
  const f0 = load<f32>(camera, 24), f1 = load<f32>(camera, 28), f2 = load<f32>(camera, 32);
  const tx = load<f32>(camera, 36), ty = load<f32>(camera, 40), tz = load<f32>(camera, 44);
  const fx = load<f32>(camera, 48), fy = load<f32>(camera, 52), cx = load<f32>(camera, 56), cy = load<f32>(camera, 60);
  const w = <f32>width, h = <f32>height;
  // The Jacobian is taken at most 15 % of the picture beyond its border, as in training.
  const left = -(cx + MARGIN * w) / fx, right = (w - cx + MARGIN * w) / fx;
  const top = -(cy + MARGIN * h) / fy, bottom = (h - cy + MARGIN * h) / fy;
  const across = (width + TILE - 1) / TILE, rows = (height + TILE - 1) / TILE;
  const down = (rows - part + parts - 1) / parts;
  memory.fill(counts, 0, <usize>(across * down + 1) << 2);

  let used: i32 = 0;
  for (let i = 0; i < count; i++) {
    const at = world + <usize>load<u32>(order + (<usize>i << 2)) * WORLD_BYTES;
    const x = load<f32>(at), y = load<f32>(at, 4), z = load<f32>(at, 8);
    const depth = f0 * x + f1 * y + f2 * z + tz;
    const color = load<u32>(at, 12);
    const opacity: f32 = <f32>(color >> 24) * (1.0 / 255.0);
    if (!(depth > NEAR) || color >> 24 == 0) continue;
    const inverse: f32 = 1 / depth;
    const sx = (r0 * x + r1 * y + r2 * z + tx) * inverse, sy = (d0 * x + d1 * y + d2 * z + ty) * inverse;
    const jx = fx * inverse, jy = fy * inverse;
    const bx = min<f32>(max<f32>(sx, left), right), by = min<f32>(max<f32>(sy, top), bottom);
    const a0 = jx * (r0 - bx * f0), a1 = jx * (r1 - bx * f1), a2 = jx * (r2 - bx * f2);
    const b0 = jy * (d0 - by * f0), b1 = jy * (d1 - by * f1), b2 = jy * (d2 - by * f2);
    const sxx = load<f32>(at, 16), sxy = load<f32>(at, 20), sxz = load<f32>(at, 24);
    const syy = load<f32>(at, 28), syz = load<f32>(at, 32), szz = load<f32>(at, 36);
    const p0 = sxx * a0 + sxy * a1 + sxz * a2, p1 = sxy * a0 + syy * a1 + syz * a2, p2 = sxz * a0 + syz * a1 + szz * a2;
    const q0 = sxx * b0 + sxy * b1 + sxz * b2, q1 = sxy * b0 + syy * b1 + syz * b2, q2 = sxz * b0 + syz * b1 + szz * b2;
    const xx = a0 * p0 + a1 * p1 + a2 * p2 + BLUR, xy = b0 * p0 + b1 * p1 + b2 * p2;
    const yy = b0 * q0 + b1 * q1 + b2 * q2 + BLUR;
    const determinant = xx * yy - xy * xy;
    if (!(determinant > 1e-9)) continue;
    const strength = log2(opacity);
    // Where alpha falls to 1/255.
    const reach: f32 = strength + 7.994353436858858;
    if (!(reach > 0)) continue;
    const extent = reach / HALF_LOG2E;
    const ex = sqrt<f32>(extent * xx), ey = sqrt<f32>(extent * yy);
    const u = fx * sx + cx, v = fy * sy + cy;
    if (!(u + ex > 0.5 && v + ey > 0.5 && u - ex < w - 0.5 && v - ey < h - 0.5)) continue;
    const x0 = <i32>max<f32>(u - ex, 0) / TILE, x1 = min<i32>(<i32>(u + ex) / TILE, across - 1);
    // The first and the last row of this part.
    const y0 = (<i32>max<f32>(v - ey, 0) / TILE - part + parts - 1) / parts;
    const y1 = (min<i32>(<i32>(v + ey) / TILE, rows - 1) - part + parts) / parts - 1;
    if (y0 > y1) continue;
    const conic = HALF_LOG2E / determinant;
    const splat = splats + <usize>used * SPLAT_BYTES;
    const cxx = yy * conic, cxy: f32 = -2 * xy * conic, cyy = xx * conic;
    const four: f32 = 4;
    store<f32>(splat, u);
    store<f32>(splat, v, 4);
    store<f32>(splat, cxx, 8);
    store<f32>(splat, cxy, 12);
    store<f32>(splat, cyy, 16);
    store<f32>(splat, strength, 20);
    store<f32>(splat, cxy * cxy - four * cxx * cyy, 24);
    store<f32>(splat, four * cxx * reach, 28);
    store<f32>(splat, <f32>0.5 / cxx, 32);
    store<f32>(splat, ey, 36);
    store<f32>(splat, <f32>(color & 255), 40);
    store<f32>(splat, <f32>((color >> 8) & 255), 44);
    store<f32>(splat, <f32>((color >> 16) & 255), 48);
    store<u32>(splat, x0 | (x1 << 16), 52);
    store<u32>(splat, y0 | (y1 << 16), 56);
    used++;
    for (let ty = y0; ty <= y1; ty++) {
      for (let tx = x0; tx <= x1; tx++) {
        const tile = counts + (<usize>(ty * across + tx) << 2);
        store<u32>(tile, load<u32>(tile, 4) + 1, 4);
      }
    }
  }

  const tiles = across * down;
  for (let tile = 1; tile <= tiles; tile++) {
    const at = counts + (<usize>tile << 2);
    store<u32>(at, load<u32>(at) + load<u32>(at - 4));
  }
  const total = load<i32>(counts + (<usize>tiles << 2));
  if (total > room) return total;
  // Filling moves each tile's start to its end, which is the next one's start.
  for (let i = 0; i < used; i++) {
    const splat = splats + <usize>i * SPLAT_BYTES;
    const x0 = <i32>load<u16>(splat, 52), x1 = <i32>load<u16>(splat, 54);
    const y0 = <i32>load<u16>(splat, 56), y1 = <i32>load<u16>(splat, 58);
    for (let ty = y0; ty <= y1; ty++) {
      for (let tx = x0; tx <= x1; tx++) {
        const tile = counts + (<usize>(ty * across + tx) << 2);
        const place = load<u32>(tile);
        store<u32>(tile, place + 1);
        store<u32>(lists + (<usize>place << 2), i);
      }
    }
  }
  return total;
}

/** Draws the lists of `project` as RGBA with straight alpha: the part's rows of tiles one below the other, all whole. */
export function raster(
  width: i32, height: i32, part: i32, parts: i32, splats: usize, counts: usize, lists: usize, picture: usize,
): void {
  const across = (width + TILE - 1) / TILE, rows = (height + TILE - 1) / TILE;
  const down = (rows - part + parts - 1) / parts;
  const stride = <usize>(across * TILE) << 2;
  let start: u32 = 0;
  for (let tile = 0; tile < across * down; tile++) {
    const end = load<u32>(counts + (<usize>tile << 2));
    const column = tile % across, row = tile / across;
    const corner = picture + <usize>(row * TILE) * stride + (<usize>(column * TILE) << 2);
    if (start == end) clear(corner, stride);
    else {
      blend(column * TILE, (row * parts + part) * TILE, splats, lists + (<usize>start << 2), lists + (<usize>end << 2));
      write(corner, stride);
    }
    start = end;
  }
}

// Accumulators of a tile: for each group of four pixels, transmittance, red, green and blue.
function blend(left: i32, top: i32, splats: usize, from: usize, to: usize): void {
  const zero = f32x4.splat(0), one = f32x4.splat(1);
  for (let at = pixels; at < pixels + 4096; at += 64) {
    v128.store(at, one);
    v128.store(at, zero, 16);
    v128.store(at, zero, 32);
    v128.store(at, zero, 48);
  }
  const centers = f32x4(<f32>left + 0.5, <f32>left + 1.5, <f32>left + 2.5, <f32>left + 3.5);
  const series3 = v128.load(numbers), series2 = v128.load(numbers, 16), series1 = v128.load(numbers, 32);
  const series0 = v128.load(numbers, 48), shifter = v128.load(numbers, 64), least = v128.load(numbers, 80);
  const most = v128.load(numbers, 96), opaque = v128.load(numbers, 112);
  let live: u32 = 0xffff;
  let seen: i32 = 0;
  for (let entry = from; entry < to && live != 0; entry += 4) {
    const splat = splats + <usize>load<u32>(entry) * SPLAT_BYTES;
    const u = load<f32>(splat), v = load<f32>(splat, 4);
    const xx = load<f32>(splat, 8), xy = load<f32>(splat, 12), yy = load<f32>(splat, 16);
    const bend = load<f32>(splat, 24), span = load<f32>(splat, 28), half = load<f32>(splat, 32);
    const extent = load<f32>(splat, 36);
    const strength = v128.load32_splat(splat + 20);
    const red = v128.load32_splat(splat + 40), green = v128.load32_splat(splat + 44), blue = v128.load32_splat(splat + 48);
    const vxx = f32x4.splat(-xx);
    const offset = f32x4.sub(centers, f32x4.splat(u));
    // In pixels from the middle of the tile's first.
    const across = u - <f32>left - 0.5, down = v - <f32>top - 0.5;
    const lastRow = <i32>min<f32>(down + extent, 15);
    for (let row = <i32>max<f32>(ceil<f32>(down - extent), 0); row <= lastRow; row++) {
      if (!((live >> row) & 1)) continue;
      const dy = <f32>row - down;
      const inside = span + bend * dy * dy;
      if (!(inside > 0)) continue;
      const slope = xy * dy, level = yy * dy * dy;
      const middle = across - slope * half, reached = sqrt<f32>(inside) * half;
      const end = middle + reached;
      if (end < 0) continue;
      const first = <i32>max<f32>(middle - reached, 0) >> 2;
      const last = <i32>min<f32>(end, 15);
      const base = f32x4.sub(strength, f32x4.splat(level)), tilt = f32x4.splat(-slope);
      for (let group = first; group <= last >> 2; group++) {
        const at = pixels + (<usize>((row << 2) | group) << 6);
        const dx = f32x4.add(offset, f32x4.splat(<f32>(group << 2)));
        const through = v128.load(at);
        if (!v128.any_true(f32x4.gt(through, opaque))) continue;
        const power = f32x4.add(base, f32x4.mul(dx, f32x4.add(f32x4.mul(vxx, dx), tilt)));
        // Added to 1.5 * 2^23, a float keeps its whole part in its last bits, from where it goes to the exponent.
        const shifted = f32x4.add(power, shifter);
        const part = f32x4.sub(power, f32x4.sub(shifted, shifter));
        const raised = f32x4.add(f32x4.mul(f32x4.add(f32x4.mul(f32x4.add(f32x4.mul(
          series3, part), series2), part), series1), part), series0);
        const whole = i32x4.add(raised, i32x4.shl(shifted, 23));
        const alpha = v128.and(f32x4.pmin(most, whole), f32x4.ge(power, least));
        const weight = f32x4.mul(alpha, through);
        v128.store(at, f32x4.sub(through, weight));
        v128.store(at, f32x4.add(v128.load(at, 16), f32x4.mul(weight, red)), 16);
        v128.store(at, f32x4.add(v128.load(at, 32), f32x4.mul(weight, green)), 32);
        v128.store(at, f32x4.add(v128.load(at, 48), f32x4.mul(weight, blue)), 48);
      }
    }
    if ((++seen & 7) == 0) {
      for (let row = 0; row < TILE; row++) {
        if (!((live >> row) & 1)) continue;
        const at = pixels + (<usize>row << 8);
        const clearest = f32x4.max(
          f32x4.max(v128.load(at), v128.load(at, 64)), f32x4.max(v128.load(at, 128), v128.load(at, 192)));
        if (!v128.any_true(f32x4.gt(clearest, opaque))) live &= ~(<u32>1 << row);
      }
    }
  }
}

@inline
function bytes(value: v128, scale: v128): v128 {
  return i32x4.trunc_sat_f32x4_u(
    f32x4.add(f32x4.splat(0.5), f32x4.min(f32x4.mul(value, scale), f32x4.splat(255))));
}

function write(corner: usize, stride: usize): void {
  for (let row = 0; row < TILE; row++, corner += stride) {
    for (let group = 0; group < 4; group++) {
      const at = pixels + (<usize>((row << 2) | group) << 6);
      const alpha = f32x4.sub(f32x4.splat(1), v128.load(at));
      const scale = f32x4.div(f32x4.splat(1), f32x4.max(alpha, f32x4.splat(0.0001)));
      const value = v128.or(
        v128.or(bytes(v128.load(at, 16), scale), i32x4.shl(bytes(v128.load(at, 32), scale), 8)),
        v128.or(i32x4.shl(bytes(v128.load(at, 48), scale), 16), i32x4.shl(bytes(alpha, f32x4.splat(255)), 24)),
      );
      v128.store(corner + (<usize>group << 4), value);
    }
  }
}

function clear(corner: usize, stride: usize): void {
  for (let row = 0; row < TILE; row++, corner += stride) memory.fill(corner, 0, 64);
}
