// What one render is made of: the inputs, the camera, and the state the backward pass needs.
#pragma once

#include <cstdint>

#include "buffer.h"

namespace headsplat {

constexpr int kTile = 16;                      // pixels a side; a tile is sixteen blocks of 4x4 pixels
constexpr float kLog2E = 1.4426950408889634f;  // log2(e)
constexpr float kMinLogAlpha = -7.9943534f;    // log2(1/255): fainter contributions are skipped
constexpr float kMaxExtent = 3.33f;            // standard deviations a Gaussian reaches at most
constexpr float kMinTransmittance = 1e-4f;     // a pixel stops before the Gaussian that would take it below this

struct Vec3 {
  float x, y, z;
};

// N Gaussians as the caller has them, row by row.
struct Gaussians {
  int count;
  const float* means;      // N x 3
  const float* quats;      // N x 4, wxyz
  const float* scales;     // N x 3
  const float* opacities;  // N
  const float* colors;     // N x 3
};

struct Camera {
  Vec3 right, down, forward;  // rows of the world-to-camera rotation
  Vec3 translation;
  float fx, fy, cx, cy;
  float slope_min_x, slope_max_x, slope_min_y, slope_max_y;  // bounds of x/z and y/z inside the projection's Jacobian
  int width, height;
};

struct Settings {
  float near, eps2d, alpha_max;
};

// One projected Gaussian, as the blending reads it: a cache line.
struct alignas(64) Splat {
  float x, y;              // centre, pixels
  float qxx, qxy, qyy;     // log2 of the falloff: qxx dx^2 + qxy dx dy + qyy dy^2, never positive
  float log_opacity;       // log2
  float log_cap;           // log2 of the largest alpha this Gaussian can have
  float ridge_x, ridge_y;  // dy per dx, and dx per dy, of the strongest point on a vertical or horizontal line
  float r, g, b;
  uint32_t slot;  // first of this Gaussian's gradient rows, one a tile it may touch
};
static_assert(sizeof(Splat) == 64, "a splat is one cache line");

// Half-open range of tiles.
struct TileBox {
  uint16_t x0, y0, x1, y1;
  int tiles() const { return (x1 - x0) * (y1 - y0); }
};

// Everything a forward pass leaves for its backward pass, and the memory of both.
struct RenderState {
  Camera camera;
  Settings settings;
  int count = 0;
  int visible = 0;
  int tiles_x = 0, tiles_y = 0;
  uint32_t intersections = 0;

  // Indexed by Gaussian.
  Buffer<Splat> splats;
  Buffer<uint32_t> depth_keys;  // bits of the depth; 0 where the Gaussian is not drawn
  Buffer<TileBox> boxes;
  // Indexed by rank from front to back.
  Buffer<uint32_t> order;
  // Indexed by tile.
  Buffer<uint32_t> tile_start;  // tiles + 1
  Buffer<uint32_t> tile_used;   // intersections the forward pass looked at before every pixel had stopped
  // Indexed by intersection, tile by tile and front to back.
  Buffer<uint32_t> tile_list;    // Gaussian
  Buffer<uint16_t> block_masks;  // blocks of the tile it can reach
  // Indexed by gradient row (Splat::slot).
  Buffer<float> rows;
  Buffer<uint8_t> row_used;

  Buffer<uint32_t> sort_keys[2], sort_order, histogram, tile_counts;
  Buffer<double> view_sums;
};

// Gradients of the loss, written in full; v_viewmat (4 x 4) may be null.
struct Gradients {
  float *means, *quats, *scales, *opacities, *colors, *viewmat;
};

}  // namespace headsplat
