#include "ssim.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int kChannels = 3;
constexpr int kRadius = 5;
constexpr int kTaps = 2 * kRadius + 1;
constexpr int kMargin = 16;  // zeros on each side of a row: kRadius pixels, and the row stays aligned
constexpr int kStrip = 64;   // rows a job
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

// The window's taps by distance from its centre.
struct Window {
  float tap[kRadius + 1];

  Window() {
    double sum = 0.0, values[kRadius + 1];
    for (int i = 0; i <= kRadius; i++) {
      values[i] = std::exp(-i * i / (2 * 1.5 * 1.5));
      sum += i ? 2 * values[i] : values[i];
    }
    for (int i = 0; i <= kRadius; i++) tap[i] = static_cast<float>(values[i] / sum);
  }
};

// Blurs one row of interleaved pixels along x; `in` has kMargin zeros on both sides.
void blur_along_row(const Window& window, const float* __restrict in, float* __restrict out, int n) {
  const float w0 = window.tap[0], w1 = window.tap[1], w2 = window.tap[2];
  const float w3 = window.tap[3], w4 = window.tap[4], w5 = window.tap[5];
#pragma omp simd
  for (int i = 0; i < n; i++) {
    out[i] = w0 * in[i] + w1 * (in[i - 3] + in[i + 3]) + w2 * (in[i - 6] + in[i + 6]) + w3 * (in[i - 9] + in[i + 9]) +
             w4 * (in[i - 12] + in[i + 12]) + w5 * (in[i - 15] + in[i + 15]);
  }
}

// Blurs across rows: rows[0..10] are kTaps rows, the output is at the middle one.
void blur_across_rows(const Window& window, const float* const* rows, float* __restrict out, int n) {
  const float w0 = window.tap[0], w1 = window.tap[1], w2 = window.tap[2];
  const float w3 = window.tap[3], w4 = window.tap[4], w5 = window.tap[5];
  const float* __restrict a = rows[0], * __restrict b = rows[1], * __restrict c = rows[2], * __restrict d = rows[3];
  const float* __restrict e = rows[4], * __restrict f = rows[5], * __restrict g = rows[6], * __restrict h = rows[7];
  const float* __restrict i = rows[8], * __restrict j = rows[9], * __restrict k = rows[10];
#pragma omp simd
  for (int x = 0; x < n; x++) {
    out[x] = w0 * f[x] + w1 * (e[x] + g[x]) + w2 * (d[x] + h[x]) + w3 * (c[x] + i[x]) + w4 * (b[x] + j[x]) +
             w5 * (a[x] + k[x]);
  }
}

// Blurs kMaps images down a strip of rows. Rows enter once, are blurred along x, and stay while the window needs them.
template <int kMaps>
class StripBlur {
 public:
  static size_t scratch_size(int n) { return static_cast<size_t>(kMaps) * (kTaps + 2) * stride(n); }

  StripBlur(float* scratch, const Window& window, int n, int height)
      : window_(window), n_(n), height_(height), ring_(scratch) {
    padded_ = ring_ + kMaps * kTaps * stride(n);
    blurred_ = padded_ + kMaps * stride(n);
    std::memset(padded_, 0, sizeof(float) * kMaps * stride(n));
  }

  // For each row in [begin, end): source(row, rows[kMaps]) fills unblurred rows, sink(row, blurred[kMaps]) takes
  // results.
  template <class Source, class Sink>
  void run(int begin, int end, Source source, Sink sink) {
    for (int row = begin - kRadius; row < begin + kRadius; row++) enter(row, source);
    for (int row = begin; row < end; row++) {
      enter(row + kRadius, source);
      float* results[kMaps];
      for (int m = 0; m < kMaps; m++) {
        const float* rows[kTaps];
        for (int k = 0; k < kTaps; k++) rows[k] = ring_row(row - kRadius + k, m);
        results[m] = blurred_ + m * stride(n_);
        blur_across_rows(window_, rows, results[m], n_);
      }
      sink(row, results);
    }
  }

 private:
  static size_t stride(int n) { return (static_cast<size_t>(n) + 2 * kMargin + 15) / 16 * 16; }

  float* ring_row(int row, int map) {
    return ring_ + static_cast<size_t>((row + kTaps) % kTaps * kMaps + map) * stride(n_);
  }

  template <class Source>
  void enter(int row, Source source) {
    if (row < 0 || row >= height_) {
      for (int m = 0; m < kMaps; m++) std::memset(ring_row(row, m), 0, sizeof(float) * n_);
      return;
    }
    float* rows[kMaps];
    for (int m = 0; m < kMaps; m++) rows[m] = padded_ + m * stride(n_) + kMargin;
    source(row, rows);
    for (int m = 0; m < kMaps; m++) blur_along_row(window_, rows[m], ring_row(row, m), n_);
  }

  const Window& window_;
  int n_, height_;
  float *ring_, *padded_, *blurred_;
};

