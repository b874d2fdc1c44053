// One step of Adam (Kingma & Ba 2015) over one array.
#pragma once

#include <cstdint>

namespace headsplat {

struct AdamArrays {
  float* param;
  const float* gradient;
  float* mean;    // running mean of the gradient
  float* square;  // running mean of its square
  int64_t count;
};

struct AdamSettings {
  float lr, beta2, eps;
  float gain1, gain2;              // 1 - beta1 and 1 - beta2, which lose digits when taken from floats
  float correction1, correction2;  // 1 - beta^step
};

void adam_step(const AdamArrays& arrays, const AdamSettings& settings, int threads);

// The same where the gradient is the outer product of rows (count / width) and columns (width), which is not written:
// arrays.gradient is ignored. Memory is what a step costs, and this saves two passes of it.
void adam_step_outer(const AdamArrays& arrays, const float* rows, const float* columns, int width,
                     const AdamSettings& settings, int threads);

}  // namespace headsplat
