// Calls every costly function of the native library once, on one thread, for valgrind to count their instructions.
//
//   driver LIBRARY SCENE SIZE
//
// SCENE holds float32 arrays one after the other, as bm_instructions.py writes them: a head-like scene, a gradient of
// its image, a picture to compare with, what makes the scene ride on triangles, and weights of corrections.
// signatures.h is made from the table in avatar.render._native, so a change of the interface that this file does not
// follow fails to compile; the structures come from the library's own header.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "rig.h"
#include "signatures.h"

namespace {

constexpr size_t kComponents = 16;  // of the expression, which the corrections of a Gaussian are weighted by

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "driver: %s\n", what);
  std::exit(1);
}

template <class Function>
Function* find(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (!symbol) fail(dlerror());
  return reinterpret_cast<Function*>(symbol);
}

// Hands out the arrays of the scene in the order in which they were written.
class Reader {
 public:
  explicit Reader(const char* path) : file_(path, std::ios::binary) {}

  template <class T = float>
  std::vector<T> read(size_t count) {
    std::vector<T> values(count);
    file_.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
    if (!file_) fail("the scene is too short");
    return values;
  }

 private:
  std::ifstream file_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) fail("usage: driver LIBRARY SCENE SIZE");
  void* library = dlopen(argv[1], RTLD_NOW);
  if (!library) fail(dlerror());
  const int size = std::atoi(argv[3]), threads = 1;
  const size_t pixels = static_cast<size_t>(size) * size;

  Reader scene(argv[2]);
  const int n = static_cast<int>(scene.read(1)[0]);
  auto means = scene.read(3 * n), quats = scene.read(4 * n), scales = scene.read(3 * n), opacities = scene.read(n),
       colors = scene.read(3 * n), viewmat = scene.read(16), K = scene.read(9), v_image = scene.read(3 * pixels),
       target = scene.read(3 * pixels);
  auto corners = scene.read<int32_t>(3 * n);
  auto barycentric = scene.read(3 * n), rest_sizes = scene.read(n), log_scales = scene.read(3 * n),
       opacity_logits = scene.read(n), color_logits = scene.read(3 * n), weights = scene.read(kComponents);
  std::vector<float> background(3), image(3 * pixels), alpha(pixels), v_alpha(pixels), gradient(3 * pixels);
  std::vector<float> v_means(3 * n), v_quats(4 * n), v_scales(3 * n), v_opacities(n), v_colors(3 * n), v_viewmat(16);

  void* state = find<headsplat_state_new_t>(library, "headsplat_state_new")();
  int status = find<headsplat_render_t>(library, "headsplat_render")(
      state, n, 3, means.data(), quats.data(), scales.data(), opacities.data(), colors.data(), viewmat.data(), K.data(),
      size, size, 0.01, 0.3, 0.999, background.data(), image.data(), alpha.data(), threads);
  if (status) fail("headsplat_render failed");
  status = find<headsplat_render_backward_t>(library, "headsplat_render_backward")(
      state, n, 3, means.data(), quats.data(), scales.data(), opacities.data(), colors.data(), image.data(),
      alpha.data(), v_image.data(), v_alpha.data(), v_means.data(), v_quats.data(), v_scales.data(), v_opacities.data(),
      v_colors.data(), v_viewmat.data(), threads);
  if (status) fail("headsplat_render_backward failed");

  std::vector<float> offsets(3 * n), residual(headsplat::kResiduals * n), units(headsplat::kResiduals * n, 1.f);
  headsplat::RiggedGaussians rigged{n,
                                    n,
                                    means.data(),
                                    corners.data(),
                                    barycentric.data(),
                                    rest_sizes.data(),
                                    offsets.data(),
                                    log_scales.data(),
                                    quats.data(),
                                    opacity_logits.data(),
                                    color_logits.data(),
                                    residual.data(),
                                    units.data(),
                                    0.5f,
                                    2.f};
  status = find<headsplat_render_rigged_t>(library, "headsplat_render_rigged")(
      state, &rigged, viewmat.data(), K.data(), size, size, 0.01, 0.3, 0.999, background.data(), image.data(),
      alpha.data(), threads);
  if (status) fail("headsplat_render_rigged failed");
  std::vector<float> v_residual(residual.size()), v_offsets(3 * n);
  headsplat::RiggedGradients gradients{v_offsets.data(), v_scales.data(),   v_quats.data(), v_opacities.data(),
                                       v_colors.data(),  v_residual.data(), nullptr,        false};
  status = find<headsplat_render_rigged_backward_t>(library, "headsplat_render_rigged_backward")(
      state, &rigged, image.data(), alpha.data(), v_image.data(), v_alpha.data(), &gradients, v_means.data(),
      v_viewmat.data(), threads);
  if (status) fail("headsplat_render_rigged_backward failed");
  find<headsplat_state_free_t>(library, "headsplat_state_free")(state);

  double loss = 0;
  void* workspace = find<headsplat_loss_new_t>(library, "headsplat_loss_new")();
  status = find<headsplat_l1_dssim_t>(library, "headsplat_l1_dssim")(workspace, image.data(), target.data(), size, size,
                                                                     0.2f, gradient.data(), &loss, threads);
  if (status) fail("headsplat_l1_dssim failed");
  find<headsplat_loss_free_t>(library, "headsplat_loss_free")(workspace);

  const size_t corrections = v_residual.size() * weights.size();
  std::vector<float> param(corrections), mean(corrections), square(corrections);
  find<headsplat_adam_t>(library, "headsplat_adam")(colors.data(), v_colors.data(), mean.data(), square.data(),
                                                    static_cast<int64_t>(colors.size()), 1e-3f, 0.999f, 1e-15f, 0.1f,
                                                    0.001f, 0.1f, 0.001f, threads);
  find<headsplat_adam_outer_t>(library, "headsplat_adam_outer")(
      param.data(), v_residual.data(), weights.data(), static_cast<int>(weights.size()), mean.data(), square.data(),
      static_cast<int64_t>(corrections), 1e-3f, 0.999f, 1e-15f, 0.1f, 0.001f, 0.1f, 0.001f, threads);

  std::vector<uint8_t> bytes(3 * pixels);
  find<headsplat_compose_t>(library, "headsplat_compose")(image.data(), alpha.data(), target.data(), 0, bytes.data(),
                                                          static_cast<int64_t>(pixels), threads);
  return 0;
}
