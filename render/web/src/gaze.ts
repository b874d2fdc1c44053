// Eye contact: how far the eyes must turn to look at a point.
import { type Vector } from "./camera";
import { COEFFICIENTS, type Manifest } from "./manifest";

// Recordings show eyes that look ahead; turned further than this they look painted.
const FARTHEST_YAW = 0.3, FARTHEST_PITCH = 0.15;

/** Pitch (downwards) and yaw (to the subject's left) of both eyes, radians, for a row of coefficients and pose. */
export function gazeTurns(row: Float32Array, manifest: Manifest, target: Vector): [number, number] {
  const shift = [0, 1, 2].map((i) => row[COEFFICIENTS + 15 + i] - manifest.neutral[COEFFICIENTS + 15 + i]);
  const away = [0, 1, 2].map((i) => target[i] - manifest.center[i] - shift[i]) as Vector;
  // The head's turn, undone: first of the root, then of the neck.
  const seen = turnedBack(turnedBack(away, row, COEFFICIENTS), row, COEFFICIENTS + 3);
  const yaw = Math.atan2(seen[0], seen[2]), pitch = -Math.atan2(seen[1], Math.hypot(seen[0], seen[2]));
  return [clamped(pitch, FARTHEST_PITCH), clamped(yaw, FARTHEST_YAW)];
}

function turnedBack(v: Vector, row: Float32Array, at: number): Vector {
  const angle = -Math.hypot(row[at], row[at + 1], row[at + 2]);
  if (angle > -1e-6) return v;
  const [x, y, z] = [0, 1, 2].map((i) => row[at + i] / -angle);
  const cosine = Math.cos(angle), sine = Math.sin(angle);
  const along = (x * v[0] + y * v[1] + z * v[2]) * (1 - cosine);
  return [
    v[0] * cosine + (y * v[2] - z * v[1]) * sine + x * along,
    v[1] * cosine + (z * v[0] - x * v[2]) * sine + y * along,
    v[2] * cosine + (x * v[1] - y * v[0]) * sine + z * along,
  ];
}

function clamped(value: number, limit: number): number {
  return Math.min(Math.max(value, -limit), limit);
}
