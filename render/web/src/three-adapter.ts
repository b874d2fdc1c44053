// An avatar in a three.js scene; three itself is handed in, so that a page has only its own copy.
import type * as Three from "three";
import type { Avatar } from "./avatar";
import { FRAGMENT, quadCorners, ROW, textureRows, VERTEX } from "./shaders";

type ThreeModule = typeof Three;

/**
 * A mesh that shows an avatar, in metres, with the face towards +z and the point between the eyes at the origin.
 *
 * Colours are written as they are stored (sRGB), as three does last; other objects hide it and it hides none.
 */
export class AvatarObject {
  readonly mesh: Three.Mesh;
  private readonly texture: Three.DataTexture;
  private readonly staged: Float32Array<ArrayBuffer>;
  private readonly inner: Three.Group;
  private waiting = false;
  private spare: ArrayBuffer | null = null;

  constructor(private readonly three: ThreeModule, private readonly avatar: Avatar, readonly group = new three.Group()) {
    const count = avatar.manifest.gaussians, rows = textureRows(count);
    this.staged = new Float32Array(4 * ROW * rows);
    this.texture = new three.DataTexture(this.staged, ROW, rows, three.RGBAFormat, three.FloatType);
    const geometry = new three.BufferGeometry();
    geometry.setIndex(new three.BufferAttribute(quadCorners(count), 1));
    const uniforms = {
      splats: { value: this.texture }, view: { value: new three.Matrix4() }, projection: { value: new three.Matrix4() },
      size: { value: new three.Vector2(1, 1) },
    };
    const material = new three.RawShaderMaterial({
      glslVersion: three.GLSL3, vertexShader: VERTEX, fragmentShader: FRAGMENT, uniforms, transparent: true,
      depthWrite: false, side: three.DoubleSide, toneMapped: false, blending: three.CustomBlending,
      blendSrc: three.OneFactor, blendDst: three.OneMinusSrcAlphaFactor,
    });
    this.mesh = new three.Mesh(geometry, material);
    this.mesh.frustumCulled = false;
    const viewport = new three.Vector4();
    this.mesh.onBeforeRender = (renderer, _, camera) => {
      renderer.getCurrentViewport(viewport);
      uniforms.size.value.set(viewport.z, viewport.w);
      uniforms.view.value.multiplyMatrices(camera.matrixWorldInverse, this.mesh.matrixWorld);
      uniforms.projection.value.copy(camera.projectionMatrix);
      material.uniformsNeedUpdate = true;
    };
    const [x, y, z] = avatar.manifest.center;
    this.inner = new three.Group();
    this.inner.position.set(-x, -y, -z);
    this.inner.add(this.mesh);
    group.add(this.inner);
  }

  /** Brings the avatar up to date and sorts it for a camera; call it in every frame. Resolves once that is done. */
  async update(camera: Three.Camera): Promise<void> {
    if (this.waiting) return;
    this.waiting = true;
    try {
      this.group.updateWorldMatrix(true, true);
      camera.updateWorldMatrix(true, false);
      const back = this.mesh.matrixWorld.clone().invert();
      const eye = new this.three.Vector3().setFromMatrixPosition(camera.matrixWorld).applyMatrix4(back);
      const ahead = new this.three.Vector3(0, 0, -1).transformDirection(camera.matrixWorld).transformDirection(back);
      const frame = await this.avatar.splats([ahead.x, ahead.y, ahead.z], [eye.x, eye.y, eye.z], this.spare);
      this.staged.set(new Float32Array(frame.content));
      this.spare = frame.content;
      this.texture.needsUpdate = true;
    } finally {
      this.waiting = false;
    }
  }

  dispose(): void {
    this.texture.dispose();
    this.mesh.geometry.dispose();
    (this.mesh.material as Three.Material).dispose();
  }
}
