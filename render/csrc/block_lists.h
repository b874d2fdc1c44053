// The Gaussians of a tile in chunks, sorted into its sixteen blocks of 4x4 pixels.
#pragma once

#include <cstdint>
#include <cstring>

#include "scene.h"
#include "simd.h"

namespace headsplat {

constexpr int kChunkSplats = 64;
constexpr int kBlocks = 16;

// Pixel centres of a tile: block b's corner is (corner_x[b], corner_y[b]), and its pixel l is (inner_x[l], inner_y[l])
// further on.
struct PixelGrid {
  alignas(64) Real corner_x[kBlocks], corner_y[kBlocks], inner_x[kLanes], inner_y[kLanes];

  PixelGrid(int tile_x, int tile_y) {
    for (int i = 0; i < kLanes; i++) {
      inner_x[i] = static_cast<Real>(i & 3);
      inner_y[i] = static_cast<Real>(i >> 2);
      corner_x[i] = static_cast<Real>(tile_x * kTile + (i & 3) * 4) + 0.5f;
      corner_y[i] = static_cast<Real>(tile_y * kTile + (i >> 2) * 4) + 0.5f;
    }
  }
};

// Which blocks the ellipse of alpha >= 1/255 can reach. The falloff is concave, so over a block it is largest at the
// centre if that is inside, and else on the edge nearest in x or the edge nearest in y, at the ridge or at a corner.
HEADSPLAT_INLINE unsigned reachable_blocks(const Splat& s, const PixelGrid& grid) {
  Lanes x0 = load(grid.corner_x) - set(s.x), y0 = load(grid.corner_y) - set(s.y);
  Lanes x1 = x0 + set(3.f), y1 = y0 + set(3.f), zero = set(0.f);
  Lanes edge_x = min(max(zero, x0), x1), edge_y = min(max(zero, y0), y1);
  Lanes ridge_y = min(max(edge_x * set(s.ridge_x), y0), y1), ridge_x = min(max(edge_y * set(s.ridge_y), x0), x1);
  Lanes xx = set(s.qxx), xy = set(s.qxy), yy = set(s.qyy);
  Lanes on_x = fma(fma(xx, edge_x, xy * ridge_y), edge_x, yy * ridge_y * ridge_y);
  Lanes on_y = fma(fma(xx, ridge_x, xy * edge_y), ridge_x, yy * edge_y * edge_y);
  constexpr Real kSlack = 1e-3;
  return bits(max(on_x, on_y) >= set(kMinLogAlpha - s.log_opacity - kSlack));
}

struct Chunk {
  alignas(64) Splat splats[kChunkSplats];
  alignas(64) uint16_t masks[kChunkSplats];
  // Compressed stores write whole registers, hence the margin.
  alignas(64) uint16_t members[kBlocks][kChunkSplats + 32];
  int member_count[kBlocks];

  // Loads the n splats of `list` and lists the members of each live block. Masks are computed, or read from `masks_io`.
  template <bool kComputeMasks>
  HEADSPLAT_INLINE void load(const Splat* all, const uint32_t* list, uint16_t* masks_io, int n, const PixelGrid& grid,
                             unsigned live) {
    for (int i = 0; i < n; i++) {
      constexpr int kAhead = 10;
      if (i + kAhead < n) __builtin_prefetch(&all[list[i + kAhead]]);
      splats[i] = all[list[i]];
      if (kComputeMasks) masks_io[i] = static_cast<uint16_t>(reachable_blocks(splats[i], grid));
    }
    std::memcpy(masks, masks_io, static_cast<size_t>(n) * sizeof(uint16_t));
    list_members(n, live);
  }

 private:
#if defined(HEADSPLAT_AVX512)
  HEADSPLAT_INLINE void list_members(int n, unsigned live) {
    alignas(64) static constexpr uint16_t kIota[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                       16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    __m512i low = _mm512_load_si512(kIota), high = _mm512_add_epi16(low, _mm512_set1_epi16(32));
    __m512i masks_low = _mm512_load_si512(masks), masks_high = _mm512_load_si512(masks + 32);
    uint64_t used = n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
    for (unsigned left = live; left; left &= left - 1) {
      int b = __builtin_ctz(left);
      __m512i bit = _mm512_set1_epi16(static_cast<short>(1u << b));
      __mmask32 in_low = _mm512_mask_test_epi16_mask(static_cast<__mmask32>(used), masks_low, bit);
      __mmask32 in_high = _mm512_mask_test_epi16_mask(static_cast<__mmask32>(used >> 32), masks_high, bit);
      int n_low = __builtin_popcount(in_low);
      _mm512_storeu_si512(members[b], _mm512_maskz_compress_epi16(in_low, low));
      _mm512_storeu_si512(members[b] + n_low, _mm512_maskz_compress_epi16(in_high, high));
      member_count[b] = n_low + __builtin_popcount(in_high);
    }
  }
#else
  HEADSPLAT_INLINE void list_members(int n, unsigned live) {
    std::memset(member_count, 0, sizeof member_count);
    for (int i = 0; i < n; i++) {
      for (unsigned left = masks[i] & live; left; left &= left - 1) {
        int b = __builtin_ctz(left);
        members[b][member_count[b]++] = static_cast<uint16_t>(i);
      }
    }
  }
#endif
};

}  // namespace headsplat
