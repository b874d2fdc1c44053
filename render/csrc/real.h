// The number type of a build: float, or double in the build that tests take derivatives of.
#pragma once

namespace headsplat {

#if defined(HEADSPLAT_FLOAT64)
using Real = double;
#else
using Real = float;
#endif

}  // namespace headsplat
