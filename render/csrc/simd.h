// Sixteen float lanes on the widest registers the build targets.
//
// A register type (`Reg`) and its dozen operations are written once per instruction set; `Lanes` and everything above
// it are written once, as kRegs registers side by side. Sixteen lanes are one 4x4 block of pixels, row by row.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "real.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define HEADSPLAT_INLINE inline __attribute__((always_inline))

#if defined(HEADSPLAT_FLOAT64)
#define HEADSPLAT_ISA "float64"
#elif defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && \
    defined(__AVX512VBMI2__)
#define HEADSPLAT_AVX512 1
#define HEADSPLAT_ISA "avx512"
#elif defined(__AVX2__) && defined(__FMA__)
#define HEADSPLAT_AVX2 1
#define HEADSPLAT_ISA "avx2"
#else
#define HEADSPLAT_ISA "baseline"
#endif

namespace headsplat {

constexpr int kLanes = 16;

#if defined(HEADSPLAT_AVX512)

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
HEADSPLAT_INLINE Reg keep(RegMask m, Reg a) { return {_mm512_maskz_mov_ps(m.v, a.v)}; }
HEADSPLAT_INLINE Reg select(RegMask m, Reg a, Reg b) { return {_mm512_mask_mov_ps(b.v, m.v, a.v)}; }
HEADSPLAT_INLINE Reg reciprocal(Reg x) {
  Reg r{_mm512_rcp14_ps(x.v)};
  return r * fnma(x, r, reg_set(2.f));
}
// Adds the low bits of `n` to the exponent of `x`.
HEADSPLAT_INLINE Reg add_exponent(Reg x, Reg n) {
  return {
      _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.v), _mm512_slli_epi32(_mm512_castps_si512(n.v), 23)))};
}
// Spreads lane K of each group of four over its group.
template <int K>
HEADSPLAT_INLINE Reg spread4(Reg a) {
  return {_mm512_permute_ps(a.v, K * 0x55)};
}
// Sums the groups of four lanes into `out` (4).
HEADSPLAT_INLINE void sum_groups(Reg a, float* out) {
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

#elif defined(HEADSPLAT_AVX2)

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
HEADSPLAT_INLINE void sum_groups(Reg a, float* out) {
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1)));
}

#else  // GCC and Clang vector extensions: SSE2, and whatever else has registers of four floats; all doubles.

