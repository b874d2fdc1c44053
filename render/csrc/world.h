// Sixteen Gaussians in the world, transposed so that a loop over the lanes vectorises: what the projection reads,
// wherever they come from.
//
// A source of Gaussians is a structure with `count`, a type `Batch` for what it keeps of sixteen of them, and
//   int channels() const                                      numbers of a colour
//   Real* color_gradient(WorldGradients&, int g, int l) const where the gradient of Gaussian g's colour goes
//   Real load(Batch&, int first, int used, World&) const      fills all lanes, those from `used` on with anything
//                                                             finite; zero when the inputs are finite, else NaN
//   void backward(const Batch&, int first, int used, const World&, WorldGradients&) const
//                                                             carries the gradients on; they are zero in the lanes
//                                                             that no pixel saw
//   void backward_unseen(int first, int used) const           the same where no pixel saw any of them
#pragma once

#include "vec3.h"

namespace headsplat {

struct alignas(64) World {
  Real mean[3][kLanes], axis0[3][kLanes], axis1[3][kLanes], axis2[3][kLanes], scale[3][kLanes], opacity[kLanes];
  Real colors[3 * kLanes];  // row by row; of no use where there are not three channels
};

struct alignas(64) WorldGradients {
  Real mean[3][kLanes], axis0[3][kLanes], axis1[3][kLanes], axis2[3][kLanes], scale[3][kLanes], opacity[kLanes];
  Real colors[3 * kLanes];  // row by row
};

}  // namespace headsplat
