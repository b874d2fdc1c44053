// Four numbers by the vector extensions of GCC and Clang, on every instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "inline.h"
#include "real.h"

namespace headsplat {

typedef Real Quad __attribute__((vector_size(4 * sizeof(Real))));

#if defined(__clang__) || __GNUC__ >= 12
#define HEADSPLAT_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
using QuadIndex = std::conditional_t<sizeof(Real) == 8, int64_t, int32_t>;
typedef QuadIndex QuadIndices __attribute__((vector_size(4 * sizeof(Real))));
#define HEADSPLAT_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, QuadIndices{i, j, k, l})
#endif

HEADSPLAT_INLINE Quad load_quad(const Real* p) {
  Quad q;
  std::memcpy(&q, p, sizeof q);
  return q;
}
HEADSPLAT_INLINE void store_quad(Real* p, Quad q) { std::memcpy(p, &q, sizeof q); }

}  // namespace headsplat
