// The C interface: plain pointers to contiguous arrays (of Real for renders and the loss, of float for the rest), a
// status for every call, no Python and no torch.
#include <cmath>
#include <new>

#include "adam.h"
#include "blend.h"
#include "compose.h"
#include "plain.h"
#include "project.h"
#include "rig.h"
#include "simd.h"
#include "ssim.h"
#include "tiles.h"

#if defined(_WIN32)
#define HEADSPLAT_API extern "C" __declspec(dllexport)
#else
#define HEADSPLAT_API extern "C" __attribute__((visibility("default")))
#endif

namespace {

enum Status { kOk = 0, kOutOfMemory = 1, kNotFinite = 2, kTooManyIntersections = 3 };

template <class Body>
int guarded(Body body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
}

}  // namespace

HEADSPLAT_API const char* headsplat_isa() { return HEADSPLAT_ISA; }

// The instruction set of the best library this processor and its operating system can run.
HEADSPLAT_API const char* headsplat_best_isa() {
#if defined(__x86_64__)
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vbmi2");
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
              __builtin_cpu_supports("bmi2");
  if (avx512 && avx2) return "avx512";
  if (avx2) return "avx2";
  return "baseline";
#else
  return HEADSPLAT_ISA;
#endif
}

HEADSPLAT_API void* headsplat_state_new() { return new (std::nothrow) headsplat::RenderState; }
HEADSPLAT_API void headsplat_state_free(void* state) { delete static_cast<headsplat::RenderState*>(state); }

namespace {

using namespace headsplat;

// `colors` (N x channels) is read where there are not three channels.
template <class Source>
int render(RenderState& state, const Source& source, const Real* colors, const Real* viewmat, const Real* K, int width,
           int height, const Settings& settings, const Real* background, Real* image, Real* alpha, int threads) {
  state.camera = make_camera(viewmat, K, width, height);
  state.settings = settings;
  state.tiles_x = (width + kTile - 1) / kTile;
  state.tiles_y = (height + kTile - 1) / kTile;
  for (int k = 0; background && k < source.channels(); k++) {
    if (!std::isfinite(background[k])) return kNotFinite;
  }
  if (!project(source, state, threads)) return kNotFinite;
  if (!build_tiles(state, threads)) return kTooManyIntersections;
  blend(state, colors, background, image, alpha, threads);
  return kOk;
}

Settings settings_of(double near, double eps2d, double alpha_max) {
  return {static_cast<Real>(near), static_cast<Real>(eps2d), static_cast<Real>(alpha_max)};
}

}  // namespace

// colors: count x channels; background: channels, or null; image: height x width x channels.
HEADSPLAT_API int headsplat_render(void* state, int count, int channels, const Real* means, const Real* quats,
                                   const Real* scales, const Real* opacities, const Real* colors, const Real* viewmat,
                                   const Real* K, int width, int height, double near, double eps2d, double alpha_max,
                                   const Real* background, Real* image, Real* alpha, int threads) {
  return guarded([&] {
    PlainSource source{count, {count, means, quats, scales, opacities, colors, channels}, {}};
    return render(*static_cast<RenderState*>(state), source, colors, viewmat, K, width, height,
                  settings_of(near, eps2d, alpha_max), background, image, alpha, threads);
  });
}

// The state must be the one headsplat_render left; the Gaussians, image and alpha those of that call.
HEADSPLAT_API int headsplat_render_backward(void* state_pointer, int count, int channels, const Real* means,
                                            const Real* quats, const Real* scales, const Real* opacities,
                                            const Real* colors, const Real* image, const Real* alpha,
                                            const Real* v_image, const Real* v_alpha, Real* v_means, Real* v_quats,
                                            Real* v_scales, Real* v_opacities, Real* v_colors, Real* v_viewmat,
                                            int threads) {
  return guarded([&] {
    RenderState& state = *static_cast<RenderState*>(state_pointer);
    PlainSource source{count,
                       {count, means, quats, scales, opacities, colors, channels},
                       {v_means, v_quats, v_scales, v_opacities, v_colors}};
    blend_backward(state, colors, image, alpha, v_image, v_alpha, threads);
    project_backward(source, state, v_viewmat, threads);
    return kOk;
  });
}

// A structure of pointers, because a call of thirty arguments is easy to get wrong; _native.py mirrors it.
HEADSPLAT_API int headsplat_render_rigged(void* state, const RiggedGaussians* gaussians, const Real* viewmat,
                                          const Real* K, int width, int height, double near, double eps2d,
                                          double alpha_max, const Real* background, Real* image, Real* alpha,
                                          int threads) {
  return guarded([&] {
    return render(*static_cast<RenderState*>(state), RiggedSource{gaussians->count, *gaussians, {}}, nullptr, viewmat,
                  K, width, height, settings_of(near, eps2d, alpha_max), background, image, alpha, threads);
  });
}

// v_vertices (V x 3) and v_viewmat (4 x 4) may be null.
HEADSPLAT_API int headsplat_render_rigged_backward(void* state_pointer, const RiggedGaussians* gaussians,
                                                   const Real* image, const Real* alpha, const Real* v_image,
                                                   const Real* v_alpha, const RiggedGradients* gradients,
                                                   Real* v_vertices, Real* v_viewmat, int threads) {
  return guarded([&] {
    RenderState& state = *static_cast<RenderState*>(state_pointer);
    RiggedSource source{gaussians->count, *gaussians, *gradients};
    if (v_vertices) source.out.corners = state.corner_gradients.resize(static_cast<size_t>(gaussians->count) * 9);
    blend_backward(state, nullptr, image, alpha, v_image, v_alpha, threads);
    project_backward(source, state, v_viewmat, threads);
    if (v_vertices) gather_corners(*gaussians, source.out.corners, v_vertices);
    return kOk;
  });
}

HEADSPLAT_API void* headsplat_loss_new() { return new (std::nothrow) headsplat::LossWorkspace; }
HEADSPLAT_API void headsplat_loss_free(void* workspace) { delete static_cast<headsplat::LossWorkspace*>(workspace); }

HEADSPLAT_API int headsplat_l1_dssim(void* workspace, const Real* image, const Real* target, int width, int height,
                                     float dssim_weight, Real* gradient, double* loss, int threads) {
  using namespace headsplat;
  return guarded([&] {
    *loss = l1_dssim(*static_cast<LossWorkspace*>(workspace), image, target, width, height, dssim_weight, gradient,
                     threads);
    return kOk;
  });
}

HEADSPLAT_API void headsplat_adam(float* param, const float* gradient, float* mean, float* square, int64_t count,
                                  float lr, float beta2, float eps, float gain1, float gain2, float correction1,
                                  float correction2, int threads) {
  headsplat::adam_step({param, gradient, mean, square, count}, {lr, beta2, eps, gain1, gain2, correction1, correction2},
                       threads);
}

// The gradient is rows (count / width) times columns (width).
HEADSPLAT_API void headsplat_adam_outer(float* param, const float* rows, const float* columns, int width, float* mean,
                                        float* square, int64_t count, float lr, float beta2, float eps, float gain1,
                                        float gain2, float correction1, float correction2, int threads) {
  headsplat::adam_step_outer({param, nullptr, mean, square, count}, rows, columns, width,
                             {lr, beta2, eps, gain1, gain2, correction1, correction2}, threads);
}

HEADSPLAT_API void headsplat_compose(const float* image, const float* alpha, const float* background, int one_color,
                                     uint8_t* bytes, int64_t pixels, int threads) {
  headsplat::compose({image, alpha, background, one_color != 0, bytes, pixels}, threads);
}
