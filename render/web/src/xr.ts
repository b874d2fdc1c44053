// WebXR: the avatar stands before the viewer, at eye height, in a headset or before the camera of a phone.
import { type Avatar } from "./avatar";
import { dot, multiplied, normalized, type Vector } from "./camera";
import { WebglRenderer } from "./webgl";

export type Mode = "immersive-vr" | "immersive-ar";
const AWAY = 1.0;

/** The sessions that this browser and machine can hold. */
export async function supportedXR(): Promise<Mode[]> {
  if (!navigator.xr) return [];
  const modes: Mode[] = ["immersive-vr", "immersive-ar"];
  const found = await Promise.all(modes.map((mode) => navigator.xr!.isSessionSupported(mode).catch(() => false)));
  return modes.filter((_, i) => found[i]);
}

/** Where the avatar stands: the point between its eyes, and its turn about the vertical. */
export interface Standing {
  place: Vector;
  yaw: number;
}

/**
 * Shows the avatar in an XR session until that ends; resolves once it has begun. A click of the controller, or a touch
 * of the screen, puts the avatar where it points.
 */
export async function enterXR(avatar: Avatar, mode: Mode): Promise<XRSession> {
  const session = await navigator.xr!.requestSession(mode, { optionalFeatures: ["local-floor"] });
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, xrCompatible: true })!;
  await gl.makeXRCompatible?.();
  const layer = new XRWebGLLayer(session, gl, { antialias: false });
  await session.updateRenderState({ baseLayer: layer, depthNear: 0.05, depthFar: 50 });
  const space = await session.requestReferenceSpace("local-floor").catch(() => session.requestReferenceSpace("local"));
  const renderer = new WebglRenderer(gl, avatar.manifest.gaussians);
  const eyeContact = avatar.eyeContact;
  avatar.eyeContact = true;
  avatar.paused = true;
  let standing: Standing | null = null;
  let waiting = false, ready = false, over = false;
  let spare: ArrayBuffer | null = null;

  session.addEventListener("select", (event) => {
    const ray = event.frame.getPose(event.inputSource.targetRaySpace, space);
    const viewer = event.frame.getViewerPose(space);
    if (ray && viewer) standing = standingBefore(viewer.transform, ray.transform);
  });
  session.addEventListener("end", () => {
    over = true;
    renderer.dispose();
    avatar.eyeContact = eyeContact;
    avatar.paused = false;
  });

  const onFrame = (_: number, frame: XRFrame) => {
    if (over) return;
    session.requestAnimationFrame(onFrame);
    const viewer = frame.getViewerPose(space);
    if (!viewer) return;
    standing ??= standingBefore(viewer.transform, viewer.transform);
    const model = modelMatrix(standing, avatar.manifest.center);
    if (!waiting) {
      waiting = true;
      // Sorted once from the middle of the eyes: they are too close together to see things in another order.
      const { forward, eye } = inModel(model, viewer.transform);
      avatar.splats(forward, eye, spare).then((made) => {
        if (over) return;
        renderer.update(new Float32Array(made.content));
        spare = made.content;
        ready = true;
        avatar.onFrame?.(made);
      }).finally(() => { waiting = false; }).catch((error) => avatar.onError?.(error));
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, layer.framebuffer);
    gl.clearColor(0, 0, 0, 0);
    if (mode === "immersive-vr") gl.clearColor(0.075, 0.086, 0.102, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!ready) return;
    renderer.draw(viewer.views.map((view) => ({
      view: multiplied(view.transform.inverse.matrix, model), projection: view.projectionMatrix,
      viewport: layer.getViewport(view)!,
    })), false);
  };
  session.requestAnimationFrame(onFrame);
  return session;
}

/** A place one metre along a ray, at the viewer's eye height, turned to the viewer. */
function standingBefore(viewer: XRRigidTransform, ray: XRRigidTransform): Standing {
  const m = ray.matrix, { x, y, z } = viewer.position;
  const [ax, , az] = normalized([-m[8], 0, -m[10]]);
  const place: Vector = [ray.position.x + AWAY * ax, y, ray.position.z + AWAY * az];
  return { place, yaw: Math.atan2(x - place[0], z - place[2]) };
}

/** From the avatar's own space to the room's, column by column. */
export function modelMatrix({ place, yaw }: Standing, center: Vector): Float32Array {
  const cosine = Math.cos(yaw), sine = Math.sin(yaw);
  const [x, y, z] = center;
  return new Float32Array([
    cosine, 0, -sine, 0, 0, 1, 0, 0, sine, 0, cosine, 0,
    place[0] - cosine * x - sine * z, place[1] - y, place[2] + sine * x - cosine * z, 1,
  ]);
}

/** Where the viewer is and looks, in the avatar's own space. */
function inModel(model: Float32Array, viewer: XRRigidTransform): { forward: Vector; eye: Vector } {
  const columns = [0, 4, 8].map((at) => Array.from(model.slice(at, at + 3)));
  const m = viewer.matrix;
  const away = [m[12] - model[12], m[13] - model[13], m[14] - model[14]];
  return {
    forward: columns.map((column) => -dot(column, [m[8], m[9], m[10]])) as Vector,
    eye: columns.map((column) => dot(column, away)) as Vector,
  };
}
