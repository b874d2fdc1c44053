// Gaussians as the caller has them in the world: means, quaternions, scales, opacities and colours.
#pragma once

#include <algorithm>

#include "rotation.h"
#include "world.h"

namespace headsplat {

struct PlainSource {
  struct alignas(64) Batch {
    Real mean[3][kLanes], quat[4][kLanes], scale[3][kLanes], opacity[kLanes];
  };

  int count;
  Gaussians in;
  Gradients out;

  int channels() const { return in.channels; }
  Real* color_gradient(WorldGradients&, int g, int) const { return out.colors + static_cast<size_t>(in.channels) * g; }

  Real load(Batch& batch, int first, int used, World& world) const {
    for (int l = 0; l < used; l++) put(batch, l, first + l);
    for (int l = used; l < kLanes; l++) put(batch, l, first);
    const Real* colors = in.colors + static_cast<size_t>(in.channels) * first;
    if (in.channels == 3) std::copy(colors, colors + 3 * used, world.colors);
    turn(batch, world);
    return nonfinite(batch.mean[0], sizeof(Batch) / sizeof(Real)) +
           nonfinite(colors, static_cast<size_t>(in.channels) * used);
  }

  void backward_unseen(int first, int used) const {
    std::fill_n(out.means + 3 * first, 3 * used, Real(0));
    std::fill_n(out.quats + 4 * first, 4 * used, Real(0));
    std::fill_n(out.scales + 3 * first, 3 * used, Real(0));
    std::fill_n(out.opacities + first, used, Real(0));
  }

  void backward(const Batch& batch, int first, int used, const World&, WorldGradients& grads) const {
    alignas(64) Real quat[4][kLanes];
    turn_back(batch, grads, quat);
    for (int l = 0; l < used; l++) {
      int g = first + l;
      for (int k = 0; k < 3; k++) out.means[3 * g + k] = grads.mean[k][l];
      for (int k = 0; k < 4; k++) out.quats[4 * g + k] = quat[k][l];
      for (int k = 0; k < 3; k++) out.scales[3 * g + k] = grads.scale[k][l];
      out.opacities[g] = grads.opacity[l];
    }
  }

 private:
  HEADSPLAT_INLINE void put(Batch& batch, int l, int g) const {
    for (int k = 0; k < 3; k++) batch.mean[k][l] = in.means[3 * g + k];
    for (int k = 0; k < 4; k++) batch.quat[k][l] = in.quats[4 * g + k];
    for (int k = 0; k < 3; k++) batch.scale[k][l] = in.scales[3 * g + k];
    batch.opacity[l] = in.opacities[g];
  }
  static HEADSPLAT_INLINE void turn_lane(const Batch& batch, World& world, int l) {
    Rotation r = rotation(batch.quat[0][l], batch.quat[1][l], batch.quat[2][l], batch.quat[3][l]);
    put_lane(world.axis0, l, r.axis0);
    put_lane(world.axis1, l, r.axis1);
    put_lane(world.axis2, l, r.axis2);
    put_lane(world.mean, l, lane(batch.mean, l));
    put_lane(world.scale, l, lane(batch.scale, l));
    world.opacity[l] = batch.opacity[l];
  }
  static void turn(const Batch& batch, World& world) {
    const int n = lane_count();
#pragma omp simd
    for (int l = 0; l < n; l++) turn_lane(batch, world, l);
  }
  static HEADSPLAT_INLINE void turn_back_lane(const Batch& batch, const WorldGradients& grads, Real (&quat)[4][kLanes],
                                              int l) {
    Rotation r = rotation(batch.quat[0][l], batch.quat[1][l], batch.quat[2][l], batch.quat[3][l]);
    rotation_backward(r, lane(grads.axis0, l), lane(grads.axis1, l), lane(grads.axis2, l), quat, l);
  }
  static void turn_back(const Batch& batch, const WorldGradients& grads, Real (&quat)[4][kLanes]) {
    const int n = lane_count();
#pragma omp simd
    for (int l = 0; l < n; l++) turn_back_lane(batch, grads, quat, l);
  }
};

}  // namespace headsplat
