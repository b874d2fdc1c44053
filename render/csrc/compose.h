// A render before a background, as the bytes a file or a screen takes.
#pragma once

#include <cstdint>

namespace headsplat {

struct ComposeArrays {
  const float* image;       // pixels x 3, premultiplied
  const float* alpha;       // pixels
  const float* background;  // pixels x 3, or the 3 of one colour
  bool one_color;
  uint8_t* bytes;  // pixels x 3
  int64_t pixels;
};

// bytes = round(255 clamp(image + (1 - alpha) background, 0, 1)).
void compose(const ComposeArrays& arrays, int threads);

}  // namespace headsplat
