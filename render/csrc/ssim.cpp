// A blur across rows is cheap: neighbours lie in the same lane of different registers, and each is loaded once. So the
// blur along rows is done on transposed blocks, a row in each lane. A block of sixteen rows (of a band of the image)
// and sixteen pixels goes through all steps while it is in the nearest caches:
//
//   images x and y -> blur x, y, x^2 + y^2 and x y across rows -> transpose -> blur along rows -> SSIM and its
//   gradients by these blurs -> blur along rows -> transpose -> blur across rows -> gradient by x.
//
// Each blur lags five pixels or rows behind its input, and keeps the last ten of a block for the next one.
#include "ssim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "simd.h"
#include "thread_pool.h"

namespace headsplat {
namespace {

constexpr int kChannels = 3;
constexpr int kRadius = 5;
constexpr int kHalo = 2 * kRadius;
constexpr int kSide = 16;  // rows of a band, pixels of a block
constexpr int kSpan = kSide + kHalo;
constexpr int kWide = kSide * kChannels;
constexpr int kMoments = 4, kSlopes = 3;
constexpr int kShortestStrip = 64;  // rows that a worker takes at least, because ten are worked out twice

// The window's taps, divided by the middle one, which saves a multiplication. A blur in x and y comes out `gain` times
// too large, which SSIM makes up for. It takes a small difference of two large numbers, so the gain has a second part:
// what the first is too small by.
struct Window {
  Reg tap[kRadius + 1];
  Real gain, more_gain;

  Window() {
    double sum = 1.0;
    for (int i = 1; i <= kRadius; i++) {
      Real value = static_cast<Real>(std::exp(-i * i / (2 * 1.5 * 1.5)));
      tap[i] = reg_set(value);
      sum += 2.0 * value;
    }
    gain = static_cast<Real>(sum * sum);
    more_gain = static_cast<Real>(sum * sum - gain);
  }
};

// Blurs a line of inputs, input(0) to input(kSpan - 1), which are asked for in order; output k is at input k + kRadius.
template <class Input, class Output>
HEADSPLAT_INLINE void blur(const Window& window, Input input, Output output) {
  Reg in[kSpan];
  HEADSPLAT_UNROLL
  for (int k = 0; k < kHalo; k++) in[k] = input(k);
  HEADSPLAT_UNROLL
  for (int k = 0; k < kSide; k++) {
    in[k + kHalo] = input(k + kHalo);
    const Reg* middle = in + k + kRadius;
    Reg sum = *middle;
    HEADSPLAT_UNROLL
    for (int i = 1; i <= kRadius; i++) sum = fma(middle[-i] + middle[i], window.tap[i], sum);
    output(k, sum);
  }
}

// A number for each pixel of a block, row by row or (transposed) with the rows in the lanes.
using Rows = Real[kSide][kWide];
using Columns = Real[kWide][kSide];
using ColumnsBefore = Real[kHalo * kChannels][kSide];

struct alignas(64) Scratch {
  Real inputs[kMoments][kSpan][kWide];  // x, y, x^2 + y^2, x y
  Rows rows[kSlopes];
  ColumnsBefore moments_before[kMoments], slopes_before[kSlopes];
  Columns moment, slopes[kSlopes];
  Columns columns[kMoments];
  Rows image_behind, target_behind, gradient;
  Real l1[kSide][kRegLanes];
  double dssim[kSide];

  // Before a band, whose left is outside the image.
  void clear() {
    std::memset(moments_before, 0, sizeof(moments_before));
    std::memset(slopes_before, 0, sizeof(slopes_before));
    std::memset(l1, 0, sizeof(l1));
    std::memset(dssim, 0, sizeof(dssim));
  }
};
static_assert(sizeof(Scratch) % sizeof(Real) == 0, "lies in an array of Real");

// Where a block lies in an image of rows of n numbers; x is in numbers.
struct Place {
  int row, x, rows;

