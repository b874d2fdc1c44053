// L1 and structural dissimilarity of two images, and the gradient of their weighted sum, in one pass over the image.
#pragma once

#include "buffer.h"
#include "real.h"

namespace headsplat {

struct LossWorkspace {
  Buffer<Real> scratch;  // what is in flight, a part for each worker
  Buffer<double> sums;   // of SSIM and of |image - target|, row by row
};

// Returns (1 - w) mean|image - target| + w (1 - mean SSIM) and writes its gradient with respect to image; both images
// are height x width x 3. SSIM after Wang et al. 2004: 11 x 11 Gaussian window of sigma 1.5, C1 = 0.01^2, C2 = 0.03^2,
// zero padding, per channel.
double l1_dssim(LossWorkspace& workspace, const Real* image, const Real* target, int width, int height,
                Real dssim_weight, Real* gradient, int threads);

}  // namespace headsplat
