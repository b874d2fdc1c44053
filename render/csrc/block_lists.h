// The Gaussians of a tile in chunks, and which of them reach each of its sixteen blocks of 4x4 pixels.
#pragma once

#include <cstdint>
#include <cstring>

#include "scene.h"
#include "simd.h"

namespace headsplat {

constexpr int kChunkSplats = 64;
constexpr int kBlocks = 16;

// Pixel centres of a tile, from its corner: block b's corner is (corner_x[b], corner_y[b]), and its pixel l is
// (inner_x[l], inner_y[l]) further on.
struct PixelGrid {
  alignas(64) Real corner_x[kBlocks], corner_y[kBlocks], inner_x[kLanes], inner_y[kLanes];

  constexpr PixelGrid() : corner_x{}, corner_y{}, inner_x{}, inner_y{} {
    for (int i = 0; i < kLanes; i++) {
      inner_x[i] = static_cast<Real>(i & 3);
      inner_y[i] = static_cast<Real>(i >> 2);
      corner_x[i] = static_cast<Real>((i & 3) * 4) + Real(0.5);
      corner_y[i] = static_cast<Real>((i >> 2) * 4) + Real(0.5);
    }
  }
};
inline constexpr PixelGrid kGrid{};

// Which blocks the ellipse of alpha >= 1/255 can reach; (x, y) is the centre from the corner of the tile. The falloff
// is concave, so over a block it is largest at the centre if that is inside, and else on the edge nearest in x or the
// edge nearest in y, at the ridge or at a corner.
HEADSPLAT_INLINE unsigned reachable_blocks(const Splat& s, Real x, Real y) {
  Lanes x0 = load(kGrid.corner_x) - set(x), y0 = load(kGrid.corner_y) - set(y);
  Lanes x1 = x0 + set(3.f), y1 = y0 + set(3.f), zero = set(0.f);
  Lanes edge_x = min(max(zero, x0), x1), edge_y = min(max(zero, y0), y1);
  Lanes ridge_y = min(max(edge_x * set(s.ridge_x), y0), y1), ridge_x = min(max(edge_y * set(s.ridge_y), x0), x1);
  Lanes ux = set(s.ux), uy = set(s.uy), vy = set(s.vy);
  Lanes u_on_x = fma(ux, edge_x, uy * ridge_y), v_on_x = vy * ridge_y;
  Lanes u_on_y = fma(ux, ridge_x, uy * edge_y), v_on_y = vy * edge_y;
  Lanes on_x = fma(u_on_x, u_on_x, v_on_x * v_on_x), on_y = fma(u_on_y, u_on_y, v_on_y * v_on_y);
  constexpr Real kSlack = 1e-3;
  return bits(set(s.log_opacity - kMinLogAlpha + kSlack) >= min(on_x, on_y));
}

// Where a splat's falloff starts from the corner of a tile: its u and v there.
struct Start {
  Real u, v;
};
HEADSPLAT_INLINE Start start_of(const Splat& s, Real x, Real y) { return {-(s.ux * x + s.uy * y), -(s.vy * y)}; }

struct Chunk {
  alignas(64) Splat splats[kChunkSplats];
  Start starts[kChunkSplats];
  alignas(64) uint16_t masks[kChunkSplats];
  uint64_t members[kBlocks];  // bit i: splat i reaches the block
  uint64_t capped;            // bit i: splat i is opaque enough to meet alpha_max

  // Loads the n splats of `list` for the tile with that corner, and lists the members of each block. Masks are
  // computed, or read from `masks_io`. The list goes on to `left` entries, and the splats of the next chunk are fetched
  // into the cache.
  template <bool kComputeMasks>
  HEADSPLAT_INLINE void load(const Splat* all, const uint32_t* list, uint16_t* masks_io, int n, size_t left,
                             Real corner_x, Real corner_y) {
    capped = 0;
    for (int i = 0; i < n; i++) {
      constexpr size_t kAhead = kChunkSplats;
      if (static_cast<size_t>(i) + kAhead < left) __builtin_prefetch(&all[list[i + kAhead]]);
      splats[i] = all[list[i]];
      capped |= static_cast<uint64_t>(splats[i].log_cap < splats[i].log_opacity) << i;
      Real x = splats[i].x - corner_x, y = splats[i].y - corner_y;
      starts[i] = start_of(splats[i], x, y);
      if (kComputeMasks) masks_io[i] = static_cast<uint16_t>(reachable_blocks(splats[i], x, y));
    }
    std::memcpy(masks, masks_io, static_cast<size_t>(n) * sizeof(uint16_t));
    list_members(n);
  }

 private:
  // Transposes the first n masks.
  HEADSPLAT_INLINE void list_members(int n) {
    const uint64_t used = n >= kChunkSplats ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
#if defined(HEADSPLAT_AVX512)
    __m512i low = _mm512_load_si512(masks), high = _mm512_load_si512(masks + 32);
    for (int b = 0; b < kBlocks; b++) {
      __m512i bit = _mm512_set1_epi16(static_cast<short>(1u << b));
      uint64_t in_low = _mm512_test_epi16_mask(low, bit), in_high = _mm512_test_epi16_mask(high, bit);
      members[b] = (in_high << 32 | in_low) & used;
    }
#elif defined(__SSE2__)
    // The bit of block b is moved to the sign, which packing keeps and movemask collects.
    __m128i shifted[kChunkSplats / 8];
    for (int i = 0; i < kChunkSplats / 8; i++) {
      shifted[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(masks + 8 * i));
    }
    for (int b = kBlocks - 1; b >= 0; b--) {
      uint64_t bits = 0;
      for (int i = 0; i < kChunkSplats / 16; i++) {
        __m128i packed = _mm_packs_epi16(shifted[2 * i], shifted[2 * i + 1]);
        bits |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(packed))) << (16 * i);
      }
      for (__m128i& x : shifted) x = _mm_add_epi16(x, x);
      members[b] = bits & used;
    }
#else
    std::memset(members, 0, sizeof members);
    for (int i = 0; i < n; i++) {
      for (unsigned left = masks[i]; left; left &= left - 1) members[__builtin_ctz(left)] |= uint64_t{1} << i;
    }
    static_cast<void>(used);
#endif
  }
};

}  // namespace headsplat
