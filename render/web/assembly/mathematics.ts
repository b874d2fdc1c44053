// exp and log2 of four floats at once, to about 1e-6 of the result.

const LOG2E: f32 = 1.4426950408889634;

@inline
export function exp2x4(x: v128): v128 {
  const bounded = f32x4.max(f32x4.min(x, f32x4.splat(126)), f32x4.splat(-126));
  const whole = f32x4.nearest(bounded);
  const rest = f32x4.sub(bounded, whole);
  let series = f32x4.splat(0.0013333558);
  series = f32x4.add(f32x4.mul(series, rest), f32x4.splat(0.0096181291));
  series = f32x4.add(f32x4.mul(series, rest), f32x4.splat(0.0555041087));
  series = f32x4.add(f32x4.mul(series, rest), f32x4.splat(0.2402265070));
  series = f32x4.add(f32x4.mul(series, rest), f32x4.splat(0.6931471806));
  series = f32x4.add(f32x4.mul(series, rest), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(whole), i32x4.splat(127)), 23);
  return f32x4.mul(series, power);
}

@inline
export function expx4(x: v128): v128 {
  return exp2x4(f32x4.mul(x, f32x4.splat(LOG2E)));
}

@inline
export function sigmoidx4(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, expx4(f32x4.neg(x))));
}

// Of a positive normal number, by the series of atanh around one.
@inline
export function log2(x: f32): f32 {
  const bits = reinterpret<i32>(x);
  const exponent = (bits - 0x3f3504f3) >> 23;
  const m = reinterpret<f32>(bits - (exponent << 23)) - 1;
  const s = m / (2 + m);
  const z = s * s;
  return <f32>exponent + s * (2 + z * (0.66666667 + z * (0.4 + z * 0.28571429))) * LOG2E;
}
