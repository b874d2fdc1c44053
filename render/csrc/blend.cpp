#include "blend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "block_lists.h"
#include "row_sums.h"
#include "simd.h"
#include "thread_pool.h"
#include "tile_pixels.h"

namespace headsplat {
namespace {

// Three channels are in the splats themselves; others go four or eight at a time. Gradients of alpha are linear in the
// channels, so those of the passes add up.
template <class Pass>
void for_each_band(const Real* colors, int channels, Pass pass) {
  if (channels == 3) return pass(Band<3>{colors, 3, 0, 3});
  int first = 0;
  for (; channels - first > 4; first += 8) pass(Band<8>{colors, channels, first, std::min(8, channels - first)});
  if (first < channels) pass(Band<4>{colors, channels, first, channels - first});
}

// Colours of the splats of a chunk.
template <int kChannels>
struct ChunkColors {
  Real values[kChunkSplats][kChannels];

  void load(const Band<kChannels>& band, const uint32_t* list, int n) {
    for (int i = 0; i < n; i++) {
      const Real* color = band.colors + static_cast<size_t>(list[i]) * band.stride + band.first;
      for (int c = 0; c < kChannels; c++) values[i][c] = c < band.count ? color[c] : Real(0);
    }
  }
  const Real* of(const Chunk&, int i) const { return values[i]; }
};
template <>
struct ChunkColors<3> {
  void load(const Band<3>&, const uint32_t*, int) {}
  const Real* of(const Chunk& chunk, int i) const { return chunk.splats[i].color; }
};

constexpr int kTileGrain = 4;  // tiles a job: neighbours share Gaussians and cache lines

// Calls f with the condition as a compile-time constant.
template <class F>
HEADSPLAT_INLINE void with_constant(bool condition, F f) {
  if (condition) {
    f(std::true_type());
  } else {
    f(std::false_type());
  }
}

struct Pixels {
  Lanes x, y;
};
HEADSPLAT_INLINE Pixels block_pixels(int b) {
  return {load(kGrid.inner_x) + set(kGrid.corner_x[b]), load(kGrid.inner_y) + set(kGrid.corner_y[b])};
}

// log2 of the alpha of a splat at sixteen pixels.
HEADSPLAT_INLINE Lanes log_alpha(const Splat& s, const Start& start, const Pixels& pixels) {
  Lanes u = fma(set(s.ux), pixels.x, fma(set(s.uy), pixels.y, set(start.u)));
  Lanes v = fma(set(s.vy), pixels.y, set(start.v));
  return fnma(u, u, fnma(v, v, set(s.log_opacity)));
}

template <int kChannels>
void blend_tile(RenderState& state, int tile, const Band<kChannels>& band, const Real* background, Real* image,
                Real* alpha) {
  const Camera& camera = state.camera;
  int tile_x = tile % state.tiles_x, tile_y = tile / state.tiles_x;
  uint32_t begin = state.tile_start[tile], end = state.tile_start[tile + 1], at = begin;
  prefetch_tile<true>(camera, tile_x, tile_y, image, band.stride);
  prefetch_tile<true>(camera, tile_x, tile_y, alpha, 1);
  // `left` is the light that passes; `through` is the same and goes on falling when a pixel has stopped.
  TilePixels through, left, color[kChannels];
  through.fill(1.f), left.fill(1.f);
  for (auto& pixels : color) pixels.fill(0.f);
  const Real corner_x = static_cast<Real>(tile_x * kTile), corner_y = static_cast<Real>(tile_y * kTile);
  Chunk chunk;
  ChunkColors<kChannels> colors;
  const Lanes faintest = set(kMinLogAlpha), darkest = set(kMinTransmittance);
  unsigned live = blocks_in_image(camera, tile_x, tile_y);
  for (; at < end && live; at += kChunkSplats) {
    int n = static_cast<int>(std::min<uint32_t>(kChunkSplats, end - at));
    const uint32_t* list = state.tile_list.data() + at;
    if (band.first == 0) {
      chunk.load<true>(state.splats.data(), list, state.block_masks.data() + at, n, state.intersections - at, corner_x,
                       corner_y);
    } else {
      chunk.load<false>(state.splats.data(), list, state.block_masks.data() + at, n, state.intersections - at, corner_x,
                        corner_y);
    }
    colors.load(band, list, n);
    for (unsigned blocks = live; blocks; blocks &= blocks - 1) {
      int b = __builtin_ctz(blocks);
      uint64_t members = chunk.members[b];
      if (!members) continue;
      Pixels pixels = block_pixels(b);
      Lanes t = load(through.values[b]), stopped_at = load(left.values[b]);
      Lanes sum[kChannels];
      load_block(color, b, sum);
      auto draw = [&](auto is_capped) {
        for (; members; members &= members - 1) {
          int i = __builtin_ctzll(members);
          const Splat& s = chunk.splats[i];
          const Real* splat_color = colors.of(chunk, i);
          Lanes q = log_alpha(s, chunk.starts[i], pixels);
          Lanes a = keep(q >= faintest, exp2(is_capped ? min(q, set(s.log_cap)) : q));
          Lanes next = fnma(a, t, t);
          Mask alive = next > darkest;
          Lanes weight = keep(alive, a * t);
          t = next;
          stopped_at = select(alive, next, stopped_at);
          for (int c = 0; c < kChannels; c++) sum[c] = fma(weight, set(splat_color[c]), sum[c]);
          if (!any(alive)) {
            live &= ~(1u << b);
            break;
          }
        }
      };
      with_constant((members & chunk.capped) != 0, draw);
      store(through.values[b], t);
      store(left.values[b], stopped_at);
      for (int c = 0; c < kChannels; c++) store(color[c].values[b], sum[c]);
    }
  }
  state.tile_used[tile] = std::min(at, end) - begin;
  Real behind[kChannels] = {};
  if (background) std::copy(background + band.first, background + band.first + band.count, behind);
  write_tile(camera, tile_x, tile_y, band, left, color, behind, image, alpha);
}

// With D the gradient of the image dotted with a Gaussian's colour and R the same for everything behind it, background
// and alpha output included, the gradient of its alpha is T D - R / (1 - alpha). R starts as the whole pixel's and
// loses each Gaussian's share on the way, so one number a pixel stands for all that is behind.
template <int kChannels>
void blend_tile_backward(RenderState& state, int tile, const Band<kChannels>& band, const Real* image,
                         const Real* alpha, const Real* v_image, const Real* v_alpha) {
  const Camera& camera = state.camera;
  int tile_x = tile % state.tiles_x, tile_y = tile / state.tiles_x;
  uint32_t begin = state.tile_start[tile], end = begin + state.tile_used[tile];
  if (begin == end) return;
  TilePixels through, behind, v_color[kChannels];
  through.fill(1.f);
  if (tile_x + 1 < state.tiles_x) {
    prefetch_tile<false>(camera, tile_x + 1, tile_y, image, band.stride);
    prefetch_tile<false>(camera, tile_x + 1, tile_y, v_image, band.stride);
    prefetch_tile<false>(camera, tile_x + 1, tile_y, alpha, 1);
    prefetch_tile<false>(camera, tile_x + 1, tile_y, v_alpha, 1);
  }
  read_tile(camera, tile_x, tile_y, band, image, alpha, v_image, v_alpha, v_color, behind);
  const Real corner_x = static_cast<Real>(tile_x * kTile), corner_y = static_cast<Real>(tile_y * kTile);
  Chunk chunk;
  ChunkColors<kChannels> colors;
  RowSums<kChannels> sums[kChunkSplats];
  const Lanes faintest = set(kMinLogAlpha), darkest = set(kMinTransmittance), one = set(1.f);
  const Lanes log_alpha_max = set(std::log2(state.settings.alpha_max));
  const Real middle_x = corner_x + kTile / 2, middle_y = corner_y + kTile / 2;
  const size_t row_size = kChannels == 3 ? 12 : state.row_size();
  unsigned live = blocks_in_image(camera, tile_x, tile_y);
  for (uint32_t at = begin; at < end && live; at += kChunkSplats) {
    int n = static_cast<int>(std::min<uint32_t>(kChunkSplats, end - at));
    const uint32_t* list = state.tile_list.data() + at;
    chunk.load<false>(state.splats.data(), list, state.block_masks.data() + at, n, state.intersections - at, corner_x,
                      corner_y);
    colors.load(band, list, n);
    for (int i = 0; i < n; i++) {
      sums[i].clear();
      const Real* row = state.rows.data() + chunk.splats[i].row(tile_x, tile_y) * row_size;
      __builtin_prefetch(row, 1);
      __builtin_prefetch(row + row_size - 1, 1);
    }
    for (unsigned blocks = live; blocks; blocks &= blocks - 1) {
      int b = __builtin_ctz(blocks);
      uint64_t members = chunk.members[b];
      if (!members) continue;
      Pixels pixels = block_pixels(b);
      Lanes t = load(through.values[b]), rest = load(behind.values[b]);
      Lanes v[kChannels];
      load_block(v_color, b, v);
      auto draw = [&](auto is_capped) {
        for (; members; members &= members - 1) {
          int i = __builtin_ctzll(members);
          const Splat& s = chunk.splats[i];
          Lanes q = log_alpha(s, chunk.starts[i], pixels);
          Lanes a = keep(q >= faintest, exp2(is_capped ? min(q, set(s.log_cap)) : q));
          Lanes next = fnma(a, t, t);
          Mask alive = next > darkest;
          Lanes weight = keep(alive, a * t);
          const Real* color = colors.of(chunk, i);
          Lanes d = set(color[kChannels - 1]) * v[kChannels - 1];
          for (int c = kChannels - 2; c >= 0; c--) d = fma(set(color[c]), v[c], d);
          rest = fnma(weight, d, rest);
          Lanes minus_v_alpha = fnma(t, d, rest * reciprocal(one - a));
          // A clamped alpha does not depend on anything.
          Lanes v_log = keep(is_capped ? alive & (log_alpha_max >= q) : alive, a * minus_v_alpha);
          t = next;
          sums[i].add(b, v_log, weight, v);
          if (!any(alive)) {
            live &= ~(1u << b);
            break;
          }
        }
      };
      with_constant((members & chunk.capped) != 0, draw);
      store(through.values[b], t);
      store(behind.values[b], rest);
    }
    for (int i = 0; i < n; i++) {
      if (!chunk.masks[i]) continue;
      const Splat& s = chunk.splats[i];
      uint32_t row = s.row(tile_x, tile_y);
      Real moments[kRowMoments], *out = state.rows.data() + row * row_size;
      sums[i].moments(s.x - middle_x, s.y - middle_y, moments);
      for (int k = 0; k < kRowMoments; k++) out[k] = band.first == 0 ? moments[k] : out[k] + moments[k];
      for (int c = 0; c < band.count; c++) out[kRowMoments + band.first + c] = sums[i].color_sum(c);
      state.row_used[row] = 1;
    }
  }
}

}  // namespace

void blend(RenderState& state, const Real* colors, const Real* background, Real* image, Real* alpha, int threads) {
  int tiles = state.tiles_x * state.tiles_y;
  state.tile_used.resize(tiles);
  for_each_band(colors, state.channels, [&](auto band) {
    parallel_for(tiles, kTileGrain, threads, [&](int begin, int end, int) {
      for (int tile = begin; tile < end; tile++) blend_tile(state, tile, band, background, image, alpha);
    });
  });
}

void blend_backward(RenderState& state, const Real* colors, const Real* image, const Real* alpha, const Real* v_image,
                    const Real* v_alpha, int threads) {
  state.rows.resize(state.intersections * static_cast<size_t>(state.row_size()));
  uint8_t* used = state.row_used.resize(state.intersections);
  std::memset(used, 0, state.intersections);
  int tiles = state.tiles_x * state.tiles_y;
  for_each_band(colors, state.channels, [&](auto band) {
    parallel_for(tiles, kTileGrain, threads, [&](int begin, int end, int) {
      for (int tile = begin; tile < end; tile++) {
        blend_tile_backward(state, tile, band, image, alpha, v_image, v_alpha);
      }
    });
  });
}

}  // namespace headsplat
