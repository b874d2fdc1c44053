// Marks the small functions that must not become calls, whatever the compiler's estimate.
#pragma once

#define HEADSPLAT_INLINE inline __attribute__((always_inline))