  bool inside(int n, int height) const { return row >= 0 && x >= 0 && row + rows <= height && x + kWide <= n; }
};

// Fetches a row of the next block into the cache, as one of this is copied or written: the rows of a block lie on as
// many pages, which no hardware prefetcher follows, and all at once would fill the queue.
template <bool kWrite>
HEADSPLAT_INLINE void prefetch_row(const Real* row) {
  constexpr int kLine = 64 / sizeof(Real);
  for (int j = 0; j <= kWide; j += kLine) __builtin_prefetch(row + j, kWrite);
}

// Copies a block of an image, with zeros for what is outside.
void copy_block(const Real* image, int n, int height, const Place& place, Real (*out)[kWide]) {
  if (place.inside(n, height)) {
    const Real* from = image + static_cast<size_t>(place.row) * n + place.x;
    for (int k = 0; k < place.rows; k++, from += n) {
      if (k >= place.rows - kSide) prefetch_row<false>(from + kWide);
      for (int j = 0; j < kWide; j += kRegLanes) reg_store(out[k] + j, reg_load(from + j));
    }
    return;
  }
  int first = std::max(0, -place.x), last = std::min(kWide, n - place.x);
  for (int k = 0; k < place.rows; k++) {
    std::fill(out[k], out[k] + kWide, Real(0));
    if (place.row + k < 0 || place.row + k >= height || first >= last) continue;
    const Real* from = image + static_cast<size_t>(place.row + k) * n + place.x;
    std::copy(from + first, from + last, out[k] + first);
  }
}

// Makes x^2 + y^2 and x y. They go through memory because the compiler would contract some of the products with the
// sums of a blur, and an image would depend on how it is cut into strips.
HEADSPLAT_APART void multiply(Real (&inputs)[kMoments][kSpan][kWide]) {
  const Real *x = inputs[0][0], *y = inputs[1][0];
  Real *squares = inputs[2][0], *products = inputs[3][0];
  for (int i = 0; i < kSpan * kWide; i += kRegLanes) {
    Reg a = reg_load(x + i), b = reg_load(y + i);
    reg_store(squares + i, fma(a, a, b * b));
    reg_store(products + i, a * b);
  }
}

// The blurs of one register's lanes are functions of their own, with all arrays at constant distances from a pointer:
// within a loop the compiler would keep an address for each of the 42 rows.

HEADSPLAT_APART void blur_lanes_across_rows(const Window& window, const Real* in, Real* out) {
  blur(
      window, [&](int k) { return reg_load(in + k * kWide); },
      [&](int k, Reg sum) { reg_store(out + k * kWide, sum); });
}

HEADSPLAT_APART void blur_lanes_along_rows(const Window& window, Real* before, const Real* in, Real* out) {
  constexpr int kStep = kChannels * kSide;
  blur(
      window,
      [&](int pixel) {
        Reg x = reg_load(pixel < kHalo ? before + pixel * kStep : in + (pixel - kHalo) * kStep);
        if (pixel >= kSide) reg_store(before + (pixel - kSide) * kStep, x);
        return x;
      },
      [&](int pixel, Reg sum) { reg_store(out + pixel * kStep, sum); });
}

HEADSPLAT_APART void blur_lanes_across_bands(const Window& window, Real* above, Real* rows) {
  blur(
      window,
      [&](int k) {
        Reg x = reg_load(k < kHalo ? above + k * kWide : rows + (k - kHalo) * kWide);
        if (k >= kSide) reg_store(above + (k - kSide) * kWide, x);
        return x;
      },
      [&](int k, Reg sum) { reg_store(rows + k * kWide, sum); });
}

void transpose(const Rows& rows, Real (*columns)[kSide]) {
  for (int k = 0; k < kSide; k += kRegLanes) {
    for (int j = 0; j < kWide; j += 4) {
      Reg quads[4];
      for (int i = 0; i < 4; i++) quads[i] = load_quads(rows[k + i] + j, kWide);
      transpose_quads(quads);
      for (int i = 0; i < 4; i++) reg_store(columns[j + i] + k, quads[i]);
    }
  }
}

void transpose_back(const Columns& columns, Rows& rows) {
  for (int j = 0; j < kWide; j += kRegLanes) {
    for (int k = 0; k < kSide; k += 4) {
      Reg quads[4];
      for (int i = 0; i < 4; i++) quads[i] = load_quads(columns[j + i] + k, kSide);
      transpose_quads(quads);
      for (int i = 0; i < 4; i++) reg_store(rows[k + i] + j, quads[i]);
    }
  }
}

// Blurs along rows what `before` keeps from the block to the left and this block, which it then keeps the end of.
void blur_along_rows(const Window& window, ColumnsBefore& before, const Columns& in, Columns& out) {
  for (int c = 0; c < kChannels; c++) {
    for (int k = 0; k < kSide; k += kRegLanes) blur_lanes_along_rows(window, before[c] + k, in[c] + k, out[c] + k);
  }
}

void blur_across_rows(const Window& window, const Real (&in)[kSpan][kWide], Rows& out) {
  for (int j = 0; j < kWide; j += kRegLanes) blur_lanes_across_rows(window, in[0] + j, out[0] + j);
}

// Blurs across rows what `above` keeps from the band before and this band, which it then keeps the end of.
void blur_across_bands(const Window& window, Real (*above)[kWide], Rows& rows) {
  for (int j = 0; j < kWide; j += kRegLanes) blur_lanes_across_bands(window, above[0] + j, rows[0] + j);
}

// One worker's rows [begin, end) of the loss.
struct Strip {
  const Window& window;
  const Real *image, *target;
  Real* gradient;
  int n, height;  // numbers in a row, rows
  Real dssim_weight;
  Scratch& s;
  Real* above;   // for each block kSlopes x kHalo x kWide
  double* sums;  // 2 x height

