// Four floats in a register of 64-bit ARM (Advanced SIMD); see simd.h for what the operations mean.
#pragma once

#include <arm_neon.h>

#include <cstddef>

#include "inline.h"

namespace headsplat {

struct Reg {
  float32x4_t v;
};
struct RegMask {
  uint32x4_t v;
};
HEADSPLAT_INLINE Reg reg_set(float x) { return {vdupq_n_f32(x)}; }
HEADSPLAT_INLINE Reg reg_load(const float* p) { return {vld1q_f32(p)}; }
HEADSPLAT_INLINE Reg reg_repeat4(const float* p) { return {vld1q_f32(p)}; }
HEADSPLAT_INLINE void reg_store(float* p, Reg a) { vst1q_f32(p, a.v); }
HEADSPLAT_INLINE Reg operator+(Reg a, Reg b) { return {vaddq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE Reg operator-(Reg a, Reg b) { return {vsubq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE Reg operator*(Reg a, Reg b) { return {vmulq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE Reg fma(Reg a, Reg b, Reg c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
HEADSPLAT_INLINE Reg fnma(Reg a, Reg b, Reg c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
HEADSPLAT_INLINE Reg min(Reg a, Reg b) { return {vminnmq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE Reg max(Reg a, Reg b) { return {vmaxnmq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator>=(Reg a, Reg b) { return {vcgeq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator>(Reg a, Reg b) { return {vcgtq_f32(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator&(RegMask a, RegMask b) { return {vandq_u32(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator|(RegMask a, RegMask b) { return {vorrq_u32(a.v, b.v)}; }
HEADSPLAT_INLINE unsigned bits(RegMask m) {
  const int32x4_t place = {0, 1, 2, 3};
  return vaddvq_u32(vshlq_u32(vshrq_n_u32(m.v, 31), place));
}
HEADSPLAT_INLINE bool any(RegMask m) { return vmaxvq_u32(m.v) != 0; }
HEADSPLAT_INLINE Reg keep(RegMask m, Reg a) {
  return {vreinterpretq_f32_u32(vandq_u32(m.v, vreinterpretq_u32_f32(a.v)))};
}
HEADSPLAT_INLINE Reg select(RegMask m, Reg a, Reg b) { return {vbslq_f32(m.v, a.v, b.v)}; }
// The estimate has eight bits and each Newton step doubles them.
HEADSPLAT_INLINE Reg reciprocal(Reg x) {
  float32x4_t r = vrecpeq_f32(x.v);
  r = vmulq_f32(r, vrecpsq_f32(x.v, r));
  return {vmulq_f32(r, vrecpsq_f32(x.v, r))};
}
HEADSPLAT_INLINE Reg add_exponent(Reg x, Reg n) {
  int32x4_t whole = vshlq_n_s32(vreinterpretq_s32_f32(n.v), 23);
  return {vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x.v), whole))};
}
template <int K>
HEADSPLAT_INLINE Reg spread4(Reg a) {
  return {vdupq_laneq_f32(a.v, K)};
}
HEADSPLAT_INLINE Reg load_quads(const float* p, size_t) { return reg_load(p); }
HEADSPLAT_INLINE void transpose_quads(Reg (&r)[4]) {
  float32x4x2_t even = vuzpq_f32(r[0].v, r[1].v), odd = vuzpq_f32(r[2].v, r[3].v);
  float32x4x2_t low = vuzpq_f32(even.val[0], odd.val[0]), high = vuzpq_f32(even.val[1], odd.val[1]);
  r[0].v = low.val[0], r[1].v = high.val[0], r[2].v = low.val[1], r[3].v = high.val[1];
}
HEADSPLAT_INLINE void sum_groups(Reg a, float* out) { reg_store(out, a); }

}  // namespace headsplat
