#include "project.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <initializer_list>

#include "plain.h"
#include "rig.h"
#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int kChunk = 2048;  // Gaussians a job; a multiple of kLanes

// log2 of a positive normal number, for floats to about 1e-6: the mantissa, centred on one, through the series of
// atanh.
HEADSPLAT_INLINE float log2_positive(float x) {
  int32_t i = static_cast<int32_t>(float_bits(x));
  int32_t exponent = (i - 0x3f3504f3) >> 23;
  float m = bits_float(static_cast<uint32_t>(i - (exponent << 23))) - 1.f;
  float s = m / (2.f + m), z = s * s;
  float series = 2.f + z * (0.66666667f + z * (0.4f + z * (0.28571429f + z * 0.22222222f)));
  return static_cast<float>(exponent) + s * series * static_cast<float>(kLog2E);
}
HEADSPLAT_INLINE double log2_positive(double x) { return std::log2(x); }

// One Gaussian in the camera: what the forward and the backward pass both need.
struct Geometry {
  Vec3 mean;                  // world
  Real z, inv_z;              // depth and its reciprocal
  Real slope_x, slope_y;      // x/z, y/z
  Real bounded_x, bounded_y;  // the same inside the bounds of the Jacobian
  Real j00, j02, j11, j12;    // Jacobian of the projection
  Vec3 world0, world1;        // rows of Jacobian * view rotation
  Vec3 axis0, axis1, axis2;   // columns of the Gaussian's rotation
  Vec3 unit0, unit1;          // rows of Jacobian * view rotation * rotation
  Vec3 scale;
  Vec3 factor0, factor1;  // the same times the scales: the 2D covariance is factor * factor^T + eps2d
};

HEADSPLAT_INLINE Geometry geometry(const Camera& c, const World& in, int l) {
  Geometry g;
  g.mean = lane(in.mean, l);
  Real x = dot(c.right, g.mean) + c.translation.x, y = dot(c.down, g.mean) + c.translation.y;
  g.z = dot(c.forward, g.mean) + c.translation.z;
  g.inv_z = Real(1) / (g.z > Real(1e-6) ? g.z : Real(1e-6));
  g.slope_x = x * g.inv_z;
  g.slope_y = y * g.inv_z;
  g.bounded_x = clamp(g.slope_x, c.slope_min_x, c.slope_max_x);
  g.bounded_y = clamp(g.slope_y, c.slope_min_y, c.slope_max_y);
  g.j00 = c.fx * g.inv_z;
  g.j11 = c.fy * g.inv_z;
  g.j02 = -c.fx * g.bounded_x * g.inv_z;
  g.j12 = -c.fy * g.bounded_y * g.inv_z;
  g.world0 = c.right * g.j00 + c.forward * g.j02;
  g.world1 = c.down * g.j11 + c.forward * g.j12;

  g.axis0 = lane(in.axis0, l), g.axis1 = lane(in.axis1, l), g.axis2 = lane(in.axis2, l);
  g.unit0 = dots(g.axis0, g.axis1, g.axis2, g.world0);
  g.unit1 = dots(g.axis0, g.axis1, g.axis2, g.world1);
  g.scale = lane(in.scale, l);
  g.factor0 = g.unit0 * g.scale;
  g.factor1 = g.unit1 * g.scale;
  return g;
}

struct alignas(64) Projected {
  Real x[kLanes], y[kLanes], depth[kLanes], ux[kLanes], uy[kLanes], vy[kLanes], ridge_x[kLanes], ridge_y[kLanes];
  Real log_opacity[kLanes], extent_x[kLanes], extent_y[kLanes];
};