  int blocks() const { return (n + kHalo * kChannels + kWide - 1) / kWide; }

  void run(int begin, int end) {
    std::memset(above, 0, sizeof(Real) * blocks() * kSlopes * kHalo * kWide);
    for (int top = begin ? begin - kRadius : 0; top - kRadius < end; top += kSide) {
      s.clear();
      for (int block = 0; block < blocks(); block++) {
        forward(top, block);
        backward(top, block, begin, end);
      }
      for (int k = 0; k < kSide; k++) {
        if (top + k >= begin && top + k < end) sums[top + k] = s.dssim[k];
        int row = top + k - kRadius;
        if (row < begin || row >= end) continue;
        sums[height + row] = 0.0;
        for (Real x : s.l1[k]) sums[height + row] += x;
      }
    }
  }

 private:
  // SSIM of rows [top, top + kSide) and of a block's pixels, kRadius to the left, and its gradients by the blurs.
  void forward(int top, int block) {
    Place place{top - kRadius, block * kWide, kSpan};
    copy_block(image, n, height, place, s.inputs[0]);
    copy_block(target, n, height, place, s.inputs[1]);
    multiply(s.inputs);
    for (int m = 0; m < kMoments; m++) {
      blur_across_rows(window, s.inputs[m], s.rows[0]);
      transpose(s.rows[0], s.moment);
      blur_along_rows(window, s.moments_before[m], s.moment, s.columns[m]);
    }
    int first = block * kWide - kRadius * kChannels;
    ssim(std::max(0, -first), std::min(kWide, n - first));
  }

  // Gradients of SSIM by the blurs of x (by half of it), of x^2 (its negative) and of x y (half of it), each but for
  // powers of the window's gain; of the block's columns from `begin` on, the others are outside the image.
  void ssim(int begin, int end) {
    for (int slope = 0; slope < kSlopes; slope++) {
      std::fill(s.slopes[slope][0], s.slopes[slope][begin], Real(0));
      std::fill(s.slopes[slope][std::max(begin, end)], s.slopes[slope][kWide], Real(0));
    }
    const Real gain = window.gain, c1 = gain * gain * Real(0.01 * 0.01), c2 = gain * gain * Real(0.03 * 0.03);
    const Reg one = reg_set(1), two = reg_set(2);
    const Reg g = reg_set(gain), two_g = reg_set(2 * gain);
    const Reg more_g = reg_set(window.more_gain), two_more_g = reg_set(2 * window.more_gain);
    const Reg k1 = reg_set(c1), k2 = reg_set(c2);
    for (int k = 0; k < kSide; k += kRegLanes) {
      Reg sum = reg_set(0);
      for (int j = begin; j < end; j++) {
        Reg u = reg_load(s.columns[0][j] + k), v = reg_load(s.columns[1][j] + k);
        Reg squares = reg_load(s.columns[2][j] + k), product = reg_load(s.columns[3][j] + k);
        Reg two_uv = two * u * v, energy = fma(u, u, v * v);
        Reg luminance = two_uv + k1, structure = k2 - fnma(two_more_g, product, fnma(two_g, product, two_uv));
        Reg steady = energy + k1, variance = k2 - fnma(more_g, squares, fnma(g, squares, energy));
        Reg inv = reciprocal(steady * variance);
        Reg inv_variance = inv * steady, ssim = luminance * structure * inv;
        sum = sum + (one - ssim);
        reg_store(s.slopes[0][j] + k,
                  fma(v * (structure - luminance), inv, u * ssim * fnma(inv, variance, inv_variance)));
        reg_store(s.slopes[1][j] + k, ssim * inv_variance);
        reg_store(s.slopes[2][j] + k, luminance * inv);
      }
      Real lanes[kRegLanes];
      reg_store(lanes, sum);
      for (int l = 0; l < kRegLanes; l++) s.dssim[k + l] += lanes[l];
    }
  }

