// L1 and structural dissimilarity of two images, and the gradient of their weighted sum, in two passes over the rows.
#pragma once

#include "buffer.h"

namespace headsplat {

struct LossWorkspace {
  Buffer<float> maps;     // gradients of SSIM with respect to three blurred images
  Buffer<float> scratch;  // rows in flight, a part for each worker
  Buffer<double> sums;    // loss of each strip
};

// Returns (1 - w) mean|image - target| + w (1 - mean SSIM) and writes its gradient with respect to image; both images
// are height x width x 3. SSIM after Wang et al. 2004: 11 x 11 Gaussian window of sigma 1.5, C1 = 0.01^2, C2 = 0.03^2,
// zero padding, per channel.
double l1_dssim(LossWorkspace& workspace, const float* image, const float* target, int width, int height,
                float dssim_weight, float* gradient, int threads);

}  // namespace headsplat
