// Sums, over the pixels of a tile, of one Gaussian's gradients: six moments of the alpha gradient and the colours.
//
// The pixels' coordinates are small integers known beforehand, so the moments are products with constant tables: within
// a group of four lanes (a row of a block) the four gradients are spread and multiplied by (1, x, x^2, 1), which leaves
// the four lanes holding four different sums. No lane is reduced until the tile is done.
#pragma once

#include "scene.h"
#include "simd.h"

namespace headsplat {

struct MomentTables {
  // x[c][i]: (1, x, x^2, 1) at column i of the blocks in column c. Coordinates are taken from the middle of the tile.
  alignas(16) Real x[4][4][4];
  // y[r]: (1, 1, 1, y^2) and (y, y, 0, 0) for the rows of the blocks in row r.
  alignas(64) Real y_even[4][kLanes], y_odd[4][kLanes];

  constexpr MomentTables() : x{}, y_even{}, y_odd{} {
    for (int block = 0; block < 4; block++) {
      for (int i = 0; i < 4; i++) {
        Real at = static_cast<Real>(block * 4 + i) + 0.5f - 8.f;
        x[block][i][0] = x[block][i][3] = 1.f;
        x[block][i][1] = at;
        x[block][i][2] = at * at;
        y_even[block][i * 4] = y_even[block][i * 4 + 1] = y_even[block][i * 4 + 2] = 1.f;
        y_even[block][i * 4 + 3] = at * at;
        y_odd[block][i * 4] = y_odd[block][i * 4 + 1] = at;
        y_odd[block][i * 4 + 2] = y_odd[block][i * 4 + 3] = 0.f;
      }
    }
  }
};
inline constexpr MomentTables kMoments{};

// sum + a * b, the registers of a and b folded into the one of sum.
HEADSPLAT_INLINE Reg fold(Lanes a, Lanes b, Reg sum) {
  for (int k = 0; k < kRegs; k++) sum = fma(a.r[k], b.r[k], sum);
  return sum;
}

template <int kChannels>
struct alignas(64) RowSums {
  Reg even, odd, color[kChannels];

  HEADSPLAT_INLINE void clear() {
    even = odd = reg_set(0.f);
    for (Reg& c : color) c = even;
  }

  // Adds block `block`'s pixels: v_log_alpha is the gradient times alpha, weight the blending weight, v_image the
  // gradient of the image, channel by channel.
  HEADSPLAT_INLINE void add(int block, const Lanes& v_log_alpha, const Lanes& weight,
                            const Lanes (&v_image)[kChannels]) {
    const auto& x = kMoments.x[block & 3];
    Reg x0 = reg_repeat4(x[0]), x1 = reg_repeat4(x[1]), x2 = reg_repeat4(x[2]), x3 = reg_repeat4(x[3]);
    Lanes by_row = each<Lanes>(
        [=](Reg v) { return fma(spread4<0>(v), x0, spread4<1>(v) * x1) + fma(spread4<2>(v), x2, spread4<3>(v) * x3); },
        v_log_alpha);
    even = fold(by_row, load(kMoments.y_even[block >> 2]), even);
    odd = fold(by_row, load(kMoments.y_odd[block >> 2]), odd);
    for (int c = 0; c < kChannels; c++) color[c] = fold(weight, v_image[c], color[c]);
  }

  // The six moments with coordinates as centre minus pixel; (x, y) is the centre, from the middle of the tile.
  HEADSPLAT_INLINE void moments(Real x, Real y, Real (&out)[kRowMoments]) const {
    Real e[4], o[4];
    sum_groups(even, e);
    sum_groups(odd, o);
    Real s = e[0], sx = e[1], sxx = e[2], syy = e[3], sy = o[0], sxy = o[1];
    out[0] = s;
    out[1] = x * s - sx;
    out[2] = y * s - sy;
    out[3] = x * out[1] - (x * sx - sxx);
    out[4] = x * out[2] - (y * sx - sxy);
    out[5] = y * out[2] - (y * sy - syy);
  }

  HEADSPLAT_INLINE Real color_sum(int channel) const {
    Real c[4];
    sum_groups(color[channel], c);
    return (c[0] + c[1]) + (c[2] + c[3]);
  }
};

}  // namespace headsplat
