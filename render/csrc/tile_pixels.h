// The pixels of a tile while it is blended, and their way from and to the image.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "block_lists.h"
#include "quad.h"
#include "scene.h"
#include "simd.h"

namespace headsplat {

// The channels that one pass over the tiles blends. `kChannels` registers hold them; those past `count` are zero.
template <int kChannels>
struct Band {
  const Real* colors;  // N x stride
  int stride;          // channels of the image
  int first, count;
};

// A value a pixel, block by block.
struct alignas(64) TilePixels {
  Real values[kBlocks][kLanes];

  void fill(Real x) {
    for (auto& block : values) std::fill(block, block + kLanes, x);
  }
};

template <int kChannels>
HEADSPLAT_INLINE void load_block(const TilePixels (&pixels)[kChannels], int block, Lanes (&out)[kChannels]) {
  for (int c = 0; c < kChannels; c++) out[c] = load(pixels[c].values[block]);
}

// Calls visit(block, lane, index of the pixel in the image, number of pixels) for runs of up to four pixels, a row of a
// block each. The number is a constant where it is four, so that `visit` vectorises.
template <class Visit>
HEADSPLAT_INLINE void for_each_run(const Camera& camera, int tile_x, int tile_y, Visit visit) {
  int rows = std::min(kTile, camera.height - tile_y * kTile), columns = std::min(kTile, camera.width - tile_x * kTile);
  for (int y = 0; y < rows; y++) {
    size_t i = static_cast<size_t>(tile_y * kTile + y) * camera.width + static_cast<size_t>(tile_x) * kTile;
    int b = y & ~3, l = (y & 3) * 4;
    for (int x = 0; x < columns; x += 4) {
      if (columns - x >= 4) {
        visit(b + (x >> 2), l, i + x, std::integral_constant<int, 4>());
      } else {
        visit(b + (x >> 2), l, i + x, columns - x);
      }
    }
  }
}

// The blocks that have a pixel inside the image.
inline unsigned blocks_in_image(const Camera& camera, int tile_x, int tile_y) {
  unsigned live = 0;
  for (int b = 0; b < kBlocks; b++) {
    if (tile_x * kTile + (b & 3) * 4 < camera.width && tile_y * kTile + (b >> 2) * 4 < camera.height) live |= 1u << b;
  }
  return live;
}

// Fetches the part of an image of that many channels under a tile into the cache; kWrite says what for.
template <bool kWrite>
HEADSPLAT_INLINE void prefetch_tile(const Camera& camera, int tile_x, int tile_y, const Real* image, int channels) {
  constexpr size_t kLine = 64 / sizeof(Real);
  int rows = std::min(kTile, camera.height - tile_y * kTile), columns = std::min(kTile, camera.width - tile_x * kTile);
  for (int y = 0; y < rows; y++) {
    size_t i = static_cast<size_t>(tile_y * kTile + y) * camera.width + static_cast<size_t>(tile_x) * kTile;
    const Real *begin = image + i * channels, *last = begin + static_cast<size_t>(columns) * channels - 1;
    for (const Real* p = begin; p < last; p += kLine) __builtin_prefetch(p, kWrite);
    __builtin_prefetch(last, kWrite);
  }
}

// Four pixels, and how three channels lie side by side in the image.
struct QuadColors {
  Quad r, g, b;
};

HEADSPLAT_INLINE QuadColors load_colors(const Real* p) {
  Quad first = load_quad(p), second = load_quad(p + 4), third = load_quad(p + 8);
  Quad r = HEADSPLAT_SHUFFLE(second, third, 2, 5, 2, 5);
  Quad g = HEADSPLAT_SHUFFLE(first, second, 1, 4, 1, 4), g_end = HEADSPLAT_SHUFFLE(second, third, 3, 6, 3, 6);
  Quad b = HEADSPLAT_SHUFFLE(first, second, 2, 5, 2, 5);
  return {HEADSPLAT_SHUFFLE(first, r, 0, 3, 4, 5), HEADSPLAT_SHUFFLE(g, g_end, 0, 1, 4, 5),
          HEADSPLAT_SHUFFLE(b, third, 0, 1, 4, 7)};
}

HEADSPLAT_INLINE void store_colors(Real* p, const QuadColors& q) {
  Quad rg = HEADSPLAT_SHUFFLE(q.r, q.g, 0, 4, 1, 5), rg_end = HEADSPLAT_SHUFFLE(q.r, q.g, 2, 6, 3, 7);
  Quad gb = HEADSPLAT_SHUFFLE(q.g, q.b, 1, 5, 1, 5);
  store_quad(p, HEADSPLAT_SHUFFLE(rg, q.b, 0, 1, 4, 2));
  store_quad(p + 4, HEADSPLAT_SHUFFLE(gb, rg_end, 0, 1, 4, 5));
  store_quad(p + 8, HEADSPLAT_SHUFFLE(q.b, rg_end, 2, 6, 7, 3));
}

// Writes a tile to the image, and to alpha where the band is the first. `left` is the light that passes.
template <int kChannels>
void write_tile(const Camera& camera, int tile_x, int tile_y, const Band<kChannels>& band, const TilePixels& left,
                const TilePixels (&color)[kChannels], const Real* background, Real* image, Real* alpha) {
  for_each_run(camera, tile_x, tile_y, [&](int b, int l, size_t i, auto n) {
    const Real* t = left.values[b] + l;
    Real* out = image + i * band.stride + band.first;
    if constexpr (kChannels == 3 && !std::is_same_v<decltype(n), int>) {
      Quad left_quad = load_quad(t), c[3];
      for (int k = 0; k < 3; k++) c[k] = load_quad(color[k].values[b] + l) + left_quad * background[k];
      store_colors(image + 3 * i, {c[0], c[1], c[2]});
      store_quad(alpha + i, Real(1) - left_quad);
    } else {
      for (int x = 0; x < n; x++) {
        for (int c = 0; c < band.count; c++) {
          out[x * band.stride + c] = color[c].values[b][l + x] + t[x] * background[c];
        }
        if (band.first == 0) alpha[i + x] = Real(1) - t[x];
      }
    }
  });
}

// Reads a tile of the image's gradient by channels, and into `behind` its product with the image, the share of alpha
// included where the band is the first. Pixels outside the image come out as zero.
template <int kChannels>
void read_tile(const Camera& camera, int tile_x, int tile_y, const Band<kChannels>& band, const Real* image,
               const Real* alpha, const Real* v_image, const Real* v_alpha, TilePixels (&v_color)[kChannels],
               TilePixels& behind) {
  behind.fill(0.f);
  for (auto& pixels : v_color) pixels.fill(0.f);
  for_each_run(camera, tile_x, tile_y, [&](int b, int l, size_t i, auto n) {
    Real* rest = behind.values[b] + l;
    if constexpr (kChannels == 3 && !std::is_same_v<decltype(n), int>) {
      QuadColors v = load_colors(v_image + 3 * i), c = load_colors(image + 3 * i);
      store_quad(rest, load_quad(v_alpha + i) * (load_quad(alpha + i) - Real(1)) + v.r * c.r + v.g * c.g + v.b * c.b);
      store_quad(v_color[0].values[b] + l, v.r);
      store_quad(v_color[1].values[b] + l, v.g);
      store_quad(v_color[2].values[b] + l, v.b);
    } else {
      for (int x = 0; x < n; x++) {
        if (band.first == 0) rest[x] = v_alpha[i + x] * (alpha[i + x] - Real(1));
        for (int c = 0; c < band.count; c++) {
          size_t at = (i + x) * band.stride + band.first + c;
          v_color[c].values[b][l + x] = v_image[at];
          rest[x] += v_image[at] * image[at];
        }
      }
    }
  });
}

}  // namespace headsplat
