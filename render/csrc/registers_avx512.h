// Sixteen floats in a register of AVX-512 (F, VL, DQ, BW, VBMI2); see simd.h for what the operations mean.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "inline.h"

namespace headsplat {

struct Reg {
  __m512 v;
};
struct RegMask {
  __mmask16 v;
};
HEADSPLAT_INLINE Reg reg_set(float x) { return {_mm512_set1_ps(x)}; }
HEADSPLAT_INLINE Reg reg_load(const float* p) { return {_mm512_loadu_ps(p)}; }
HEADSPLAT_INLINE Reg reg_repeat4(const float* p) { return {_mm512_broadcast_f32x4(_mm_loadu_ps(p))}; }
HEADSPLAT_INLINE void reg_store(float* p, Reg a) { _mm512_storeu_ps(p, a.v); }
HEADSPLAT_INLINE Reg operator+(Reg a, Reg b) { return {_mm512_add_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg operator-(Reg a, Reg b) { return {_mm512_sub_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg operator*(Reg a, Reg b) { return {_mm512_mul_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg fma(Reg a, Reg b, Reg c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
HEADSPLAT_INLINE Reg fnma(Reg a, Reg b, Reg c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
HEADSPLAT_INLINE Reg min(Reg a, Reg b) { return {_mm512_min_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg max(Reg a, Reg b) { return {_mm512_max_ps(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator>=(Reg a, Reg b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
HEADSPLAT_INLINE RegMask operator>(Reg a, Reg b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
HEADSPLAT_INLINE RegMask operator&(RegMask a, RegMask b) { return {(__mmask16)(a.v & b.v)}; }
HEADSPLAT_INLINE RegMask operator|(RegMask a, RegMask b) { return {(__mmask16)(a.v | b.v)}; }
HEADSPLAT_INLINE unsigned bits(RegMask m) { return m.v; }
HEADSPLAT_INLINE bool any(RegMask m) { return bits(m) != 0; }
HEADSPLAT_INLINE Reg keep(RegMask m, Reg a) { return {_mm512_maskz_mov_ps(m.v, a.v)}; }
HEADSPLAT_INLINE Reg select(RegMask m, Reg a, Reg b) { return {_mm512_mask_mov_ps(b.v, m.v, a.v)}; }
HEADSPLAT_INLINE Reg reciprocal(Reg x) {
  Reg r{_mm512_rcp14_ps(x.v)};
  return r * fnma(x, r, reg_set(2.f));
}
HEADSPLAT_INLINE Reg add_exponent(Reg x, Reg n) {
  return {
      _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.v), _mm512_slli_epi32(_mm512_castps_si512(n.v), 23)))};
}
template <int K>
HEADSPLAT_INLINE Reg spread4(Reg a) {
  return {_mm512_permute_ps(a.v, K * 0x55)};
}
HEADSPLAT_INLINE Reg load_quads(const float* p, size_t stride) {
  __m512 low = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
  __m512 most = _mm512_insertf32x4(low, _mm_loadu_ps(p + 8 * stride), 2);
  return {_mm512_insertf32x4(most, _mm_loadu_ps(p + 12 * stride), 3)};
}
HEADSPLAT_INLINE void transpose_quads(Reg (&r)[4]) {
  __m512 a = _mm512_unpacklo_ps(r[0].v, r[1].v), b = _mm512_unpacklo_ps(r[2].v, r[3].v);
  __m512 c = _mm512_unpackhi_ps(r[0].v, r[1].v), d = _mm512_unpackhi_ps(r[2].v, r[3].v);
  r[0].v = _mm512_shuffle_ps(a, b, 0x44), r[1].v = _mm512_shuffle_ps(a, b, 0xee);
  r[2].v = _mm512_shuffle_ps(c, d, 0x44), r[3].v = _mm512_shuffle_ps(c, d, 0xee);
}
HEADSPLAT_INLINE void sum_groups(Reg a, float* out) {
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

}  // namespace headsplat
