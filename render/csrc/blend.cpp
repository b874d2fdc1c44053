#include "blend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "block_lists.h"
#include "row_sums.h"
#include "simd.h"
#include "thread_pool.h"

namespace headsplat {
namespace {

// A value a pixel, block by block.
struct alignas(64) TilePixels {
  Real values[kBlocks][kLanes];

  void fill(Real x) {
    for (auto& block : values) std::fill(block, block + kLanes, x);
  }
};

// Calls visit(block, lane, index of the pixel in the image) for the pixels of a tile that lie inside the image.
template <class Visit>
HEADSPLAT_INLINE void for_each_pixel(const Camera& camera, int tile_x, int tile_y, Visit visit) {
  int x0 = tile_x * kTile, y0 = tile_y * kTile;
  int columns = std::min(kTile, camera.width - x0), rows = std::min(kTile, camera.height - y0);
  for (int y = 0; y < rows; y++) {
    for (int x = 0; x < columns; x++) {
      visit((y >> 2) * 4 + (x >> 2), (y & 3) * 4 + (x & 3), static_cast<size_t>(y0 + y) * camera.width + x0 + x);
    }
  }
}

// The blocks that have a pixel inside the image.
unsigned blocks_in_image(const Camera& camera, int tile_x, int tile_y) {
  unsigned live = 0;
  for (int b = 0; b < kBlocks; b++) {
    if (tile_x * kTile + (b & 3) * 4 < camera.width && tile_y * kTile + (b >> 2) * 4 < camera.height) live |= 1u << b;
  }
  return live;
}

// log2 of the alpha of a splat at sixteen pixels.
HEADSPLAT_INLINE Lanes log_alpha(const Splat& s, const Lanes& pixel_x, const Lanes& pixel_y) {
  Lanes dx = set(s.x) - pixel_x, dy = set(s.y) - pixel_y;
  return fma(fma(set(s.qxx), dx, set(s.qxy) * dy), dx, fma(set(s.qyy) * dy, dy, set(s.log_opacity)));
}

struct Pixels {
  Lanes x, y;
};
HEADSPLAT_INLINE Pixels block_pixels(const PixelGrid& grid, int b) {
  return {load(grid.inner_x) + set(grid.corner_x[b]), load(grid.inner_y) + set(grid.corner_y[b])};
}

void blend_tile(RenderState& state, int tile, const Real* background, Real* image, Real* alpha) {
  const Camera& camera = state.camera;
  int tile_x = tile % state.tiles_x, tile_y = tile / state.tiles_x;
  uint32_t begin = state.tile_start[tile], end = state.tile_start[tile + 1], at = begin;
  // `through` is the light that still passes, 0 once a pixel has stopped; `left` is what passed when it stopped.
  TilePixels through, left, red, green, blue;
  through.fill(1.f), left.fill(1.f), red.fill(0.f), green.fill(0.f), blue.fill(0.f);
  PixelGrid grid(tile_x, tile_y);
  Chunk chunk;
  const Lanes faintest = set(kMinLogAlpha), darkest = set(kMinTransmittance);
  unsigned live = blocks_in_image(camera, tile_x, tile_y);
  for (; at < end && live; at += kChunkSplats) {
    int n = static_cast<int>(std::min<uint32_t>(kChunkSplats, end - at));
    chunk.load<true>(state.splats.data(), state.tile_list.data() + at, state.block_masks.data() + at, n, grid, live);
    for (unsigned blocks = live; blocks; blocks &= blocks - 1) {
      int b = __builtin_ctz(blocks), members = chunk.member_count[b];
      if (!members) continue;
      Pixels pixels = block_pixels(grid, b);
      Lanes t = load(through.values[b]), stopped_at = load(left.values[b]);
      Lanes r = load(red.values[b]), g = load(green.values[b]), bl = load(blue.values[b]);
      for (int k = 0; k < members; k++) {
        const Splat& s = chunk.splats[chunk.members[b][k]];
        Lanes q = log_alpha(s, pixels.x, pixels.y);
        Lanes a = keep(q >= faintest, exp2(min(q, set(s.log_cap))));
        Lanes next = fnma(a, t, t);
        Mask alive = next > darkest;
        Lanes weight = keep(alive, a * t);
        t = keep(alive, next);
        stopped_at = select(alive, next, stopped_at);
        r = fma(weight, set(s.r), r);
        g = fma(weight, set(s.g), g);
        bl = fma(weight, set(s.b), bl);
        if (!any(alive)) {
          live &= ~(1u << b);
          break;
        }
      }
      store(through.values[b], t);
      store(left.values[b], stopped_at);
      store(red.values[b], r);
      store(green.values[b], g);
      store(blue.values[b], bl);
    }
  }
  state.tile_used[tile] = std::min(at, end) - begin;
  const Real black[3] = {0.f, 0.f, 0.f};
  const Real* bg = background ? background : black;
  for_each_pixel(camera, tile_x, tile_y, [&](int b, int l, size_t i) {
    Real t = left.values[b][l];
    image[3 * i] = red.values[b][l] + t * bg[0];
    image[3 * i + 1] = green.values[b][l] + t * bg[1];
    image[3 * i + 2] = blue.values[b][l] + t * bg[2];
    alpha[i] = 1.f - t;
  });
}

// With D the gradient of the image dotted with a Gaussian's colour and R the same for everything behind it, background
// and alpha output included, the gradient of its alpha is T D - R / (1 - alpha). R starts as the whole pixel's and
// loses each Gaussian's share on the way, so one number a pixel stands for all that is behind.
void blend_tile_backward(RenderState& state, int tile, const Real* image, const Real* alpha, const Real* v_image,
                         const Real* v_alpha) {
  const Camera& camera = state.camera;
  int tile_x = tile % state.tiles_x, tile_y = tile / state.tiles_x;
  uint32_t begin = state.tile_start[tile], end = begin + state.tile_used[tile];
  if (begin == end) return;
  TilePixels through, behind, v_red, v_green, v_blue;
  through.fill(1.f), behind.fill(0.f), v_red.fill(0.f), v_green.fill(0.f), v_blue.fill(0.f);
  for_each_pixel(camera, tile_x, tile_y, [&](int b, int l, size_t i) {
    const Real *v = v_image + 3 * i, *color = image + 3 * i;
    v_red.values[b][l] = v[0];
    v_green.values[b][l] = v[1];
    v_blue.values[b][l] = v[2];
    behind.values[b][l] = v[0] * color[0] + v[1] * color[1] + v[2] * color[2] - v_alpha[i] * (1.f - alpha[i]);
  });
  PixelGrid grid(tile_x, tile_y);
  Chunk chunk;
  RowSums sums[kChunkSplats];
  const Lanes faintest = set(kMinLogAlpha), darkest = set(kMinTransmittance), one = set(1.f);
  const Lanes log_alpha_max = set(std::log2(state.settings.alpha_max));
  const Real middle_x = static_cast<Real>(tile_x * kTile + kTile / 2);
  const Real middle_y = static_cast<Real>(tile_y * kTile + kTile / 2);
  unsigned live = blocks_in_image(camera, tile_x, tile_y);
  for (uint32_t at = begin; at < end && live; at += kChunkSplats) {
    int n = static_cast<int>(std::min<uint32_t>(kChunkSplats, end - at));
    const uint32_t* list = state.tile_list.data() + at;
    chunk.load<false>(state.splats.data(), list, state.block_masks.data() + at, n, grid, live);
    for (int i = 0; i < n; i++) sums[i].clear();
    for (unsigned blocks = live; blocks; blocks &= blocks - 1) {
      int b = __builtin_ctz(blocks), members = chunk.member_count[b];
      if (!members) continue;
      Pixels pixels = block_pixels(grid, b);
      Lanes t = load(through.values[b]), rest = load(behind.values[b]);
      Lanes vr = load(v_red.values[b]), vg = load(v_green.values[b]), vb = load(v_blue.values[b]);
      for (int k = 0; k < members; k++) {
        int i = chunk.members[b][k];
        const Splat& s = chunk.splats[i];
        Lanes q = log_alpha(s, pixels.x, pixels.y);
        Lanes a = keep(q >= faintest, exp2(min(q, set(s.log_cap))));
        Lanes next = fnma(a, t, t);
        Mask alive = next > darkest;
        Lanes weight = keep(alive, a * t);
        Lanes d = fma(set(s.r), vr, fma(set(s.g), vg, set(s.b) * vb));
        rest = fnma(weight, d, rest);
        Lanes minus_v_alpha = fnma(t, d, rest * reciprocal(one - a));
        // A clamped alpha does not depend on anything.
        Lanes v_log = keep(alive & (log_alpha_max >= q), a * minus_v_alpha);
        t = keep(alive, next);
        sums[i].add(b, v_log, weight, vr, vg, vb);
        if (!any(alive)) {
          live &= ~(1u << b);
          break;
        }
      }
      store(through.values[b], t);
      store(behind.values[b], rest);
    }
    for (int i = 0; i < n; i++) {
      if (!chunk.masks[i]) continue;
      const Splat& s = chunk.splats[i];
      TileBox box = state.boxes[list[i]];
      uint32_t row = s.slot + static_cast<uint32_t>((tile_y - box.y0) * (box.x1 - box.x0) + (tile_x - box.x0));
      sums[i].write(s.x - middle_x, s.y - middle_y, state.rows.data() + static_cast<size_t>(row) * 12);
      state.row_used[row] = 1;
    }
  }
}

}  // namespace

void blend(RenderState& state, const Real* background, Real* image, Real* alpha, int threads) {
  int tiles = state.tiles_x * state.tiles_y;
  state.tile_used.resize(tiles);
  parallel_for(tiles, 1, threads, [&](int begin, int end, int) {
    for (int tile = begin; tile < end; tile++) blend_tile(state, tile, background, image, alpha);
  });
}

void blend_backward(RenderState& state, const Real* image, const Real* alpha, const Real* v_image, const Real* v_alpha,
                    int threads) {
  state.rows.resize(static_cast<size_t>(state.intersections) * 12);
  uint8_t* used = state.row_used.resize(state.intersections);
  std::memset(used, 0, state.intersections);
  int tiles = state.tiles_x * state.tiles_y;
  parallel_for(tiles, 1, threads, [&](int begin, int end, int) {
    for (int tile = begin; tile < end; tile++) {
      blend_tile_backward(state, tile, image, alpha, v_image, v_alpha);
    }
  });
}

}  // namespace headsplat