  // The gradient of rows and pixels kRadius behind those of `forward`.
  void backward(int top, int block, int begin, int end) {
    for (int m = 0; m < kSlopes; m++) {
      blur_along_rows(window, s.slopes_before[m], s.slopes[m], s.columns[m]);
      transpose_back(s.columns[m], s.rows[m]);
      for (int k = 0; k < std::min(kSide, -top); k++) std::fill_n(s.rows[m][k], kWide, Real(0));
      for (int k = std::max(0, height - top); k < kSide; k++) std::fill_n(s.rows[m][k], kWide, Real(0));
      auto kept = reinterpret_cast<Real(*)[kWide]>(above + (block * kSlopes + m) * kHalo * kWide);
      blur_across_bands(window, kept, s.rows[m]);
    }
    Place place{top - kRadius, block * kWide - kHalo * kChannels, kSide};
    if (place.row >= begin && place.row + kSide <= end && place.inside(n, height)) {
      size_t at = static_cast<size_t>(place.row) * n + place.x;
      write(image + at, target + at, gradient + at, n, 0, kSide);
      return;
    }
    copy_block(image, n, height, place, s.image_behind);
    copy_block(target, n, height, place, s.target_behind);
    int first = std::max(0, begin - place.row), last = std::min(kSide, end - place.row);
    write(s.image_behind[0], s.target_behind[0], s.gradient[0], kWide, first, last);
    int left = std::max(0, -place.x), right = std::min(kWide, n - place.x);
    for (int k = first; k < last && left < right; k++) {
      Real* to = gradient + static_cast<size_t>(place.row + k) * n + place.x;
      std::copy(s.gradient[k] + left, s.gradient[k] + right, to + left);
    }
  }

  // Rows [first, last) of a block's gradient; `step` is that of the three arrays from row to row.
  void write(const Real* x, const Real* y, Real* out, int step, int first, int last) {
    const Real scale = Real(1) / (static_cast<Real>(n) * static_cast<Real>(height));
    const Reg l1_scale = reg_set((1 - dssim_weight) * scale), none = reg_set(0);
    const Reg by_mean = reg_set(-2 * dssim_weight * scale), by_rest = reg_set(-2 * dssim_weight * scale * window.gain);
    for (int k = first; k < last; k++) {
      Reg sum = reg_load(s.l1[k]);
      size_t row = static_cast<size_t>(k) * step;
      prefetch_row<true>(out + row + kWide);
      for (int j = 0; j < kWide; j += kRegLanes) {
        Reg a = reg_load(x + row + j), b = reg_load(y + row + j), difference = a - b;
        sum = sum + max(difference, none - difference);
        Reg sign = keep(difference > none, l1_scale) - keep(none > difference, l1_scale);
        Reg mean = reg_load(s.rows[0][k] + j), square = reg_load(s.rows[1][k] + j);
        Reg rest = fnma(a, square, b * reg_load(s.rows[2][k] + j));
        reg_store(out + row + j, fma(by_mean, mean, fma(by_rest, rest, sign)));
      }
      reg_store(s.l1[k], sum);
    }
  }
};

}  // namespace

double l1_dssim(LossWorkspace& workspace, const Real* image, const Real* target, int width, int height,
                Real dssim_weight, Real* gradient, int threads) {
  const Window window;
  const int n = width * kChannels;
  const int strips = threads > 1 ? std::max(1, std::min(2 * threads, height / kShortestStrip)) : 1;
  const int length = (height + strips - 1) / strips;
  const size_t blocks = (n + kHalo * kChannels + kWide - 1) / kWide;
  const size_t scratch_size = sizeof(Scratch) / sizeof(Real) + blocks * kSlopes * kHalo * kWide;
  Real* scratch = workspace.scratch.resize(scratch_size * std::max(1, threads));
  double* sums = workspace.sums.resize(2 * static_cast<size_t>(height));

  parallel_for(strips, 1, threads, [&](int begin, int end, int worker) {
    Real* own = scratch + worker * scratch_size;
    auto* above = own + sizeof(Scratch) / sizeof(Real);
    Strip strip{window, image, target, gradient, n, height, dssim_weight, *new (own) Scratch, above, sums};
    strip.run(begin * length, std::min(height, end * length));
  });
  double dssim = 0.0, l1 = 0.0;
  for (int row = 0; row < height; row++) {
    dssim += sums[row];
    l1 += sums[height + row];
  }
  double count = static_cast<double>(height) * n, w = dssim_weight;
  return ((1.0 - w) * l1 + w * dssim) / count;
}

}  // namespace headsplat