// Depth comes out negative for a Gaussian that is not drawn: before the near plane, fainter than 1/255, degenerate.
HEADSPLAT_INLINE void project_lane(const Camera& c, const Settings& s, const World& in, Projected& out, int l) {
  Geometry g = geometry(c, in, l);
  Real xx = dot(g.factor0, g.factor0), yy = dot(g.factor1, g.factor1), xy = dot(g.factor0, g.factor1);
  // det(F F^T + e I) = |f0 x f1|^2 + e (|f0|^2 + |f1|^2) + e^2, which keeps its digits where a needle would cancel
  // them in the usual form.
  Vec3 area = cross(g.factor0, g.factor1);
  Real det = dot(area, area) + s.eps2d * (xx + yy) + s.eps2d * s.eps2d;
  Real inv_det = Real(1) / det;
  xx += s.eps2d;
  yy += s.eps2d;
  out.x[l] = c.fx * g.slope_x + c.cx;
  out.y[l] = c.fy * g.slope_y + c.cy;
  // Half the conic, as log2, is U^T U with U = ((ux, uy), (0, vy)).
  Real ux = std::sqrt(Real(0.5) * kLog2E * yy * inv_det);
  out.ux[l] = ux;
  out.uy[l] = -ux * xy / yy;
  out.vy[l] = std::sqrt(Real(0.5) * kLog2E / yy);
  out.ridge_x[l] = xy / xx;
  out.ridge_y[l] = xy / yy;
  Real log_opacity = log2_positive(in.opacity[l] > Real(1e-20) ? in.opacity[l] : Real(1e-20));
  out.log_opacity[l] = log_opacity;
  Real reach = clamp((log_opacity - kMinLogAlpha) * (Real(2) / kLog2E), Real(0), kMaxExtent * kMaxExtent);
  out.extent_x[l] = std::sqrt(reach * xx);
  out.extent_y[l] = std::sqrt(reach * yy);
  Real depth = g.z >= s.near ? g.z : -Real(1);
  depth = det > Real(0) && det < Real(1e38) ? depth : -Real(1);
  out.depth[l] = log_opacity >= kMinLogAlpha ? depth : -Real(1);
}

// The loops over lanes call a function, because GCC turns a structure that is local to a simd loop into an array, and
// then vectorises nothing.
void project_batch(const Camera& c, const Settings& s, const World& in, Projected& out) {
  const int n = lane_count();
#pragma omp simd
  for (int l = 0; l < n; l++) project_lane(c, s, in, out, l);
}

// Pixels whose centres lie in [center - extent, center + extent], clipped to [0, size); a little is added for rounding.
struct Span {
  int first, last;
};
Span pixel_span(Real center, Real extent, int size) {
  constexpr Real kSlack = 1e-3;
  Real first = std::ceil(center - extent - (Real(0.5) + kSlack)),
       last = std::floor(center + extent - (Real(0.5) - kSlack));
  // The comparisons are false for NaN, which gives an empty span.
  if (!(first < static_cast<Real>(size)) || !(last >= Real(0))) return {0, -1};
  return {static_cast<int>(std::max(first, Real(0))), static_cast<int>(std::min(last, static_cast<Real>(size - 1)))};
}

// Stores lane l as Gaussian g, or marks it as not drawn.
void store_splat(const World& in, const Projected& p, Real log_alpha_max, int l, int g, RenderState& state) {
  state.depth_keys[g] = 0;
  if (!(p.depth[l] > Real(0))) return;
  Span x = pixel_span(p.x[l], p.extent_x[l], state.camera.width);
  Span y = pixel_span(p.y[l], p.extent_y[l], state.camera.height);
  if (x.first > x.last || y.first > y.last) return;
  Splat& s = state.splats[g];
  s.x = p.x[l];
  s.y = p.y[l];
  s.ux = p.ux[l];
  s.uy = p.uy[l];
  s.vy = p.vy[l];
  s.log_opacity = p.log_opacity[l];
  s.log_cap = std::min(p.log_opacity[l], log_alpha_max);
  s.ridge_x = p.ridge_x[l];
  s.ridge_y = p.ridge_y[l];
  if (state.channels == 3) std::copy(in.colors + 3 * l, in.colors + 3 * l + 3, s.color);
  state.boxes[g] = {static_cast<uint16_t>(x.first / kTile), static_cast<uint16_t>(y.first / kTile),
                    static_cast<uint16_t>(x.last / kTile + 1), static_cast<uint16_t>(y.last / kTile + 1)};
  state.depth_keys[g] = float_bits(static_cast<float>(p.depth[l]));
}

