#include "compose.h"

#include <algorithm>

#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int64_t kChunk = 16384;  // pixels
constexpr int kBlock = 256;        // pixels at a time, in the first cache

void compose_block(const ComposeArrays& a, int64_t first, int count) {
  float behind[3 * kBlock];
  for (int i = 0; i < count; i++) {
    float through = 1.f - a.alpha[first + i];
    const float* color = a.background + (a.one_color ? 0 : 3 * (first + i));
    for (int k = 0; k < 3; k++) behind[3 * i + k] = through * color[k];
  }
  const float* __restrict image = a.image + 3 * first;
  uint8_t* __restrict bytes = a.bytes + 3 * first;
  for (int i = 0; i < 3 * count; i++) {
    float value = (image[i] + behind[i]) * 255.f + 0.5f;
    value = value < 255.f ? value : 255.f;
    bytes[i] = static_cast<uint8_t>(static_cast<int>(value > 0.f ? value : 0.f));
  }
}

}  // namespace

void compose(const ComposeArrays& arrays, int threads) {
  int chunks = static_cast<int>((arrays.pixels + kChunk - 1) / kChunk);
  parallel_for(chunks, 1, threads, [&](int begin, int end, int) {
    const int64_t last = std::min(arrays.pixels, end * kChunk);
    for (int64_t first = begin * kChunk; first < last; first += kBlock) {
      compose_block(arrays, first, static_cast<int>(std::min<int64_t>(kBlock, last - first)));
    }
  });
}

}  // namespace headsplat