using Bits = std::conditional_t<sizeof(Real) == 8, int64_t, int32_t>;
typedef Real Real4 __attribute__((vector_size(4 * sizeof(Real))));
typedef Bits Bits4 __attribute__((vector_size(4 * sizeof(Real))));
constexpr int kMantissaBits = sizeof(Real) == 8 ? 52 : 23;
struct Reg {
  Real4 v;
};
struct RegMask {
  Bits4 v;
};
HEADSPLAT_INLINE Reg reg_set(Real x) { return {Real4{x, x, x, x}}; }
HEADSPLAT_INLINE Reg reg_load(const Real* p) {
  Reg r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
HEADSPLAT_INLINE Reg reg_repeat4(const Real* p) { return reg_load(p); }
HEADSPLAT_INLINE void reg_store(Real* p, Reg a) { std::memcpy(p, &a, sizeof a); }
HEADSPLAT_INLINE Reg operator+(Reg a, Reg b) { return {a.v + b.v}; }
HEADSPLAT_INLINE Reg operator-(Reg a, Reg b) { return {a.v - b.v}; }
HEADSPLAT_INLINE Reg operator*(Reg a, Reg b) { return {a.v * b.v}; }
HEADSPLAT_INLINE Reg fma(Reg a, Reg b, Reg c) { return {a.v * b.v + c.v}; }
HEADSPLAT_INLINE Reg fnma(Reg a, Reg b, Reg c) { return {c.v - a.v * b.v}; }
HEADSPLAT_INLINE RegMask operator>=(Reg a, Reg b) { return {(Bits4)(a.v >= b.v)}; }
HEADSPLAT_INLINE RegMask operator>(Reg a, Reg b) { return {(Bits4)(a.v > b.v)}; }
HEADSPLAT_INLINE RegMask operator&(RegMask a, RegMask b) { return {a.v & b.v}; }
HEADSPLAT_INLINE RegMask operator|(RegMask a, RegMask b) { return {a.v | b.v}; }
HEADSPLAT_INLINE Reg keep(RegMask m, Reg a) { return {(Real4)(m.v & (Bits4)a.v)}; }
HEADSPLAT_INLINE Reg select(RegMask m, Reg a, Reg b) { return {(Real4)((m.v & (Bits4)a.v) | (~m.v & (Bits4)b.v))}; }
#if defined(__SSE2__) && !defined(HEADSPLAT_FLOAT64)
HEADSPLAT_INLINE Reg min(Reg a, Reg b) { return {(Real4)_mm_min_ps((__m128)a.v, (__m128)b.v)}; }
HEADSPLAT_INLINE Reg max(Reg a, Reg b) { return {(Real4)_mm_max_ps((__m128)a.v, (__m128)b.v)}; }
HEADSPLAT_INLINE unsigned bits(RegMask m) { return (unsigned)_mm_movemask_ps((__m128)m.v); }
#else
HEADSPLAT_INLINE Reg min(Reg a, Reg b) { return select(b > a, a, b); }
HEADSPLAT_INLINE Reg max(Reg a, Reg b) { return select(a > b, a, b); }
HEADSPLAT_INLINE unsigned bits(RegMask m) {
  return static_cast<unsigned>((m.v[0] & 1) | (m.v[1] & 2) | (m.v[2] & 4) | (m.v[3] & 8));
}
#endif
HEADSPLAT_INLINE Reg reciprocal(Reg x) { return {Real(1) / x.v}; }
HEADSPLAT_INLINE Reg add_exponent(Reg x, Reg n) { return {(Real4)((Bits4)x.v + ((Bits4)n.v << kMantissaBits))}; }
template <int K>
HEADSPLAT_INLINE Reg spread4(Reg a) {
  return reg_set(a.v[K]);
}
HEADSPLAT_INLINE void sum_groups(Reg a, Real* out) { reg_store(out, a); }

#endif

constexpr int kRegLanes = sizeof(Reg) / sizeof(Real);
constexpr int kRegs = kLanes / kRegLanes;

struct Lanes {
  Reg r[kRegs];
};
struct Mask {
  RegMask r[kRegs];
};

// Applies `f` to each register of the operands; the loop has a constant trip count and unrolls away.
template <class Result, class F, class... Operands>
HEADSPLAT_INLINE Result each(F f, const Operands&... operands) {
  Result out;
#if defined(__clang__)
#pragma unroll
#else
#pragma GCC unroll 4
#endif
  for (int k = 0; k < kRegs; k++) out.r[k] = f(operands.r[k]...);
  return out;
}

HEADSPLAT_INLINE Lanes set(Real x) {
  Reg r = reg_set(x);
  Lanes out;
  for (int k = 0; k < kRegs; k++) out.r[k] = r;
  return out;
}
HEADSPLAT_INLINE Lanes load(const Real* p) {
  Lanes out;
  for (int k = 0; k < kRegs; k++) out.r[k] = reg_load(p + k * kRegLanes);
  return out;
}
HEADSPLAT_INLINE void store(Real* p, const Lanes& a) {
  for (int k = 0; k < kRegs; k++) reg_store(p + k * kRegLanes, a.r[k]);
}
HEADSPLAT_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
  return each<Lanes>([](Reg x, Reg y) { return x + y; }, a, b);
}
HEADSPLAT_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
  return each<Lanes>([](Reg x, Reg y) { return x - y; }, a, b);
}
HEADSPLAT_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
  return each<Lanes>([](Reg x, Reg y) { return x * y; }, a, b);
}
// a * b + c
HEADSPLAT_INLINE Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return each<Lanes>([](Reg x, Reg y, Reg z) { return fma(x, y, z); }, a, b, c);
}
// c - a * b
HEADSPLAT_INLINE Lanes fnma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return each<Lanes>([](Reg x, Reg y, Reg z) { return fnma(x, y, z); }, a, b, c);
}
// Of a NaN and a number, min and max give their second operand.
HEADSPLAT_INLINE Lanes min(const Lanes& a, const Lanes& b) {
  return each<Lanes>([](Reg x, Reg y) { return min(x, y); }, a, b);
}
HEADSPLAT_INLINE Lanes max(const Lanes& a, const Lanes& b) {
  return each<Lanes>([](Reg x, Reg y) { return max(x, y); }, a, b);
}
HEADSPLAT_INLINE Mask operator>=(const Lanes& a, const Lanes& b) {
  return each<Mask>([](Reg x, Reg y) { return x >= y; }, a, b);
}
HEADSPLAT_INLINE Mask operator>(const Lanes& a, const Lanes& b) {
  return each<Mask>([](Reg x, Reg y) { return x > y; }, a, b);
}
HEADSPLAT_INLINE Mask operator&(const Mask& a, const Mask& b) {
  return each<Mask>([](RegMask x, RegMask y) { return x & y; }, a, b);
}
// a where the mask is set, 0 elsewhere
HEADSPLAT_INLINE Lanes keep(const Mask& m, const Lanes& a) {
  return each<Lanes>([](RegMask x, Reg y) { return keep(x, y); }, m, a);
}
// a where the mask is set, b elsewhere
HEADSPLAT_INLINE Lanes select(const Mask& m, const Lanes& a, const Lanes& b) {
  return each<Lanes>([](RegMask x, Reg y, Reg z) { return select(x, y, z); }, m, a, b);
}
HEADSPLAT_INLINE Lanes reciprocal(const Lanes& a) {
  return each<Lanes>([](Reg x) { return reciprocal(x); }, a);
}
HEADSPLAT_INLINE unsigned bits(const Mask& m) {
  unsigned out = 0;
  for (int k = 0; k < kRegs; k++) out |= bits(m.r[k]) << (k * kRegLanes);
  return out;
}
HEADSPLAT_INLINE bool any(const Mask& m) {
  RegMask joined = m.r[0];
  for (int k = 1; k < kRegs; k++) joined = joined | m.r[k];
  return bits(joined) != 0;
}

#if defined(HEADSPLAT_FLOAT64)
HEADSPLAT_INLINE Reg exp2(Reg x) {
  for (int k = 0; k < 4; k++) x.v[k] = std::exp2(x.v[k]);
  return x;
}
#else
// 2^x for |x| < 126, relative error below 3e-7 (a minimax polynomial of the fraction, exact at 0). Adding 1.5 * 2^23
// rounds x to an integer in the low mantissa bits.
HEADSPLAT_INLINE Reg exp2(Reg x) {
  Reg magic = reg_set(12582912.f);
  Reg whole = x + magic;
  Reg f = x - (whole - magic);
  Reg p = fma(f, reg_set(1.32647e-3f), reg_set(9.67151e-3f));
  p = fma(p, f, reg_set(5.550734e-2f));
  p = fma(p, f, reg_set(2.4022242e-1f));
  p = fma(p, f, reg_set(6.9314698e-1f));
  return add_exponent(fma(p, f, reg_set(1.f)), whole);
}
#endif
HEADSPLAT_INLINE Lanes exp2(const Lanes& a) {
  return each<Lanes>([](Reg x) { return exp2(x); }, a);
}

}  // namespace headsplat
