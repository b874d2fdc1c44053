// What one render is made of: the inputs, the camera, and the state the backward pass needs.
#pragma once

#include <cstdint>

#include "buffer.h"
#include "real.h"

namespace headsplat {

constexpr int kTile = 16;                          // pixels a side; a tile is sixteen blocks of 4x4 pixels
constexpr Real kLog2E = 1.4426950408889634;        // log2(e)
constexpr Real kMinLogAlpha = -7.994353436858858;  // log2(1/255): fainter contributions are skipped
constexpr Real kMaxExtent = 3.33;                  // standard deviations a Gaussian reaches at most
constexpr Real kMinTransmittance = 1e-4;           // a pixel stops before the Gaussian that would take it below this

constexpr int kRowMoments = 6;  // numbers of a gradient row that are not colours

struct Vec3 {
  Real x, y, z;
};

// N Gaussians as the caller has them, row by row.
struct Gaussians {
  int count;
  const Real* means;      // N x 3
  const Real* quats;      // N x 4, wxyz
  const Real* scales;     // N x 3
  const Real* opacities;  // N
  const Real* colors;     // N x channels
  int channels;
};

struct Camera {
  Vec3 right, down, forward;  // rows of the world-to-camera rotation
  Vec3 translation;
  Real fx, fy, cx, cy;
  Real slope_min_x, slope_max_x, slope_min_y, slope_max_y;  // bounds of x/z and y/z inside the projection's Jacobian
  int width, height;
};

struct Settings {
  Real near, eps2d, alpha_max;
};

// One projected Gaussian, as the blending reads it: a cache line of floats.
struct alignas(64) Splat {
  Real x, y;              // centre, pixels
  Real ux, uy, vy;        // log2 of the falloff is -(u^2 + v^2) with u = ux dx + uy dy, v = vy dy
  Real log_opacity;       // log2
  Real log_cap;           // log2 of the largest alpha this Gaussian can have
  Real ridge_x, ridge_y;  // dy per dx, and dx per dy, of the strongest point on a vertical or horizontal line
  Real color[3];          // where the image has three channels
  // This Gaussian's gradient rows, one a tile it may touch: tile (x, y) has row slot + y * row_stride + x, modulo 2^32.
  uint32_t slot;
  uint32_t row_stride;

  uint32_t row(int tile_x, int tile_y) const {
    return slot + static_cast<uint32_t>(tile_y) * row_stride + static_cast<uint32_t>(tile_x);
  }
};
static_assert(sizeof(Splat) == 16 * sizeof(Real), "a splat of floats is one cache line");

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
  int channels = 0;
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
  // Indexed by gradient row (Splat::slot); a row has row_size() numbers.
  Buffer<Real> rows;
  Buffer<uint8_t> row_used;

  Buffer<uint32_t> sort_keys[2], sort_order, histogram, tile_counts;
  Buffer<double> view_sums;
  Buffer<Real> corner_gradients;

  // Six moments of the gradient of alpha, then the gradients of the colour, up to a multiple of four.
  int row_size() const { return (kRowMoments + channels + 3) / 4 * 4; }
};

// Gradients of the loss by the Gaussians, written in full.
struct Gradients {
  Real *means, *quats, *scales, *opacities, *colors;
};

}  // namespace headsplat
