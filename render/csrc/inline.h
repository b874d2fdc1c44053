// Marks the small functions that must not become calls and the larger ones that must, whatever the compiler's
// estimate, and loops of a few rounds that must not stay loops.
#pragma once

#define HEADSPLAT_INLINE inline __attribute__((always_inline))
#define HEADSPLAT_APART __attribute__((noinline))
#if defined(__clang__)
#define HEADSPLAT_UNROLL _Pragma("unroll")
#else
#define HEADSPLAT_UNROLL _Pragma("GCC unroll 32")
#endif
