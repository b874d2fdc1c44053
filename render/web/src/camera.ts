// Cameras in the Python package's convention: +x right, +y down, +z forward, pixels.

export interface Camera {
  /** World to camera, 4 x 4, row by row. */
  view: ArrayLike<number>;
  fx: number;
  fy: number;
  cx: number;
  cy: number;
  width: number;
  height: number;
}

export type Vector = [number, number, number];

const TALL_ZOOM = 1.45;
const SHOULDERS = 0.5;

/** A camera on a sphere around a point; yaw to the subject's left and pitch upwards, radians. */
export interface Orbit {
  center: Vector;
  distance: number;
  yaw: number;
  pitch: number;
  /** Focal length over the shorter side of the picture. */
  focal: number;
  /** How far the picture is moved, in its shorter side. */
  shift: [number, number];
}

export function orbitCamera(orbit: Orbit, width: number, height: number): Camera {
  // A tall picture is filled with more of the face, and shoulders reach down to its edge.
  const zoom = Math.min(Math.sqrt(Math.max(height / width, 1)), TALL_ZOOM);
  const side = Math.min(width, height) * zoom;
  const f = orbit.focal * side, lower = Math.max(0, height / 2 - SHOULDERS * side);
  return {
    view: orbitView(orbit), fx: f, fy: f, width, height,
    cx: width / 2 + orbit.shift[0] * side, cy: height / 2 + orbit.shift[1] * side + lower,
  };
}

export function orbitEye({ center, distance, yaw, pitch }: Orbit): Vector {
  return [
    center[0] + distance * Math.sin(yaw) * Math.cos(pitch),
    center[1] + distance * Math.sin(pitch),
    center[2] + distance * Math.cos(yaw) * Math.cos(pitch),
  ];
}

function orbitView(orbit: Orbit): number[] {
  const eye = orbitEye(orbit);
  const forward = normalized([0, 1, 2].map((i) => orbit.center[i] - eye[i]) as Vector);
  const right = normalized(cross(forward, [0, 1, 0]));
  const down = cross(forward, right);
  return [...[right, down, forward].flatMap((row) => [...row, -dot(row, eye)]), 0, 0, 0, 1];
}

/** Column-major OpenGL matrices of a camera. */
export function openglMatrices(camera: Camera, near = 0.01, far = 100): { view: Float32Array; projection: Float32Array } {
  const { view: v, fx, fy, cx, cy, width, height } = camera;
  return {
    view: new Float32Array([
      v[0], -v[4], -v[8], 0, v[1], -v[5], -v[9], 0, v[2], -v[6], -v[10], 0, v[3], -v[7], -v[11], 1,
    ]),
    projection: new Float32Array([
      (2 * fx) / width, 0, 0, 0, 0, (2 * fy) / height, 0, 0, 1 - (2 * cx) / width, (2 * cy) / height - 1,
      (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0,
    ]),
  };
}

/** Product of column-major 4 x 4 matrices. */
export function multiplied(a: ArrayLike<number>, b: ArrayLike<number>): Float32Array {
  const result = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      for (let k = 0; k < 4; k++) result[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    }
  }
  return result;
}

export function cross(a: Vector, b: Vector): Vector {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function normalized(v: Vector): Vector {
  const length = Math.hypot(...v) || 1;
  return [v[0] / length, v[1] / length, v[2] / length];
}
