// Gaussians that ride on the triangles of a mesh (Qian et al., "GaussianAvatars", CVPR 2024, section 3.1), from the
// posed vertices to the world and back.
#pragma once

#include "rotation.h"
#include "world.h"

namespace headsplat {

// Of every Gaussian: position, log-scale, opacity logit and colour logit, the ten numbers a residual adds to.
constexpr int kResiduals = 10;

struct RiggedGaussians {
  int count, vertex_count;
  const Real* vertices;           // V x 3, posed
  const int32_t* corners;         // N x 3, the vertices of each Gaussian's triangle
  const Real* barycentric;        // N x 3, its anchor within the triangle
  const Real* rest_sizes;         // N, the triangle's size at rest
  const Real* offsets;            // N x 3 in the triangle's frame
  const Real* log_scales;         // N x 3
  const Real* quats;              // N x 4, wxyz, in the triangle's frame
  const Real* opacity_logits;     // N
  const Real* color_logits;       // N x 3
  const Real* residual;           // N x 10 in units, or null
  const Real* units;              // N x 10
  Real stretch_min, stretch_max;  // bounds of the size over the size at rest
};

// Every array may be null, where nobody asks for that gradient. With `accumulate` they are added to, else written in
// full. Each Gaussian's gradients of its corners go to `corners` (N x 9), for `gather_corners`.
struct RiggedGradients {
  Real *offsets, *log_scales, *quats, *opacity_logits, *color_logits, *residual, *corners;
  bool accumulate;
};

struct RiggedSource {
  struct alignas(64) Batch {
    Real corner[3][3][kLanes], weight[3][kLanes], rest_size[kLanes];
    Real offset[3][kLanes], log_scale[3][kLanes], quat[4][kLanes], opacity_logit[kLanes], color_logit[3][kLanes];
  };

  int count;
  RiggedGaussians in;
  RiggedGradients out;

  int channels() const { return 3; }
  Real* color_gradient(WorldGradients& grads, int, int l) const { return grads.colors + 3 * l; }

  Real load(Batch& batch, int first, int used, World& world) const;
  void backward(const Batch& batch, int first, int used, const World& world, WorldGradients& grads) const;
  void backward_unseen(int first, int used) const;
};

// Sums the corner gradients (N x 9) into those of the vertices (V x 3), Gaussian by Gaussian, so that the sums do not
// depend on the number of threads.
void gather_corners(const RiggedGaussians& in, const Real* corners, Real* vertices);

}  // namespace headsplat
