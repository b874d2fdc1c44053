// Alpha blending front to back, one tile at a time (Kerbl et al. 2023), and its gradient.
#pragma once

#include "scene.h"

namespace headsplat {

// Fills image (H x W x channels) and alpha (H x W), and the state's block_masks and tile_used. colors: N x channels, of
// the state's number of channels; background (channels) may be null.
void blend(RenderState& state, const Real* colors, const Real* background, Real* image, Real* alpha, int threads);

// Fills the gradient rows from the gradients of image and alpha; colors, image and alpha are those of blend().
void blend_backward(RenderState& state, const Real* colors, const Real* image, const Real* alpha, const Real* v_image,
                    const Real* v_alpha, int threads);

}  // namespace headsplat
