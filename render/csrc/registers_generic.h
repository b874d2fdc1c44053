// Four numbers in a register, by the vector extensions of GCC and Clang: SSE2 on x86, and all doubles.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "inline.h"
#include "quad.h"
#include "real.h"

namespace headsplat {

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
HEADSPLAT_INLINE bool any(RegMask m) { return bits(m) != 0; }
HEADSPLAT_INLINE Reg reciprocal(Reg x) { return {Real(1) / x.v}; }
HEADSPLAT_INLINE Reg add_exponent(Reg x, Reg n) { return {(Real4)((Bits4)x.v + ((Bits4)n.v << kMantissaBits))}; }
template <int K>
HEADSPLAT_INLINE Reg spread4(Reg a) {
  return reg_set(a.v[K]);
}
HEADSPLAT_INLINE Reg load_quads(const Real* p, size_t) { return reg_load(p); }
HEADSPLAT_INLINE void transpose_quads(Reg (&r)[4]) {
  Real4 a = HEADSPLAT_SHUFFLE(r[0].v, r[1].v, 0, 4, 1, 5), b = HEADSPLAT_SHUFFLE(r[2].v, r[3].v, 0, 4, 1, 5);
  Real4 c = HEADSPLAT_SHUFFLE(r[0].v, r[1].v, 2, 6, 3, 7), d = HEADSPLAT_SHUFFLE(r[2].v, r[3].v, 2, 6, 3, 7);
  r[0].v = HEADSPLAT_SHUFFLE(a, b, 0, 1, 4, 5), r[1].v = HEADSPLAT_SHUFFLE(a, b, 2, 3, 6, 7);
  r[2].v = HEADSPLAT_SHUFFLE(c, d, 0, 1, 4, 5), r[3].v = HEADSPLAT_SHUFFLE(c, d, 2, 3, 6, 7);
}
HEADSPLAT_INLINE void sum_groups(Reg a, Real* out) { reg_store(out, a); }

}  // namespace headsplat
