#include "adam.h"

#include <algorithm>
#include <cmath>

#include "thread_pool.h"

namespace headsplat {

void adam_step(const AdamArrays& arrays, const AdamSettings& s, int threads) {
  constexpr int64_t kChunk = 16384;
  const float step = s.lr / s.correction1, root = 1.f / std::sqrt(s.correction2);
  int chunks = static_cast<int>((arrays.count + kChunk - 1) / kChunk);
  parallel_for(chunks, 1, threads, [&](int first, int last, int) {
    float* __restrict param = arrays.param, * __restrict mean = arrays.mean, * __restrict square = arrays.square;
    const float* __restrict gradient = arrays.gradient;
    const int64_t end = std::min(arrays.count, last * kChunk);
    for (int64_t i = first * kChunk; i < end; i++) {
      float g = gradient[i];
      float m = mean[i] + s.gain1 * (g - mean[i]);
      float v = s.beta2 * square[i] + s.gain2 * g * g;
      mean[i] = m;
      square[i] = v;
      param[i] -= step * m / (std::sqrt(v) * root + s.eps);
    }
  });
}

}  // namespace headsplat
