// The C interface: plain pointers to contiguous arrays (of Real for renders, of float for the rest), a status for every
// call, no Python and no torch.
#include <cmath>
#include <new>

#include "adam.h"
#include "blend.h"
#include "project.h"
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

using headsplat::Real;

// colors: count x channels; background: channels, or null; image: height x width x channels.
HEADSPLAT_API int headsplat_render(void* state_pointer, int count, int channels, const Real* means, const Real* quats,
                                   const Real* scales, const Real* opacities, const Real* colors, const Real* viewmat,
                                   const Real* K, int width, int height, double near, double eps2d, double alpha_max,
                                   const Real* background, Real* image, Real* alpha, int threads) {
  using namespace headsplat;
  return guarded([&] {
    RenderState& state = *static_cast<RenderState*>(state_pointer);
    state.camera = make_camera(viewmat, K, width, height);
    state.settings = {static_cast<Real>(near), static_cast<Real>(eps2d), static_cast<Real>(alpha_max)};
    state.tiles_x = (width + kTile - 1) / kTile;
    state.tiles_y = (height + kTile - 1) / kTile;
    for (int k = 0; background && k < channels; k++) {
      if (!std::isfinite(background[k])) return kNotFinite;
    }
    if (!project({count, means, quats, scales, opacities, colors, channels}, state, threads)) return kNotFinite;
    if (!build_tiles(state, threads)) return kTooManyIntersections;
    blend(state, colors, background, image, alpha, threads);
    return kOk;
  });
}

// The state must be the one headsplat_render left; the Gaussians, image and alpha those of that call.
HEADSPLAT_API int headsplat_render_backward(void* state_pointer, int count, int channels, const Real* means,
                                            const Real* quats, const Real* scales, const Real* opacities,
                                            const Real* colors, const Real* image, const Real* alpha,
                                            const Real* v_image, const Real* v_alpha, Real* v_means, Real* v_quats,
                                            Real* v_scales, Real* v_opacities, Real* v_colors, Real* v_viewmat,
                                            int threads) {
  using namespace headsplat;
  return guarded([&] {
    RenderState& state = *static_cast<RenderState*>(state_pointer);
    blend_backward(state, colors, image, alpha, v_image, v_alpha, threads);
    project_backward({count, means, quats, scales, opacities, colors, channels}, state,
                     {v_means, v_quats, v_scales, v_opacities, v_colors, v_viewmat}, threads);
    return kOk;
  });
}

HEADSPLAT_API void* headsplat_loss_new() { return new (std::nothrow) headsplat::LossWorkspace; }
HEADSPLAT_API void headsplat_loss_free(void* workspace) { delete static_cast<headsplat::LossWorkspace*>(workspace); }

HEADSPLAT_API int headsplat_l1_dssim(void* workspace, const float* image, const float* target, int width, int height,
                                     float dssim_weight, float* gradient, double* loss, int threads) {
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
