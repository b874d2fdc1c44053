#include "adam.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int64_t kChunk = 16384;

// Updates [begin, end) from the gradients of those elements alone.
void step_range(const AdamArrays& arrays, const float* gradient_of_range, int64_t begin, int64_t end,
                const AdamSettings& s) {
  const float step = s.lr / s.correction1, root = 1.f / std::sqrt(s.correction2);
  float* __restrict param = arrays.param + begin, * __restrict mean = arrays.mean + begin;
  float* __restrict square = arrays.square + begin;
  const float* __restrict gradient = gradient_of_range;
  for (int64_t i = 0; i < end - begin; i++) {
    float g = gradient[i];
    float m = mean[i] + s.gain1 * (g - mean[i]);
    float v = s.beta2 * square[i] + s.gain2 * g * g;
    mean[i] = m;
    square[i] = v;
    param[i] -= step * m / (std::sqrt(v) * root + s.eps);
  }
}

}  // namespace

void adam_step(const AdamArrays& arrays, const AdamSettings& settings, int threads) {
  int chunks = static_cast<int>((arrays.count + kChunk - 1) / kChunk);
  parallel_for(chunks, 1, threads, [&](int first, int last, int) {
    int64_t begin = first * kChunk, end = std::min(arrays.count, last * kChunk);
    step_range(arrays, arrays.gradient + begin, begin, end, settings);
  });
}

void adam_step_outer(const AdamArrays& arrays, const float* rows, const float* columns, int width,
                     const AdamSettings& settings, int threads) {
  constexpr int kBlock = 1024;  // gradients at a time, in the first cache
  const int64_t rows_a_block = std::max(1, kBlock / width), row_count = arrays.count / width;
  const int64_t rows_a_chunk = std::max(rows_a_block, kChunk / width);
  int chunks = static_cast<int>((row_count + rows_a_chunk - 1) / rows_a_chunk);
  parallel_for(chunks, 1, threads, [&](int first, int last, int) {
    std::vector<float> block(static_cast<size_t>(rows_a_block) * width);
    const int64_t end = std::min(row_count, last * rows_a_chunk);
    for (int64_t row = first * rows_a_chunk; row < end; row += rows_a_block) {
      int64_t used = std::min(rows_a_block, end - row);
      for (int64_t r = 0; r < used; r++) {
        for (int k = 0; k < width; k++) block[r * width + k] = rows[row + r] * columns[k];
      }
      step_range(arrays, block.data(), row * width, (row + used) * width, settings);
    }
  });
}

}  // namespace headsplat
