#include "tiles.h"

#include <algorithm>
#include <utility>

#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int kMaxDigitBits = 11;
constexpr int kMaxParts = 16;
constexpr int kMinPart = 4096;  // Gaussians worth a thread of their own
constexpr uint64_t kMaxIntersections = uint64_t{1} << 31;

int bit_length(uint32_t x) {
  int n = 0;
  for (; x; x >>= 1) n++;
  return n;
}

// Stable radix sort of the drawn Gaussians by depth, over the bits in which the depths differ.
void sort_by_depth(RenderState& state) {
  const uint32_t* depth = state.depth_keys.data();
  uint32_t *keys = state.sort_keys[0].resize(state.count), *keys_to = state.sort_keys[1].resize(state.count);
  uint32_t *order = state.order.resize(state.count), *order_to = state.sort_order.resize(state.count);
  uint32_t lowest = UINT32_MAX, highest = 0;
  int n = 0;
  for (int g = 0; g < state.count; g++) {
    if (!depth[g]) continue;
    lowest = std::min(lowest, depth[g]);
    highest = std::max(highest, depth[g]);
    order[n] = static_cast<uint32_t>(g);
    keys[n++] = depth[g];
  }
  state.visible = n;
  if (!n) return;

  int bits = bit_length(highest - lowest);
  int passes = (bits + kMaxDigitBits - 1) / kMaxDigitBits;
  int digit_bits = passes ? (bits + passes - 1) / passes : 0;
  uint32_t buckets = 1u << digit_bits;
  uint32_t* position = state.histogram.resize(buckets);
  for (int pass = 0; pass < passes; pass++) {
    auto digit = [&](int i) { return ((keys[i] - lowest) >> (pass * digit_bits)) & (buckets - 1); };
    std::fill(position, position + buckets, 0u);
    for (int i = 0; i < n; i++) position[digit(i)]++;
    uint32_t total = 0;
    for (uint32_t bucket = 0; bucket < buckets; bucket++) total += std::exchange(position[bucket], total);
    for (int i = 0; i < n; i++) {
      uint32_t to = position[digit(i)]++;
      keys_to[to] = keys[i];
      order_to[to] = order[i];
    }
    std::swap(keys, keys_to);
    std::swap(order, order_to);
  }
  if (order != state.order.data()) std::copy(order, order + n, state.order.data());
}

// Gives each drawn Gaussian its gradient rows; false when they are too many to count.
bool assign_rows(RenderState& state) {
  uint64_t rows = 0;
  for (int g = 0; g < state.count; g++) {
    if (!state.depth_keys[g]) continue;
    TileBox box = state.boxes[g];
    uint32_t stride = static_cast<uint32_t>(box.x1 - box.x0);
    state.splats[g].row_stride = stride;
    state.splats[g].slot = static_cast<uint32_t>(rows) - box.y0 * stride - box.x0;
    rows += static_cast<uint64_t>(box.tiles());
    if (rows > kMaxIntersections) return false;
  }
  state.intersections = static_cast<uint32_t>(rows);
  return true;
}

}  // namespace

bool build_tiles(RenderState& state, int threads) {
  sort_by_depth(state);
  if (!assign_rows(state)) return false;
  int tiles = state.tiles_x * state.tiles_y, n = state.visible;
  uint32_t* start = state.tile_start.resize(tiles + 1);
  uint32_t* list = state.tile_list.resize(state.intersections);
  state.block_masks.resize(state.intersections);

  // Each part counts its own Gaussians a tile; the counts become places in the list, part after part, so the order by
  // depth survives whatever the number of parts.
  int parts = std::clamp(std::min(threads, n / kMinPart), 1, kMaxParts), part_size = (n + parts - 1) / parts;
  uint32_t* counts = state.tile_counts.resize(static_cast<size_t>(tiles) * parts);
  std::fill(counts, counts + static_cast<size_t>(tiles) * parts, 0u);
  const TileBox* boxes = state.boxes.data();
  auto for_each_intersection = [&](int part, auto&& visit) {
    uint32_t* part_counts = counts + static_cast<size_t>(part) * tiles;
    for (int i = part * part_size; i < std::min(n, (part + 1) * part_size); i++) {
      uint32_t g = state.order[i];
      TileBox box = boxes[g];
      for (int y = box.y0; y < box.y1; y++) {
        for (int x = box.x0; x < box.x1; x++) visit(part_counts[y * state.tiles_x + x], g);
      }
    }
  };
  parallel_for(parts, 1, threads, [&](int begin, int end, int) {
    for (int part = begin; part < end; part++) for_each_intersection(part, [](uint32_t& c, uint32_t) { c++; });
  });
  uint32_t total = 0;
  for (int tile = 0; tile < tiles; tile++) {
    start[tile] = total;
    for (int part = 0; part < parts; part++) {
      total += std::exchange(counts[static_cast<size_t>(part) * tiles + tile], total);
    }
  }
  start[tiles] = total;
  parallel_for(parts, 1, threads, [&](int begin, int end, int) {
    for (int part = begin; part < end; part++) {
      for_each_intersection(part, [&](uint32_t& c, uint32_t g) { list[c++] = g; });
    }
  });
  return true;
}

}  // namespace headsplat
