// Eight floats in a register of AVX2 with FMA; see simd.h for what the operations mean.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "inline.h"

namespace headsplat {

struct Reg {
  __m256 v;
};
struct RegMask {
  __m256 v;
};
HEADSPLAT_INLINE Reg reg_set(float x) { return {_mm256_set1_ps(x)}; }
HEADSPLAT_INLINE Reg reg_load(const float* p) { return {_mm256_loadu_ps(p)}; }
HEADSPLAT_INLINE Reg reg_repeat4(const float* p) { return {_mm256_broadcast_ps((const __m128*)p)}; }
HEADSPLAT_INLINE void reg_store(float* p, Reg a) { _mm256_storeu_ps(p, a.v); }
HEADSPLAT_INLINE Reg operator+(Reg a, Reg b) { return {_mm256_add_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg operator-(Reg a, Reg b) { return {_mm256_sub_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg operator*(Reg a, Reg b) { return {_mm256_mul_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg fma(Reg a, Reg b, Reg c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
HEADSPLAT_INLINE Reg fnma(Reg a, Reg b, Reg c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
HEADSPLAT_INLINE Reg min(Reg a, Reg b) { return {_mm256_min_ps(a.v, b.v)}; }
HEADSPLAT_INLINE Reg max(Reg a, Reg b) { return {_mm256_max_ps(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator>=(Reg a, Reg b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
HEADSPLAT_INLINE RegMask operator>(Reg a, Reg b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
HEADSPLAT_INLINE RegMask operator&(RegMask a, RegMask b) { return {_mm256_and_ps(a.v, b.v)}; }
HEADSPLAT_INLINE RegMask operator|(RegMask a, RegMask b) { return {_mm256_or_ps(a.v, b.v)}; }
HEADSPLAT_INLINE unsigned bits(RegMask m) { return (unsigned)_mm256_movemask_ps(m.v); }
HEADSPLAT_INLINE bool any(RegMask m) { return bits(m) != 0; }
HEADSPLAT_INLINE Reg keep(RegMask m, Reg a) { return {_mm256_and_ps(m.v, a.v)}; }
HEADSPLAT_INLINE Reg select(RegMask m, Reg a, Reg b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
HEADSPLAT_INLINE Reg reciprocal(Reg x) {
  Reg r{_mm256_rcp_ps(x.v)};
  return r * fnma(x, r, reg_set(2.f));
}
HEADSPLAT_INLINE Reg add_exponent(Reg x, Reg n) {
  return {
      _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.v), _mm256_slli_epi32(_mm256_castps_si256(n.v), 23)))};
}
template <int K>
HEADSPLAT_INLINE Reg spread4(Reg a) {
  return {_mm256_permute_ps(a.v, K * 0x55)};
}
HEADSPLAT_INLINE Reg load_quads(const float* p, size_t stride) {
  return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1)};
}
HEADSPLAT_INLINE void transpose_quads(Reg (&r)[4]) {
  __m256 a = _mm256_unpacklo_ps(r[0].v, r[1].v), b = _mm256_unpacklo_ps(r[2].v, r[3].v);
  __m256 c = _mm256_unpackhi_ps(r[0].v, r[1].v), d = _mm256_unpackhi_ps(r[2].v, r[3].v);
  r[0].v = _mm256_shuffle_ps(a, b, 0x44), r[1].v = _mm256_shuffle_ps(a, b, 0xee);
  r[2].v = _mm256_shuffle_ps(c, d, 0x44), r[3].v = _mm256_shuffle_ps(c, d, 0xee);
}
HEADSPLAT_INLINE void sum_groups(Reg a, float* out) {
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1)));
}

}  // namespace headsplat