bool is_finite(const Camera& c) {
  Real sum = Real(0);
  for (Vec3 v : {c.right, c.down, c.forward, c.translation}) sum += (v.x - v.x) + (v.y - v.y) + (v.z - v.z);
  for (Real v : {c.fx, c.fy, c.cx, c.cy, c.slope_min_x, c.slope_max_x, c.slope_min_y, c.slope_max_y}) sum += v - v;
  return sum == Real(0);
}

// Gradient rows of sixteen Gaussians summed over their tiles, and what the projection made of them.
struct alignas(64) SplatGradients {
  Real sums[kRowMoments][kLanes];  // of alpha gradient times 1, dx, dy, dx^2, dx dy, dy^2
  Real conic_xx[kLanes], conic_xy[kLanes], conic_yy[kLanes];
  Real view[12][kLanes];
};

HEADSPLAT_INLINE void project_backward_lane(const Camera& c, const World& in, SplatGradients& io, WorldGradients& out,
                                            int l) {
  Geometry g = geometry(c, in, l);
  Real a = io.conic_xx[l], b = io.conic_xy[l], d = io.conic_yy[l];
  Real v_center_x = a * io.sums[1][l] + b * io.sums[2][l], v_center_y = b * io.sums[1][l] + d * io.sums[2][l];
  out.opacity[l] = -io.sums[0][l] / in.opacity[l];

  // Through the inverse: v_cov = -conic v_conic conic, all symmetric.
  Real gxx = Real(0.5) * io.sums[3][l], gxy = Real(0.5) * io.sums[4][l], gyy = Real(0.5) * io.sums[5][l];
  Real h00 = a * gxx + b * gxy, h01 = a * gxy + b * gyy, h10 = b * gxx + d * gxy, h11 = b * gxy + d * gyy;
  Real v00 = -(h00 * a + h01 * b), v01 = -(h00 * b + h01 * d), v11 = -(h10 * b + h11 * d);

  // Through cov = factor factor^T and factor = unit * scale.
  Vec3 v0 = (g.factor0 * v00 + g.factor1 * v01) * Real(2), v1 = (g.factor0 * v01 + g.factor1 * v11) * Real(2);
  Vec3 v_scale = v0 * g.unit0 + v1 * g.unit1;
  v0 = v0 * g.scale;
  v1 = v1 * g.scale;

  // Through unit = world * rotation, first to the columns of the rotation.
  put_lane(out.axis0, l, g.world0 * v0.x + g.world1 * v1.x);
  put_lane(out.axis1, l, g.world0 * v0.y + g.world1 * v1.y);
  put_lane(out.axis2, l, g.world0 * v0.z + g.world1 * v1.z);

  // Then to world = Jacobian * view rotation.
  Vec3 w0 = combine(g.axis0, g.axis1, g.axis2, v0), w1 = combine(g.axis0, g.axis1, g.axis2, v1);
  Real v_j00 = dot(w0, c.right), v_j02 = dot(w0, c.forward), v_j11 = dot(w1, c.down), v_j12 = dot(w1, c.forward);

  // And to the centre in the camera, by way of the projected centre and of the Jacobian. A bounded slope is a constant.
  Real inv_z2 = g.inv_z * g.inv_z;
  Real via_x = -c.fx * inv_z2 * v_j02, via_y = -c.fy * inv_z2 * v_j12;
  Real free_x = g.slope_x == g.bounded_x ? Real(1) : Real(0), free_y = g.slope_y == g.bounded_y ? Real(1) : Real(0);
  Vec3 v = {c.fx * g.inv_z * v_center_x + free_x * via_x, c.fy * g.inv_z * v_center_y + free_y * via_y,
            -(c.fx * g.slope_x * v_center_x + c.fy * g.slope_y * v_center_y) * g.inv_z -
                inv_z2 * (c.fx * v_j00 + c.fy * v_j11) - (Real(1) + free_x) * via_x * g.bounded_x -
                (Real(1) + free_y) * via_y * g.bounded_y};
  put_lane(out.mean, l, combine(c.right, c.down, c.forward, v));
  put_lane(out.scale, l, v_scale);

  // The view matrix acts on the centre and, through its rotation, on the covariance.
  Vec3 r0 = w0 * g.j00 + g.mean * v.x, r1 = w1 * g.j11 + g.mean * v.y, r2 = w0 * g.j02 + w1 * g.j12 + g.mean * v.z;
  io.view[0][l] = r0.x, io.view[1][l] = r0.y, io.view[2][l] = r0.z, io.view[3][l] = v.x;
  io.view[4][l] = r1.x, io.view[5][l] = r1.y, io.view[6][l] = r1.z, io.view[7][l] = v.y;
  io.view[8][l] = r2.x, io.view[9][l] = r2.y, io.view[10][l] = r2.z, io.view[11][l] = v.z;
}

