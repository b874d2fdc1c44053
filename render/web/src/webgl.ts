// Draws sorted Gaussians on a GPU, from a texture that the worker fills every frame.
import { PlayerError } from "./errors";
import { FRAGMENT, quadCorners, ROW, textureRows, VERTEX } from "./shaders";

const VERSION = "#version 300 es\n";

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
    this.rows = textureRows(count);
    this.staged = new Float32Array(4 * ROW * this.rows);
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

function linked(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, VERSION + source);
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
