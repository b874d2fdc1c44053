// Renders a scene from standard input and writes image, alpha and gradients to standard output, so that a build for
// another processor can run under an emulator; then the gradient of the loss between as many of the
// first numbers of v_image and image as three channels have. All numbers are native: six integers, then floats.
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <vector>

extern "C" {
const char* headsplat_isa();
void* headsplat_state_new();
int headsplat_render(void*, int, int, const float*, const float*, const float*, const float*, const float*,
                     const float*, const float*, int, int, double, double, double, const float*, float*, float*, int);
int headsplat_render_backward(void*, int, int, const float*, const float*, const float*, const float*, const float*,
                              const float*, const float*, const float*, const float*, float*, float*, float*, float*,
                              float*, float*, int);
void* headsplat_loss_new();
int headsplat_l1_dssim(void*, const float*, const float*, int, int, float, float*, double*, int);
}

int main() {
  int size[4];  // Gaussians, channels, width, height
  if (std::fread(size, sizeof(int), 4, stdin) != 4) return 1;
  const int n = size[0], channels = size[1], width = size[2], height = size[3];
  const size_t count = static_cast<size_t>(n), pixels = static_cast<size_t>(width) * height;
  std::vector<std::vector<float>> in;
  for (size_t length : {3 * count, 4 * count, 3 * count, count, channels * count, size_t{16}, size_t{9},
                        static_cast<size_t>(channels), channels * pixels, pixels}) {
    in.emplace_back(length);
    if (std::fread(in.back().data(), sizeof(float), length, stdin) != length) return 1;
  }
  std::vector<std::vector<float>> out;
  for (size_t length :
       {channels * pixels, pixels, 3 * count, 4 * count, 3 * count, count, channels * count, size_t{16}, 3 * pixels})
    out.emplace_back(length);
  auto i = [&](int k) { return in[k].data(); };
  auto o = [&](int k) { return out[k].data(); };
  void* state = headsplat_state_new();
  if (headsplat_render(state, n, channels, i(0), i(1), i(2), i(3), i(4), i(5), i(6), width, height, 0.01, 0.3, 0.999,
                       i(7), o(0), o(1), 2))
    return 2;
  if (headsplat_render_backward(state, n, channels, i(0), i(1), i(2), i(3), i(4), o(0), o(1), i(8), i(9), o(2), o(3),
                                o(4), o(5), o(6), o(7), 2))
    return 3;
  double loss = 0;
  if (headsplat_l1_dssim(headsplat_loss_new(), i(8), o(0), width, height, 0.2f, o(8), &loss, 2)) return 4;
  std::fputs(headsplat_isa(), stderr);
  for (const auto& values : out) std::fwrite(values.data(), sizeof(float), values.size(), stdout);
  return 0;
}