// Sums the rows of Gaussian g, the moments into lane l and the rest into v_color; false when no pixel gave it a
// gradient. kChannels is the state's number of channels, or 0 to ask the state.
template <int kChannels>
bool sum_rows(const RenderState& state, int g, int l, SplatGradients& out, Real* v_color) {
  const int channels = kChannels ? kChannels : state.channels;
  const size_t size = kChannels ? (kRowMoments + kChannels + 3) / 4 * 4 : state.row_size();
  Real sums[kRowMoments + kChannels] = {};
  std::fill(v_color, v_color + channels, Real(0));
  bool hit = false;
  if (state.depth_keys[g]) {
    TileBox box = state.boxes[g];
    uint32_t first = state.splats[g].row(box.x0, box.y0), rows = static_cast<uint32_t>(box.tiles());
    for (uint32_t row = first; row < first + rows; row++) {
      if (!state.row_used[row]) continue;
      hit = true;
      const Real* values = state.rows.data() + row * size;
      for (int k = 0; k < kRowMoments + kChannels; k++) sums[k] += values[k];
      for (int k = kChannels; k < channels; k++) v_color[k] += values[kRowMoments + k];
    }
  }
  for (int k = 0; k < kRowMoments; k++) out.sums[k][l] = sums[k];
  for (int k = 0; k < kChannels; k++) v_color[k] = sums[kRowMoments + k];
  return hit;
}

// Zero in the lanes that no pixel saw; their colours are zero already.
void clear_unseen(WorldGradients& grads, const bool* hit) {
  Real* rows = grads.mean[0];
  const int total = static_cast<int>(offsetof(WorldGradients, colors) / sizeof(Real));
  for (int i = 0; i < total; i += kLanes) {
    for (int l = 0; l < kLanes; l++) rows[i + l] = hit[l] ? rows[i + l] : Real(0);
  }
}

template <class Source>
void backward_chunk(const Source& source, const RenderState& state, int begin, int end, double* view_sums) {
  typename Source::Batch batch;
  World world;
  SplatGradients splats{};
  WorldGradients grads;
  for (int first = begin; first < end; first += kLanes) {
    int used = std::min(kLanes, end - first);
    bool hit[kLanes] = {}, any_hit = false;
    for (int l = 0; l < used; l++) {
      int g = first + l;
      Real* v_color = source.color_gradient(grads, g, l);
      hit[l] =
          state.channels == 3 ? sum_rows<3>(state, g, l, splats, v_color) : sum_rows<0>(state, g, l, splats, v_color);
      any_hit |= hit[l];
      const Splat& s = state.splats[g];
      splats.conic_xx[l] = s.ux * s.ux * (Real(2) / kLog2E);
      splats.conic_xy[l] = s.ux * s.uy * (Real(2) / kLog2E);
      splats.conic_yy[l] = (s.uy * s.uy + s.vy * s.vy) * (Real(2) / kLog2E);
    }
    if (!any_hit) {
      source.backward_unseen(first, used);
      continue;
    }
    source.load(batch, first, used, world);
    const int n = lane_count();
#pragma omp simd
    for (int l = 0; l < n; l++) project_backward_lane(state.camera, world, splats, grads, l);
    clear_unseen(grads, hit);
    source.backward(batch, first, used, world, grads);
    for (int l = 0; l < used; l++) {
      for (int k = 0; view_sums && hit[l] && k < 12; k++) view_sums[k] += splats.view[k][l];
    }
  }
}

}  // namespace

