// Projection of the Gaussians to the image (EWA splatting, Zwicker et al. 2001), and its gradient.
#pragma once

#include "scene.h"

namespace headsplat {

// viewmat: 4 x 4 world-to-camera; K: 3 x 3 intrinsics in pixels.
Camera make_camera(const Real* viewmat, const Real* K, int width, int height);

// Fills splats, depth_keys and boxes. False when an input, the camera included, is NaN or infinite.
bool project(const Gaussians& gaussians, RenderState& state, int threads);

// Sums each Gaussian's gradient rows and carries them through the projection.
void project_backward(const Gaussians& gaussians, RenderState& state, const Gradients& out, int threads);

}  // namespace headsplat
