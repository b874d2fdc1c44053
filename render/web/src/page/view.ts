// Looking around: mouse, touch, wheel and arrow keys turn and move the camera of an avatar.
import { type Avatar } from "../index";

// Radians beyond what the recording showed, and what is always allowed.
const BEYOND = 0.35;
const YAW_RANGE = [0.5, 1.2], PITCH_RANGE = [0.3, 0.6];
const CLOSEST = 0.55, FARTHEST = 2.2;
const STEP = 0.06;

/** Lets a person turn the avatar in its canvas; returns what puts the camera back. */
export function lookAround(avatar: Avatar, canvas: HTMLCanvasElement): () => void {
  const { orbit } = avatar;
  const home = { distance: orbit.distance, shift: [...orbit.shift] as [number, number] };
  const touches = new Map<number, { x: number; y: number }>();

  const { limits, view_cone: cone } = avatar.manifest;
  const yaw = radians(cone?.yaw) ?? reach(limits.yaw, YAW_RANGE);
  const pitch = radians(cone?.pitch) ?? reach(limits.pitch, PITCH_RANGE);
  const turn = (x: number, y: number) => {
    orbit.yaw = clamped(orbit.yaw - x, ...yaw);
    orbit.pitch = clamped(orbit.pitch + y, ...pitch);
  };
  const approach = (factor: number) => {
    orbit.distance = clamped(orbit.distance * factor, CLOSEST * home.distance, FARTHEST * home.distance);
  };
  const reset = () => Object.assign(orbit, { yaw: 0, pitch: 0, distance: home.distance, shift: [...home.shift] });

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = touches.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const side = Math.min(canvas.clientWidth, canvas.clientHeight);
    const x = (now.x - before.x) / side, y = (now.y - before.y) / side;
    const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
    touches.set(event.pointerId, now);
    if (other) {
      approach(apart(before, other) / Math.max(apart(now, other), 1));
      orbit.shift = [clamped(orbit.shift[0] + x / 2, -0.5, 0.5), clamped(orbit.shift[1] + y / 2, -0.5, 0.5)];
    } else turn(2.2 * x, 2.2 * y);
  });
  for (const name of ["pointerup", "pointercancel"] as const) {
    canvas.addEventListener(name, (event) => touches.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    approach(Math.exp(clamped(event.deltaY, -120, 120) * 0.0012));
  }, { passive: false });
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("keydown", (event) => {
    const steps: Record<string, () => void> = {
      ArrowLeft: () => turn(-STEP, 0), ArrowRight: () => turn(STEP, 0), ArrowUp: () => turn(0, -STEP),
      ArrowDown: () => turn(0, STEP), "+": () => approach(0.93), "-": () => approach(1.07), Home: reset,
    };
    if (!steps[event.key]) return;
    event.preventDefault();
    steps[event.key]();
  });
  return reset;
}

type Range = [number, number];

function radians(degrees: Range | undefined): Range | undefined {
  return degrees && [(degrees[0] * Math.PI) / 180, (degrees[1] * Math.PI) / 180];
}

/** How far to turn an avatar that was seen within these degrees. */
function reach(seen: Range | undefined, [least, most]: number[]): Range {
  const [low, high] = radians(seen) ?? [0, 0];
  const far = clamped(Math.max(Math.abs(low), Math.abs(high)) + BEYOND, least, most);
  return [-far, far];
}

function apart(a: { x: number; y: number }, b: { x: number; y: number }): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

function clamped(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