Camera make_camera(const Real* viewmat, const Real* K, int width, int height) {
  Camera c;
  c.right = {viewmat[0], viewmat[1], viewmat[2]};
  c.down = {viewmat[4], viewmat[5], viewmat[6]};
  c.forward = {viewmat[8], viewmat[9], viewmat[10]};
  c.translation = {viewmat[3], viewmat[7], viewmat[11]};
  c.fx = K[0], c.cx = K[2], c.fy = K[4], c.cy = K[5];
  c.width = width, c.height = height;
  // The Jacobian is taken at most 15 % of the image beyond its border (gsplat), where it would blow up.
  Real margin_x = Real(0.15) * width / c.fx, margin_y = Real(0.15) * height / c.fy;
  c.slope_min_x = -(c.cx / c.fx + margin_x);
  c.slope_max_x = (width - c.cx) / c.fx + margin_x;
  c.slope_min_y = -(c.cy / c.fy + margin_y);
  c.slope_max_y = (height - c.cy) / c.fy + margin_y;
  return c;
}

template <class Source>
bool project(const Source& source, RenderState& state, int threads) {
  int count = state.count = source.count;
  state.channels = source.channels();
  state.splats.resize(count);
  state.depth_keys.resize(count);
  state.boxes.resize(count);
  const Real log_alpha_max = std::log2(state.settings.alpha_max);
  std::atomic<bool> finite{is_finite(state.camera)};
  parallel_for(count, kChunk, threads, [&](int begin, int end, int) {
    typename Source::Batch batch;
    World world;
    Projected projected;
    Real bad = Real(0);
    for (int first = begin; first < end; first += kLanes) {
      int used = std::min(kLanes, end - first);
      bad += source.load(batch, first, used, world);
      project_batch(state.camera, state.settings, world, projected);
      for (int l = 0; l < used; l++) store_splat(world, projected, log_alpha_max, l, first + l, state);
    }
    if (!(bad == Real(0))) finite = false;
  });
  return finite;
}

template <class Source>
void project_backward(const Source& source, RenderState& state, Real* v_viewmat, int threads) {
  int count = source.count, chunks = (count + kChunk - 1) / kChunk;
  double* sums = state.view_sums.resize(static_cast<size_t>(chunks) * 12);
  std::fill(sums, sums + static_cast<size_t>(chunks) * 12, 0.0);
  parallel_for(count, kChunk, threads, [&](int begin, int end, int) {
    double* chunk_sums = v_viewmat ? sums + static_cast<size_t>(begin / kChunk) * 12 : nullptr;
    backward_chunk(source, state, begin, end, chunk_sums);
  });
  if (!v_viewmat) return;
  for (int k = 0; k < 16; k++) v_viewmat[k] = Real(0);
  for (int k = 0; k < 12; k++) {
    double total = 0.0;
    for (int chunk = 0; chunk < chunks; chunk++) total += sums[chunk * 12 + k];
    v_viewmat[k] = static_cast<Real>(total);
  }
}

template bool project(const PlainSource&, RenderState&, int);
template bool project(const RiggedSource&, RenderState&, int);
template void project_backward(const PlainSource&, RenderState&, Real*, int);
template void project_backward(const RiggedSource&, RenderState&, Real*, int);

}  // namespace headsplat
