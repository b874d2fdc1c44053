// Sixteen numbers on the widest registers the build targets.
//
// A register type (`Reg`) and its dozen operations are written once per instruction set, in registers_*.h; `Lanes` and
// everything above it are written once, as kRegs registers side by side. Sixteen lanes are one 4x4 block of pixels, row
// by row.
//
// The operations that do not explain themselves: reg_repeat4 loads four numbers and repeats them over the register,
// add_exponent(x, n) adds the low bits of n to the exponent of x, spread4<K> spreads lane K of each group of four over
// its group, sum_groups sums the groups of four lanes into four numbers. load_quads loads
// groups of four lanes from rows 0, 4, 8 ... of an array, transpose_quads takes the groups of four registers for the
// rows of matrices and transposes each.
#pragma once

#include <cmath>

#include "inline.h"
#include "real.h"

#if defined(HEADSPLAT_FLOAT64)
#define HEADSPLAT_ISA "float64"
#include "registers_generic.h"
#elif defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && \
    defined(__AVX512VBMI2__)
#define HEADSPLAT_AVX512 1
#define HEADSPLAT_ISA "avx512"
#include "registers_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#define HEADSPLAT_ISA "avx2"
#include "registers_avx2.h"
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define HEADSPLAT_ISA "neon"
#include "registers_neon.h"
#else
#define HEADSPLAT_ISA "baseline"
#include "registers_generic.h"
#endif

namespace headsplat {

constexpr int kLanes = 16;
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
// Of a NaN as first and a number as second operand, min and max give the number.
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
  return any(joined);
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
