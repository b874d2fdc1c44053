// Vectors of three and the numbers that a loop over the lanes of a batch is made of.
#pragma once

#include <cstdint>
#include <cstring>

#include "scene.h"
#include "simd.h"

namespace headsplat {

HEADSPLAT_INLINE Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
HEADSPLAT_INLINE Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
HEADSPLAT_INLINE Vec3 operator*(Vec3 a, Real s) { return {a.x * s, a.y * s, a.z * s}; }
HEADSPLAT_INLINE Vec3 operator*(Vec3 a, Vec3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
HEADSPLAT_INLINE Real dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
HEADSPLAT_INLINE Vec3 cross(Vec3 a, Vec3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
// The matrix with columns a, b, c times v, and its transpose times v.
HEADSPLAT_INLINE Vec3 combine(Vec3 a, Vec3 b, Vec3 c, Vec3 v) { return a * v.x + b * v.y + c * v.z; }
HEADSPLAT_INLINE Vec3 dots(Vec3 a, Vec3 b, Vec3 c, Vec3 v) { return {dot(a, v), dot(b, v), dot(c, v)}; }

// Component k of lane l is rows[k][l].
HEADSPLAT_INLINE Vec3 lane(const Real (&rows)[3][kLanes], int l) { return {rows[0][l], rows[1][l], rows[2][l]}; }
HEADSPLAT_INLINE void put_lane(Real (&rows)[3][kLanes], int l, Vec3 v) {
  rows[0][l] = v.x, rows[1][l] = v.y, rows[2][l] = v.z;
}

HEADSPLAT_INLINE Real clamp(Real x, Real low, Real high) {
  x = x < high ? x : high;
  return x > low ? x : low;
}
HEADSPLAT_INLINE uint32_t float_bits(float x) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}
HEADSPLAT_INLINE float bits_float(uint32_t u) {
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

// Zero for finite values, NaN otherwise: x - x is zero for every finite x.
HEADSPLAT_INLINE Real nonfinite(const Real* values, size_t count) {
  Real sum = Real(0);
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < count; i++) sum += values[i] - values[i];
  return sum;
}

// The number of lanes, hidden from the optimiser: GCC would unroll a loop of known length before vectorising it.
HEADSPLAT_INLINE int lane_count() {
  int n = kLanes;
  __asm__ volatile("" : "+r"(n));
  return n;
}

}  // namespace headsplat