// The four images whose blurs make SSIM: x, y, x^2 + y^2, x y.
void moments(const float* __restrict x, const float* __restrict y, float* const* rows, int n) {
  float* __restrict a = rows[0], * __restrict b = rows[1], * __restrict squares = rows[2], * __restrict product = rows[3];
#pragma omp simd
  for (int i = 0; i < n; i++) {
    a[i] = x[i];
    b[i] = y[i];
    squares[i] = x[i] * x[i] + y[i] * y[i];
    product[i] = x[i] * y[i];
  }
}

// Sum of SSIM over one row, and its gradients with respect to the blurs of x, of x^2 and of x y.
float ssim_row(float* const* blurred, float* __restrict d_mean, float* __restrict d_square, float* __restrict d_product,
               int n) {
  const float* __restrict mean_x = blurred[0], * __restrict mean_y = blurred[1];
  const float* __restrict squares = blurred[2], * __restrict product = blurred[3];
  float sum = 0.f;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; i++) {
    float u = mean_x[i], v = mean_y[i], uv = u * v, energy = u * u + v * v;
    float luminance = 2 * uv + kC1, structure = 2 * (product[i] - uv) + kC2;
    float inv_energy = 1.f / (energy + kC1), inv_variance = 1.f / (squares[i] - energy + kC2);
    float inv = inv_energy * inv_variance, ssim = luminance * structure * inv;
    sum += ssim;
    d_mean[i] = 2 * (v * (structure - luminance) * inv + u * ssim * (inv_variance - inv_energy));
    d_square[i] = -ssim * inv_variance;
    d_product[i] = 2 * luminance * inv;
  }
  return sum;
}

// Writes the gradient of one row and returns its sum of |x - y|; scales are those of a single value's part in the loss.
float gradient_row(const float* __restrict x, const float* __restrict y, float* const* blurred,
                   float* __restrict gradient, float l1_scale, float ssim_scale, int n) {
  const float* __restrict d_mean = blurred[0], * __restrict d_square = blurred[1], * __restrict d_product = blurred[2];
  float sum = 0.f;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; i++) {
    float difference = x[i] - y[i];
    sum += std::fabs(difference);
    float sign = difference > 0.f ? l1_scale : (difference < 0.f ? -l1_scale : 0.f);
    gradient[i] = sign + ssim_scale * (d_mean[i] + 2 * x[i] * d_square[i] + y[i] * d_product[i]);
  }
  return sum;
}

}  // namespace

double l1_dssim(LossWorkspace& workspace, const float* image, const float* target, int width, int height,
                float dssim_weight, float* gradient, int threads) {
  const Window window;
  const int n = width * kChannels, strips = (height + kStrip - 1) / kStrip;
  const size_t size = static_cast<size_t>(height) * n;
  float* maps = workspace.maps.resize(3 * size);
  const size_t scratch_size = StripBlur<4>::scratch_size(n);
  float* scratch = workspace.scratch.resize(scratch_size * std::max(1, threads));
  double* sums = workspace.sums.resize(2 * strips);
  std::fill(sums, sums + 2 * strips, 0.0);
  const float scale = 1.f / static_cast<float>(size);
  const float l1_scale = (1.f - dssim_weight) * scale, ssim_scale = -dssim_weight * scale;

  parallel_for(height, kStrip, threads, [&](int begin, int end, int worker) {
    StripBlur<4> blur(scratch + worker * scratch_size, window, n, height);
    double& sum = sums[begin / kStrip];
    blur.run(
        begin, end,
        [&](int row, float* const* rows) {
          moments(image + static_cast<size_t>(row) * n, target + static_cast<size_t>(row) * n, rows, n);
        },
        [&](int row, float* const* blurred) {
          float* map = maps + static_cast<size_t>(row) * n;
          sum += ssim_row(blurred, map, map + size, map + 2 * size, n);
        });
  });
  parallel_for(height, kStrip, threads, [&](int begin, int end, int worker) {
    StripBlur<3> blur(scratch + worker * scratch_size, window, n, height);
    double& sum = sums[strips + begin / kStrip];
    blur.run(
        begin, end,
        [&](int row, float* const* rows) {
          for (int m = 0; m < 3; m++)
            std::memcpy(rows[m], maps + m * size + static_cast<size_t>(row) * n, sizeof(float) * n);
        },
        [&](int row, float* const* blurred) {
          size_t at = static_cast<size_t>(row) * n;
          sum += gradient_row(image + at, target + at, blurred, gradient + at, l1_scale, ssim_scale, n);
        });
  });
  double ssim = 0.0, l1 = 0.0;
  for (int strip = 0; strip < strips; strip++) {
    ssim += sums[strip];
    l1 += sums[strips + strip];
  }
  double count = static_cast<double>(size), w = dssim_weight;
  return (1.0 - w) * l1 / count + w * (1.0 - ssim / count);
}

}  // namespace headsplat
