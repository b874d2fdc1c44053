// The player: `Avatar` for pages; in a worker the same file deforms, sorts and draws.
import { serve, WORKER_NAME } from "./worker";

export { Avatar, type AvatarOptions } from "./avatar";
export { type Camera, type Orbit, openglMatrices, orbitCamera } from "./camera";
export { type Coefficients, type Pose } from "./coefficients";
export { Engine } from "./engine";
export { PlayerError } from "./errors";
export { checkedData, type Manifest, parseManifest } from "./manifest";
export { LiveInput } from "./live";
export { Playback, Track } from "./track";
export { WebglRenderer } from "./webgl";
export { followWebcam, type Webcam } from "./webcam";
export { enterXR, supportedXR } from "./xr";

const scope = globalThis as unknown as DedicatedWorkerGlobalScope;
if (typeof window === "undefined" && scope.name === WORKER_NAME) serve(scope);
