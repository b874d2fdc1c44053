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

}  // namespace headsplat
