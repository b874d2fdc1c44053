// Projection of the Gaussians to the image (EWA splatting, Zwicker et al. 2001), and its gradient.
#pragma once

#include "scene.h"

namespace headsplat {

// viewmat: 4 x 4 world-to-camera; K: 3 x 3 intrinsics in pixels.
Camera make_camera(const Real* viewmat, const Real* K, int width, int height);

// Fills splats, depth_keys and boxes from a source of Gaussians (world.h). False when an input, the camera included, is
// NaN or infinite.
template <class Source>
bool project(const Source& source, RenderState& state, int threads);

// Sums each Gaussian's gradient rows and carries them through the projection to the source; v_viewmat (4 x 4) may be
// null.
template <class Source>
void project_backward(const Source& source, RenderState& state, Real* v_viewmat, int threads);

}  // namespace headsplat
