#include "project.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "simd.h"
#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int kChunk = 2048;  // Gaussians a job; a multiple of kLanes

HEADSPLAT_INLINE Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
HEADSPLAT_INLINE Vec3 operator*(Vec3 a, Real s) { return {a.x * s, a.y * s, a.z * s}; }
HEADSPLAT_INLINE Vec3 operator*(Vec3 a, Vec3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
HEADSPLAT_INLINE Real dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
HEADSPLAT_INLINE Vec3 cross(Vec3 a, Vec3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
HEADSPLAT_INLINE Real clamp(Real x, Real low, Real high) {
  x = x < high ? x : high;
  return x > low ? x : low;
}
HEADSPLAT_INLINE uint32_t float_bits(float x) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}
HEADSPLAT_INLINE float bits_float(uint32_t u) {
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

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

// Sixteen Gaussians transposed, so that a loop over the lanes vectorises.
struct alignas(64) Batch {
  Real mean[3][kLanes], quat[4][kLanes], scale[3][kLanes], opacity[kLanes];

  void put(const Gaussians& in, int lane, int g) {
    for (int k = 0; k < 3; k++) mean[k][lane] = in.means[3 * g + k];
    for (int k = 0; k < 4; k++) quat[k][lane] = in.quats[4 * g + k];
    for (int k = 0; k < 3; k++) scale[k][lane] = in.scales[3 * g + k];
    opacity[lane] = in.opacities[g];
  }
  // A harmless Gaussian, for lanes past the end.
  void clear(int lane) {
    for (int k = 0; k < 3; k++) mean[k][lane] = Real(0);
    for (int k = 0; k < 4; k++) quat[k][lane] = k == 0 ? Real(1) : Real(0);
    for (int k = 0; k < 3; k++) scale[k][lane] = Real(1);
    opacity[lane] = Real(0);
  }
};

// The number of lanes, hidden from the optimiser: GCC would unroll a loop of known length before vectorising it.
HEADSPLAT_INLINE int lane_count() {
  int n = kLanes;
  __asm__ volatile("" : "+r"(n));
  return n;
}

// One Gaussian in the camera: what the forward and the backward pass both need.
struct Geometry {
  Vec3 mean;                      // world
  Real z, inv_z;                  // depth and its reciprocal
  Real slope_x, slope_y;          // x/z, y/z
  Real bounded_x, bounded_y;      // the same inside the bounds of the Jacobian
  Real j00, j02, j11, j12;        // Jacobian of the projection
  Vec3 world0, world1;            // rows of Jacobian * view rotation
  Real inv_norm, qw, qx, qy, qz;  // unit quaternion and the factor that made it so
  Vec3 axis0, axis1, axis2;       // columns of the Gaussian's rotation
  Vec3 unit0, unit1;              // rows of Jacobian * view rotation * rotation
  Vec3 scale;
  Vec3 factor0, factor1;  // the same times the scales: the 2D covariance is factor * factor^T + eps2d
};

HEADSPLAT_INLINE Geometry geometry(const Camera& c, const Batch& in, int l) {
  Geometry g;
  g.mean = {in.mean[0][l], in.mean[1][l], in.mean[2][l]};
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

  Real qw = in.quat[0][l], qx = in.quat[1][l], qy = in.quat[2][l], qz = in.quat[3][l];
  g.inv_norm = Real(1) / std::sqrt(qw * qw + qx * qx + qy * qy + qz * qz + Real(1e-30));
  qw *= g.inv_norm, qx *= g.inv_norm, qy *= g.inv_norm, qz *= g.inv_norm;
  g.qw = qw, g.qx = qx, g.qy = qy, g.qz = qz;
  g.axis0 = {1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)};
  g.axis1 = {2 * (qx * qy - qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qw * qx)};
  g.axis2 = {2 * (qx * qz + qw * qy), 2 * (qy * qz - qw * qx), 1 - 2 * (qx * qx + qy * qy)};
  g.unit0 = {dot(g.world0, g.axis0), dot(g.world0, g.axis1), dot(g.world0, g.axis2)};
  g.unit1 = {dot(g.world1, g.axis0), dot(g.world1, g.axis1), dot(g.world1, g.axis2)};
  g.scale = {in.scale[0][l], in.scale[1][l], in.scale[2][l]};
  g.factor0 = g.unit0 * g.scale;
  g.factor1 = g.unit1 * g.scale;
  return g;
}

struct alignas(64) Projected {
  Real x[kLanes], y[kLanes], depth[kLanes], ux[kLanes], uy[kLanes], vy[kLanes], ridge_x[kLanes], ridge_y[kLanes];
  Real log_opacity[kLanes], extent_x[kLanes], extent_y[kLanes];
};

// Depth comes out negative for a Gaussian that is not drawn: before the near plane, fainter than 1/255, degenerate.
HEADSPLAT_INLINE void project_lane(const Camera& c, const Settings& s, const Batch& in, Projected& out, int l) {
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
void project_batch(const Camera& c, const Settings& s, const Batch& in, Projected& out) {
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
void store_splat(const Gaussians& in, const Projected& p, Real log_alpha_max, int l, int g, RenderState& state) {
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
  if (in.channels == 3) std::copy(in.colors + 3 * g, in.colors + 3 * g + 3, s.color);
  state.boxes[g] = {static_cast<uint16_t>(x.first / kTile), static_cast<uint16_t>(y.first / kTile),
                    static_cast<uint16_t>(x.last / kTile + 1), static_cast<uint16_t>(y.last / kTile + 1)};
  state.depth_keys[g] = float_bits(static_cast<float>(p.depth[l]));
}

// Zero for finite input, NaN otherwise: x - x is zero for every finite x.
HEADSPLAT_INLINE Real nonfinite(const Batch& in, const Real* colors, size_t count) {
  Real sum = Real(0);
  const Real* values = in.mean[0];
  const int total = static_cast<int>(sizeof(Batch) / sizeof(Real));
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < total; i++) sum += values[i] - values[i];
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < count; i++) sum += colors[i] - colors[i];
  return sum;
}

bool is_finite(const Camera& c) {
  Real sum = Real(0);
  for (Vec3 v : {c.right, c.down, c.forward, c.translation}) sum += (v.x - v.x) + (v.y - v.y) + (v.z - v.z);
  for (Real v : {c.fx, c.fy, c.cx, c.cy, c.slope_min_x, c.slope_max_x, c.slope_min_y, c.slope_max_y}) sum += v - v;
  return sum == Real(0);
}

// Gradient rows of sixteen Gaussians summed over their tiles, and what the projection made of them.
struct alignas(64) BatchGradients {
  Real sums[kRowMoments][kLanes];  // of alpha gradient times 1, dx, dy, dx^2, dx dy, dy^2
  Real conic_xx[kLanes], conic_xy[kLanes], conic_yy[kLanes];
  Real mean[3][kLanes], quat[4][kLanes], scale[3][kLanes], opacity[kLanes], view[12][kLanes];
};

HEADSPLAT_INLINE void project_backward_lane(const Camera& c, const Batch& in, BatchGradients& io, int l) {
  Geometry g = geometry(c, in, l);
  Real a = io.conic_xx[l], b = io.conic_xy[l], d = io.conic_yy[l];
  Real v_center_x = a * io.sums[1][l] + b * io.sums[2][l], v_center_y = b * io.sums[1][l] + d * io.sums[2][l];
  io.opacity[l] = -io.sums[0][l] / in.opacity[l];

  // Through the inverse: v_cov = -conic v_conic conic, all symmetric.
  Real gxx = Real(0.5) * io.sums[3][l], gxy = Real(0.5) * io.sums[4][l], gyy = Real(0.5) * io.sums[5][l];
  Real h00 = a * gxx + b * gxy, h01 = a * gxy + b * gyy, h10 = b * gxx + d * gxy, h11 = b * gxy + d * gyy;
  Real v00 = -(h00 * a + h01 * b), v01 = -(h00 * b + h01 * d), v11 = -(h10 * b + h11 * d);

  // Through cov = factor factor^T and factor = unit * scale.
  Vec3 v0 = (g.factor0 * v00 + g.factor1 * v01) * Real(2), v1 = (g.factor0 * v01 + g.factor1 * v11) * Real(2);
  Vec3 v_scale = v0 * g.unit0 + v1 * g.unit1;
  v0 = v0 * g.scale;
  v1 = v1 * g.scale;

  // Through unit = world * rotation, first to the rotation and its quaternion; e[i][j] is the gradient of entry i, j.
  Vec3 e0 = g.world0 * v0.x + g.world1 * v1.x, e1 = g.world0 * v0.y + g.world1 * v1.y;
  Vec3 e2 = g.world0 * v0.z + g.world1 * v1.z;  // columns
  Real qw = g.qw, qx = g.qx, qy = g.qy, qz = g.qz;
  Real skew_x = e1.z - e2.y, skew_y = e2.x - e0.z, skew_z = e0.y - e1.x;
  Real mix_x = e1.z + e2.y, mix_y = e2.x + e0.z, mix_z = e0.y + e1.x;
  Real vw = 2 * (qx * skew_x + qy * skew_y + qz * skew_z);
  Real vx = 2 * (qw * skew_x + qy * mix_z + qz * mix_y - 2 * qx * (e1.y + e2.z));
  Real vy = 2 * (qw * skew_y + qx * mix_z + qz * mix_x - 2 * qy * (e0.x + e2.z));
  Real vz = 2 * (qw * skew_z + qx * mix_y + qy * mix_x - 2 * qz * (e0.x + e1.y));
  Real along = vw * qw + vx * qx + vy * qy + vz * qz;
  io.quat[0][l] = (vw - along * qw) * g.inv_norm;
  io.quat[1][l] = (vx - along * qx) * g.inv_norm;
  io.quat[2][l] = (vy - along * qy) * g.inv_norm;
  io.quat[3][l] = (vz - along * qz) * g.inv_norm;

  // Then to world = Jacobian * view rotation.
  Vec3 w0 = g.axis0 * v0.x + g.axis1 * v0.y + g.axis2 * v0.z;
  Vec3 w1 = g.axis0 * v1.x + g.axis1 * v1.y + g.axis2 * v1.z;
  Real v_j00 = dot(w0, c.right), v_j02 = dot(w0, c.forward), v_j11 = dot(w1, c.down), v_j12 = dot(w1, c.forward);

  // And to the centre in the camera, by way of the projected centre and of the Jacobian. A bounded slope is a constant.
  Real inv_z2 = g.inv_z * g.inv_z;
  Real via_x = -c.fx * inv_z2 * v_j02, via_y = -c.fy * inv_z2 * v_j12;
  Real free_x = g.slope_x == g.bounded_x ? Real(1) : Real(0), free_y = g.slope_y == g.bounded_y ? Real(1) : Real(0);
  Vec3 v = {c.fx * g.inv_z * v_center_x + free_x * via_x, c.fy * g.inv_z * v_center_y + free_y * via_y,
            -(c.fx * g.slope_x * v_center_x + c.fy * g.slope_y * v_center_y) * g.inv_z -
                inv_z2 * (c.fx * v_j00 + c.fy * v_j11) - (Real(1) + free_x) * via_x * g.bounded_x -
                (Real(1) + free_y) * via_y * g.bounded_y};
  Vec3 v_mean = c.right * v.x + c.down * v.y + c.forward * v.z;
  io.mean[0][l] = v_mean.x, io.mean[1][l] = v_mean.y, io.mean[2][l] = v_mean.z;
  io.scale[0][l] = v_scale.x, io.scale[1][l] = v_scale.y, io.scale[2][l] = v_scale.z;

  // The view matrix acts on the centre and, through its rotation, on the covariance.
  Vec3 r0 = w0 * g.j00 + g.mean * v.x, r1 = w1 * g.j11 + g.mean * v.y, r2 = w0 * g.j02 + w1 * g.j12 + g.mean * v.z;
  io.view[0][l] = r0.x, io.view[1][l] = r0.y, io.view[2][l] = r0.z, io.view[3][l] = v.x;
  io.view[4][l] = r1.x, io.view[5][l] = r1.y, io.view[6][l] = r1.z, io.view[7][l] = v.y;
  io.view[8][l] = r2.x, io.view[9][l] = r2.y, io.view[10][l] = r2.z, io.view[11][l] = v.z;
}

// Sums the rows of Gaussian g, the moments into lane l and the rest into its colour; false when no pixel gave it a
// gradient. kChannels is the state's number of channels, or 0 to ask the state.
template <int kChannels>
bool sum_rows(const RenderState& state, int g, int l, BatchGradients& out, Real* v_colors) {
  const int channels = kChannels ? kChannels : state.channels;
  const size_t size = kChannels ? (kRowMoments + kChannels + 3) / 4 * 4 : state.row_size();
  Real sums[kRowMoments + kChannels] = {};
  Real* v_color = v_colors + static_cast<size_t>(g) * channels;
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

void backward_chunk(const Gaussians& in, const RenderState& state, int begin, int end, const Gradients& out,
                    double* view_sums) {
  Batch batch;
  BatchGradients grads;
  for (int first = begin; first < end; first += kLanes) {
    int used = std::min(kLanes, end - first);
    bool hit[kLanes] = {};
    bool any_hit = false;
    for (int l = 0; l < kLanes; l++) {
      int g = first + l;
      hit[l] = l < used && (state.channels == 3 ? sum_rows<3>(state, g, l, grads, out.colors)
                                                : sum_rows<0>(state, g, l, grads, out.colors));
      any_hit |= hit[l];
      if (hit[l]) {
        const Splat& s = state.splats[g];
        batch.put(in, l, g);
        grads.conic_xx[l] = s.ux * s.ux * (Real(2) / kLog2E);
        grads.conic_xy[l] = s.ux * s.uy * (Real(2) / kLog2E);
        grads.conic_yy[l] = (s.uy * s.uy + s.vy * s.vy) * (Real(2) / kLog2E);
      } else {
        batch.clear(l);
        batch.opacity[l] = Real(1);
        for (int k = 0; k < kRowMoments; k++) grads.sums[k][l] = Real(0);
        grads.conic_xx[l] = grads.conic_yy[l] = Real(1);
        grads.conic_xy[l] = Real(0);
      }
    }
    if (any_hit) {
      const int n = lane_count();
#pragma omp simd
      for (int l = 0; l < n; l++) project_backward_lane(state.camera, batch, grads, l);
    }
    for (int l = 0; l < used; l++) {
      int g = first + l;
      for (int k = 0; k < 3; k++) {
        out.means[3 * g + k] = hit[l] ? grads.mean[k][l] : Real(0);
        out.scales[3 * g + k] = hit[l] ? grads.scale[k][l] : Real(0);
      }
      for (int k = 0; k < 4; k++) out.quats[4 * g + k] = hit[l] ? grads.quat[k][l] : Real(0);
      out.opacities[g] = hit[l] ? grads.opacity[l] : Real(0);
      if (out.viewmat && hit[l]) {
        for (int k = 0; k < 12; k++) view_sums[k] += grads.view[k][l];
      }
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

bool project(const Gaussians& gaussians, RenderState& state, int threads) {
  int count = state.count = gaussians.count;
  state.channels = gaussians.channels;
  state.splats.resize(count);
  state.depth_keys.resize(count);
  state.boxes.resize(count);
  const Real log_alpha_max = std::log2(state.settings.alpha_max);
  std::atomic<bool> finite{is_finite(state.camera)};
  parallel_for(count, kChunk, threads, [&](int begin, int end, int) {
    Batch batch;
    Projected projected;
    Real bad = Real(0);
    for (int first = begin; first < end; first += kLanes) {
      int used = std::min(kLanes, end - first);
      for (int l = 0; l < used; l++) batch.put(gaussians, l, first + l);
      for (int l = used; l < kLanes; l++) batch.clear(l);
      size_t channels = static_cast<size_t>(gaussians.channels);
      bad += nonfinite(batch, gaussians.colors + channels * first, channels * used);
      project_batch(state.camera, state.settings, batch, projected);
      for (int l = 0; l < used; l++) store_splat(gaussians, projected, log_alpha_max, l, first + l, state);
    }
    if (!(bad == Real(0))) finite = false;
  });
  return finite;
}

void project_backward(const Gaussians& gaussians, RenderState& state, const Gradients& out, int threads) {
  int count = gaussians.count, chunks = (count + kChunk - 1) / kChunk;
  double* sums = state.view_sums.resize(static_cast<size_t>(chunks) * 12);
  std::fill(sums, sums + static_cast<size_t>(chunks) * 12, 0.0);
  parallel_for(count, kChunk, threads, [&](int begin, int end, int) {
    backward_chunk(gaussians, state, begin, end, out, sums + static_cast<size_t>(begin / kChunk) * 12);
  });
  if (!out.viewmat) return;
  for (int k = 0; k < 16; k++) out.viewmat[k] = Real(0);
  for (int k = 0; k < 12; k++) {
    double total = 0.0;
    for (int chunk = 0; chunk < chunks; chunk++) total += sums[chunk * 12 + k];
    out.viewmat[k] = static_cast<Real>(total);
  }
}

}  // namespace headsplat
