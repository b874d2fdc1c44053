#include "rig.h"

#include <algorithm>
#include <cmath>

namespace headsplat {
namespace {

using Batch = RiggedSource::Batch;

// The triangle of one Gaussian.
struct Frame {
  Vec3 side;
  Real inv_length, inv_height;  // zero where the triangle is degenerate
  Vec3 along, normal, across;   // first edge, normal, their cross product
  Real stretch, stretch_slope;  // size over the size at rest, and the derivative of that by the size
};

HEADSPLAT_INLINE Frame frame(const RiggedGaussians& rig, const Batch& in, int l) {
  constexpr Real kSmallest = 1e-12;
  Frame f;
  Vec3 a = lane(in.corner[0], l), edge = lane(in.corner[1], l) - a;
  f.side = lane(in.corner[2], l) - a;
  Real length = std::sqrt(dot(edge, edge));
  f.inv_length = length > kSmallest ? Real(1) / length : Real(0);
  f.along = edge * f.inv_length;
  Vec3 up = cross(f.along, f.side);
  Real height = std::sqrt(dot(up, up));
  f.inv_height = height > kSmallest ? Real(1) / height : Real(0);
  f.normal = up * f.inv_height;
  f.across = cross(f.along, f.normal);
  Real ratio = Real(0.5) * (length + height) / in.rest_size[l];
  f.stretch = clamp(ratio, rig.stretch_min, rig.stretch_max);
  f.stretch_slope = f.stretch == ratio ? Real(0.5) / in.rest_size[l] : Real(0);
  return f;
}

HEADSPLAT_INLINE void ride_lane(const RiggedGaussians& rig, const Batch& in, World& out, Real (&stretch)[kLanes],
                                int l) {
  Frame f = frame(rig, in, l);
  Rotation r = rotation(in.quat[0][l], in.quat[1][l], in.quat[2][l], in.quat[3][l]);
  Vec3 anchor = combine(lane(in.corner[0], l), lane(in.corner[1], l), lane(in.corner[2], l), lane(in.weight, l));
  put_lane(out.mean, l, anchor + combine(f.along, f.normal, f.across, lane(in.offset, l)) * f.stretch);
  put_lane(out.axis0, l, combine(f.along, f.normal, f.across, r.axis0));
  put_lane(out.axis1, l, combine(f.along, f.normal, f.across, r.axis1));
  put_lane(out.axis2, l, combine(f.along, f.normal, f.across, r.axis2));
  stretch[l] = f.stretch;
}

void ride(const RiggedGaussians& rig, const Batch& in, World& out, Real (&stretch)[kLanes]) {
  const int n = lane_count();
#pragma omp simd
  for (int l = 0; l < n; l++) ride_lane(rig, in, out, stretch, l);
}

HEADSPLAT_INLINE Lanes bounded_exp(const Lanes& x, Real factor) {
  return exp2(max(min(x * set(factor), set(Real(125))), set(Real(-125))));
}
HEADSPLAT_INLINE Lanes sigmoid(const Lanes& x) { return reciprocal(set(Real(1)) + bounded_exp(x, -kLog2E)); }

// Gradients of the ten local numbers, of the quaternion and of the corners.
struct alignas(64) LocalGradients {
  Real local[kResiduals][kLanes], quat[4][kLanes], corner[3][3][kLanes];
};

HEADSPLAT_INLINE void ride_back_lane(const RiggedGaussians& rig, const Batch& in, const World& world,
                                     const WorldGradients& v, LocalGradients& out, int l) {
  Frame f = frame(rig, in, l);
  Rotation r = rotation(in.quat[0][l], in.quat[1][l], in.quat[2][l], in.quat[3][l]);
  Vec3 offset = lane(in.offset, l), v_mean = lane(v.mean, l), scale = lane(world.scale, l), v_scale = lane(v.scale, l);
  Vec3 v_log_scale = v_scale * scale;
  Vec3 pull = v_mean * f.stretch;
  Vec3 v_offset = dots(f.along, f.normal, f.across, pull);
  out.local[0][l] = v_offset.x, out.local[1][l] = v_offset.y, out.local[2][l] = v_offset.z;
  out.local[3][l] = v_log_scale.x, out.local[4][l] = v_log_scale.y, out.local[5][l] = v_log_scale.z;
  Vec3 e0 = lane(v.axis0, l), e1 = lane(v.axis1, l), e2 = lane(v.axis2, l);
  rotation_backward(r, dots(f.along, f.normal, f.across, e0), dots(f.along, f.normal, f.across, e1),
                    dots(f.along, f.normal, f.across, e2), out.quat, l);

  // To the frame: each of its columns multiplies one coordinate of the offset and of the three axes.
  Vec3 v_along = pull * offset.x + e0 * r.axis0.x + e1 * r.axis1.x + e2 * r.axis2.x;
  Vec3 v_normal = pull * offset.y + e0 * r.axis0.y + e1 * r.axis1.y + e2 * r.axis2.y;
  Vec3 v_across = pull * offset.z + e0 * r.axis0.z + e1 * r.axis1.z + e2 * r.axis2.z;
  Real v_stretch = dot(v_mean, combine(f.along, f.normal, f.across, offset)) +
                   (v_log_scale.x + v_log_scale.y + v_log_scale.z) / f.stretch;
  Real v_size = v_stretch * f.stretch_slope;

  // To the edges, by way of across = along x normal, normal = up / |up|, up = along x side, along = edge / |edge|;
  // the size is the mean of |edge| and |up|.
  v_along = v_along + cross(f.normal, v_across);
  v_normal = v_normal + cross(v_across, f.along);
  Vec3 v_up = (v_normal + f.normal * -dot(f.normal, v_normal)) * f.inv_height + f.normal * v_size;
  v_along = v_along + cross(f.side, v_up);
  Vec3 v_side = cross(v_up, f.along);
  Vec3 v_edge = (v_along + f.along * -dot(f.along, v_along)) * f.inv_length + f.along * v_size;
  Vec3 weight = lane(in.weight, l);
  put_lane(out.corner[0], l, v_mean * weight.x - v_edge - v_side);
  put_lane(out.corner[1], l, v_mean * weight.y + v_edge);
  put_lane(out.corner[2], l, v_mean * weight.z + v_side);
}

void ride_back(const RiggedGaussians& rig, const Batch& in, const World& world, const WorldGradients& v,
               LocalGradients& out) {
  const int n = lane_count();
#pragma omp simd
  for (int l = 0; l < n; l++) ride_back_lane(rig, in, world, v, out, l);
  const Lanes one = set(Real(1));
  Lanes opacity = load(world.opacity);
  store(out.local[6], load(v.opacity) * opacity * (one - opacity));
  for (int k = 0; k < 3; k++) {
    Lanes color = sigmoid(load(in.color_logit[k]));
    alignas(64) Real v_color[kLanes];
    for (int l = 0; l < kLanes; l++) v_color[l] = v.colors[3 * l + k];
    store(out.local[7 + k], load(v_color) * color * (one - color));
  }
}

// Writes or adds `width` numbers of each used lane, the first being rows[0], as rows of `out` (N x width).
void store_rows(const Real (*rows)[kLanes], int width, int first, int used, bool accumulate, Real* out) {
  if (!out) return;
  Real* to = out + static_cast<size_t>(first) * width;
  for (int l = 0; l < used; l++) {
    for (int k = 0; k < width; k++) to[l * width + k] = rows[k][l] + (accumulate ? to[l * width + k] : Real(0));
  }
}

}  // namespace

Real RiggedSource::load(Batch& batch, int first, int used, World& world) const {
  bool inside = true;
  for (int l = 0; l < kLanes; l++) {
    int g = first + (l < used ? l : 0);
    for (int c = 0; c < 3; c++) {
      int32_t vertex = in.corners[3 * g + c];
      bool known = vertex >= 0 && vertex < in.vertex_count;
      inside &= known;
      const Real* from = in.vertices + 3 * static_cast<size_t>(known ? vertex : 0);
      for (int k = 0; k < 3; k++) batch.corner[c][k][l] = from[k];
      batch.weight[c][l] = in.barycentric[3 * g + c];
    }
    batch.rest_size[l] = in.rest_sizes[g];
    const Real* added = in.residual ? in.residual + static_cast<size_t>(g) * kResiduals : nullptr;
    const Real* units = in.units + static_cast<size_t>(g) * kResiduals;
    auto with_residual = [&](Real value, int k) { return added ? value + added[k] * units[k] : value; };
    for (int k = 0; k < 3; k++) batch.offset[k][l] = with_residual(in.offsets[3 * g + k], k);
    for (int k = 0; k < 3; k++) batch.log_scale[k][l] = with_residual(in.log_scales[3 * g + k], 3 + k);
    for (int k = 0; k < 4; k++) batch.quat[k][l] = in.quats[4 * g + k];
    batch.opacity_logit[l] = with_residual(in.opacity_logits[g], 6);
    for (int k = 0; k < 3; k++) batch.color_logit[k][l] = with_residual(in.color_logits[3 * g + k], 7 + k);
  }
  alignas(64) Real stretch[kLanes], colors[3][kLanes];
  ride(in, batch, world, stretch);
  for (int k = 0; k < 3; k++) {
    store(world.scale[k], headsplat::load(stretch) * bounded_exp(headsplat::load(batch.log_scale[k]), kLog2E));
    store(colors[k], sigmoid(headsplat::load(batch.color_logit[k])));
  }
  store(world.opacity, sigmoid(headsplat::load(batch.opacity_logit)));
  for (int l = 0; l < kLanes; l++) {
    for (int k = 0; k < 3; k++) world.colors[3 * l + k] = colors[k][l];
  }
  Real bad = nonfinite(batch.corner[0][0], sizeof(Batch) / sizeof(Real));
  return inside ? bad : std::nan("");
}

void RiggedSource::backward(const Batch& batch, int first, int used, const World& world, WorldGradients& grads) const {
  LocalGradients local;
  ride_back(in, batch, world, grads, local);
  store_rows(local.local, 3, first, used, out.accumulate, out.offsets);
  store_rows(local.local + 3, 3, first, used, out.accumulate, out.log_scales);
  store_rows(local.quat, 4, first, used, out.accumulate, out.quats);
  store_rows(local.local + 6, 1, first, used, out.accumulate, out.opacity_logits);
  store_rows(local.local + 7, 3, first, used, out.accumulate, out.color_logits);
  store_rows(local.corner[0], 9, first, used, false, out.corners);
  if (!out.residual) return;
  const Real* units = in.units + static_cast<size_t>(first) * kResiduals;
  Real* to = out.residual + static_cast<size_t>(first) * kResiduals;
  for (int l = 0; l < used; l++) {
    for (int k = 0; k < kResiduals; k++) to[l * kResiduals + k] = local.local[k][l] * units[l * kResiduals + k];
  }
}

void RiggedSource::backward_unseen(int first, int used) const {
  auto clear = [&](Real* rows, int width) {
    if (rows) std::fill_n(rows + static_cast<size_t>(first) * width, used * width, Real(0));
  };
  clear(out.corners, 9);
  clear(out.residual, kResiduals);
  if (out.accumulate) return;
  clear(out.offsets, 3);
  clear(out.log_scales, 3);
  clear(out.quats, 4);
  clear(out.opacity_logits, 1);
  clear(out.color_logits, 3);
}

void gather_corners(const RiggedGaussians& in, const Real* corners, Real* vertices) {
  std::fill(vertices, vertices + 3 * static_cast<size_t>(in.vertex_count), Real(0));
  for (size_t i = 0; i < 3 * static_cast<size_t>(in.count); i++) {
    Real* to = vertices + 3 * static_cast<size_t>(in.corners[i]);
    for (int k = 0; k < 3; k++) to[k] += corners[3 * i + k];
  }
}

}  // namespace headsplat
