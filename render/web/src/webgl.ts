// Draws sorted Gaussians on a GPU: a quad each, found by gl_VertexID in a texture that the worker fills every frame.
import { WORLD_FLOATS } from "./engine";
import { PlayerError } from "./errors";

// Three texels hold a Gaussian, and so a row of this many texels holds whole ones.
const TEXELS = WORLD_FLOATS / 4;
const ROW = 340 * TEXELS;

const VERTEX = `#version 300 es
precision highp float;
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

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 place;
flat in vec4 tint;
out vec4 color;
void main() {
  float alpha = min(0.999, tint.a * exp(-0.5 * dot(place, place)));
  if (alpha < 1.0 / 255.0) discard;
  color = vec4(tint.rgb * alpha, alpha);
}`;

export interface View {
  /** World to camera and camera to clip space, column by column. */
  view: Float32Array;
  projection: Float32Array;
  viewport: { x: number; y: number; width: number; height: number };
}

export class WebglRenderer {
  private readonly program: WebGLProgram;
  private readonly places: Record<string, WebGLUniformLocation | null> = {};
  private readonly texture: WebGLTexture;
  private readonly quads: WebGLVertexArrayObject;
  private readonly rows: number;
  private readonly staged: Float32Array;

  constructor(readonly gl: WebGL2RenderingContext, private readonly count: number) {
    this.program = linked(gl);
    for (const name of ["splats", "view", "projection", "size"]) {
      this.places[name] = gl.getUniformLocation(this.program, name);
    }
    this.rows = Math.max(1, Math.ceil((count * TEXELS) / ROW));
    this.staged = new Float32Array(ROW * this.rows * 4);
    this.texture = gl.createTexture()!;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, ROW, this.rows);
    this.quads = gl.createVertexArray()!;
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, quadCorners(count), gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  /** Takes over Gaussians in world space, the farthest first. */
  update(splats: Float32Array): void {
    const { gl } = this;
    this.staged.set(splats);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, this.rows, gl.RGBA, gl.FLOAT, this.staged);
  }

  /** Draws each view into the framebuffer that is bound; colours are premultiplied by alpha. */
  draw(views: View[], clear = true): void {
    const { gl, places } = this;
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.CULL_FACE);
    gl.disable(gl.SCISSOR_TEST);
    gl.depthMask(false);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    if (clear) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
    }
    gl.useProgram(this.program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.uniform1i(places.splats, 0);
    gl.bindVertexArray(this.quads);
    for (const { view, projection, viewport } of views) {
      gl.viewport(viewport.x, viewport.y, viewport.width, viewport.height);
      gl.uniformMatrix4fv(places.view, false, view);
      gl.uniformMatrix4fv(places.projection, false, projection);
      gl.uniform2f(places.size, viewport.width, viewport.height);
      gl.drawElements(gl.TRIANGLES, 6 * this.count, gl.UNSIGNED_INT, 0);
    }
    gl.bindVertexArray(null);
  }

  dispose(): void {
    this.gl.deleteTexture(this.texture);
    this.gl.deleteVertexArray(this.quads);
    this.gl.deleteProgram(this.program);
  }
}

function quadCorners(count: number): Uint32Array {
  const result = new Uint32Array(6 * count);
  for (let i = 0; i < count; i++) result.set([4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 2, 4 * i + 1, 4 * i + 3], 6 * i);
  return result;
}

function linked(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new PlayerError("This graphics card cannot draw the avatar.");
  }
  return program;
}

/** Whether WebGL2 is there and runs on a graphics card, not on the processor. */
export function hasGraphicsCard(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return false;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}
