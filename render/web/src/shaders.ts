// How Gaussians lie in a texture, and the shaders that draw them from it: a quad each, found by gl_VertexID.

/** Of one Gaussian in world space: centre and colour; covariance xx xy xz yy yz zz; two unused. */
export const WORLD_FLOATS = 12;
// Three texels hold a Gaussian, and so a row of this many texels holds whole ones.
const TEXELS = WORLD_FLOATS / 4;
export const ROW = 340 * TEXELS;

export const VERTEX = `precision highp float;
precision highp int;
uniform highp sampler2D splats;
uniform mat4 view, projection;
uniform vec2 size;
out vec2 place;
flat out vec4 tint;
const float LOWEST = 1.0 / 255.0;

void main() {
  int index = ${TEXELS} * (gl_VertexID >> 2);
  ivec2 texel = ivec2(index % ${ROW}, index / ${ROW});
  vec4 first = texelFetch(splats, texel, 0);
  vec4 s = texelFetch(splats, texel + ivec2(1, 0), 0);
  vec2 rest = texelFetch(splats, texel + ivec2(2, 0), 0).xy;
  uint color = floatBitsToUint(first.w);
  tint = vec4(color & 255u, (color >> 8) & 255u, (color >> 16) & 255u, color >> 24) / 255.0;
  vec4 center = view * vec4(first.xyz, 1.0);
  place = vec2(0.0);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  if (center.z > -0.01 || tint.a < LOWEST) return;
  // Axes of the picture: x to the right, y upwards, the depth is -z.
  float inverse = -1.0 / center.z;
  vec2 focal = vec2(projection[0][0], projection[1][1]) * 0.5 * size;
  vec2 middle = vec2(projection[2][0], projection[2][1]);
  vec2 slope = center.xy * inverse;
  vec2 reach = 1.3 / vec2(projection[0][0], projection[1][1]);
  vec2 shift = middle / vec2(projection[0][0], projection[1][1]);
  vec2 bounded = clamp(slope, shift - reach, shift + reach);
  mat3 turn = transpose(mat3(view));
  vec3 a = turn * vec3(focal.x * inverse, 0.0, focal.x * inverse * bounded.x);
  vec3 b = turn * vec3(0.0, focal.y * inverse, focal.y * inverse * bounded.y);
  mat3 spread = mat3(s.x, s.y, s.z, s.y, s.w, rest.x, s.z, rest.x, rest.y);
  vec3 sa = spread * a, sb = spread * b;
  float xx = dot(a, sa) + 0.3, xy = dot(a, sb), yy = dot(b, sb) + 0.3;
  // The ellipse where alpha falls below a byte's step, by its axes.
  float half_sum = 0.5 * (xx + yy);
  float gap = length(vec2(0.5 * (xx - yy), xy));
  float large = half_sum + gap, small = max(half_sum - gap, 0.01);
  vec2 axis = abs(xy) > 1e-6 * large ? normalize(vec2(xy, large - xx)) : xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0);
  vec2 corner = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0;
  place = corner * sqrt(2.0 * log(tint.a / LOWEST));
  vec2 pixels = axis * place.x * sqrt(large) + vec2(-axis.y, axis.x) * place.y * sqrt(small);
  vec4 clip = projection * center;
  gl_Position = vec4(clip.xy + pixels * 2.0 / size * clip.w, clip.zw);
}`;

export const FRAGMENT = `precision highp float;
in vec2 place;
flat in vec4 tint;
out vec4 color;
void main() {
  float alpha = min(0.999, tint.a * exp(-0.5 * dot(place, place)));
  if (alpha < 1.0 / 255.0) discard;
  color = vec4(tint.rgb * alpha, alpha);
}`;

/** Rows of the texture that holds that many Gaussians. */
export function textureRows(count: number): number {
  return Math.max(1, Math.ceil((count * TEXELS) / ROW));
}

/** Indices of two triangles for each Gaussian; an index says which Gaussian and which corner. */
export function quadCorners(count: number): Uint32Array {
  const result = new Uint32Array(6 * count);
  for (let i = 0; i < count; i++) result.set([4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 2, 4 * i + 1, 4 * i + 3], 6 * i);
  return result;
}
