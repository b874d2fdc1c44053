// What an application says of a face: ARKit coefficients and a pose, as lists or by name.
import { COEFFICIENTS, type Manifest, POSE } from "./manifest";

export type Coefficients = ArrayLike<number> | Record<string, number>;

/** Differences from the subject's pose at ease: axis-angles in radians, shifts in metres. */
export interface Pose {
  root?: ArrayLike<number>;
  neck?: ArrayLike<number>;
  jaw?: ArrayLike<number>;
  leftEye?: ArrayLike<number>;
  rightEye?: ArrayLike<number>;
  translation?: ArrayLike<number>;
  torso?: ArrayLike<number>;
}

const POSE_NAMES = ["root", "neck", "jaw", "leftEye", "rightEye", "translation", "torso"] as const;
/** A row of 52 coefficients, 21 numbers of pose and what else the avatar has; raises RangeError for anything else. */
export function rowOf(manifest: Manifest, coefficients: Coefficients, pose?: Pose | ArrayLike<number>): Float32Array {
  const row = Float32Array.from(manifest.neutral);
  row.fill(0, COEFFICIENTS + POSE);
  row.set(coefficientValues(manifest, coefficients));
  const moved = flatPose(pose);
  for (let i = 0; i < POSE; i++) row[COEFFICIENTS + i] += moved[i];
  return row;
}

/** 52 coefficients; those that are not named are zero. */
export function coefficientValues({ coefficients: names }: Manifest, given: Coefficients): Float32Array {
  if (typeof given !== "object" || given === null) throw new RangeError(`Expected coefficients, found ${given}.`);
  let values: Float32Array;
  if (isList(given)) {
    if (given.length !== COEFFICIENTS) throw new RangeError(`Expected ${COEFFICIENTS} coefficients, found ${given.length}.`);
    values = Float32Array.from(given);
  } else {
    const unknown = Object.keys(given).find((name) => !names.includes(name));
    if (unknown !== undefined) throw new RangeError(`There is no coefficient called ${unknown}.`);
    values = Float32Array.from(names, (name) => given[name] ?? 0);
  }
  if (!values.every(Number.isFinite)) throw new RangeError("Coefficients must be finite numbers.");
  return values;
}

/** 21 numbers of pose; what is not named is zero. */
export function flatPose(pose?: Pose | ArrayLike<number>): Float32Array {
  const result = new Float32Array(POSE);
  if (!pose) return result;
  if (isList(pose)) {
    if (pose.length !== POSE) throw new RangeError(`Expected ${POSE} numbers of pose, found ${pose.length}.`);
    result.set(pose);
  } else {
    const unknown = Object.keys(pose).find((name) => !(POSE_NAMES as readonly string[]).includes(name));
    if (unknown !== undefined) throw new RangeError(`There is no part of a pose called ${unknown}.`);
    POSE_NAMES.forEach((name, i) => result.set(triple(name, pose[name]), 3 * i));
  }
  if (!result.every(Number.isFinite)) throw new RangeError("The pose must be finite numbers.");
  return result;
}

function triple(name: string, value: ArrayLike<number> = [0, 0, 0]): ArrayLike<number> {
  if (value.length !== 3) throw new RangeError(`Expected three numbers for ${name}.`);
  return value;
}

function isList(value: object): value is ArrayLike<number> {
  return typeof (value as ArrayLike<number>).length === "number";
}
