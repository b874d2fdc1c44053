// Follows a person's face by webcam, with MediaPipe's face landmarker where it was exported with the avatar.
import type { Avatar } from "./avatar";
import { PlayerError } from "./errors";
import { manifestUrl, type Manifest } from "./manifest";

const FARTHEST_TURN = 0.5;
// Of the measured turn a neck alone makes this much.
const NECK_SHARE = 0.8;
const SMOOTHING = 0.4;

interface Landmarker {
  detectForVideo(video: HTMLVideoElement, milliseconds: number): {
    faceBlendshapes: { categories: { categoryName: string; score: number }[] }[];
    facialTransformationMatrixes: { data: ArrayLike<number> }[];
  };
  close(): void;
}

/** A running camera; `stop` ends it. */
export interface Webcam {
  readonly video: HTMLVideoElement;
  /** Frames in which a face was found. */
  readonly found: number;
  stop(): void;
}

/** Drives the avatar by the webcam until it is stopped. How the head is held at first counts as straight ahead. */
export async function followWebcam(avatar: Avatar, url: string): Promise<Webcam> {
  const { webcam } = avatar.manifest;
  if (!webcam) throw new PlayerError("This avatar was exported without what follows a face by webcam.");
  const landmarker = await loadLandmarker(webcam, manifestUrl(url));
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true });
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: 640, height: 480 } });
    await video.play();
  } catch {
    landmarker.close();
    throw new PlayerError("The webcam cannot be used: allow it in the browser, and close other programs that use it.");
  }
  const state = { found: 0, stopped: false };
  let straight: number[] | null = null, turn = [0, 0, 0], last = -1;
  const names = new Set(avatar.manifest.coefficients);

  const follow = () => {
    if (state.stopped) return;
    requestAnimationFrame(follow);
    if (video.currentTime === last) return;
    last = video.currentTime;
    const { faceBlendshapes, facialTransformationMatrixes } = landmarker.detectForVideo(video, performance.now());
    if (!faceBlendshapes.length) return;
    state.found++;
    const scores = faceBlendshapes[0].categories.filter(({ categoryName }) => names.has(categoryName));
    const matrix = facialTransformationMatrixes[0]?.data;
    if (matrix) {
      straight ??= rotationRows(matrix);
      const now = axisAngle(relative(rotationRows(matrix), straight));
      turn = turn.map((value, i) => value + SMOOTHING * (NECK_SHARE * bounded(now[i]) - value));
    }
    const coefficients = Object.fromEntries(scores.map(({ categoryName, score }) => [categoryName, score]));
    avatar.setCoefficients(coefficients, { neck: turn });
  };
  follow();
  return {
    video,
    get found() { return state.found; },
    stop() {
      state.stopped = true;
      for (const track of (video.srcObject as MediaStream).getTracks()) track.stop();
      landmarker.close();
    },
  };
}

async function loadLandmarker(entry: NonNullable<Manifest["webcam"]>, place: string): Promise<Landmarker> {
  const at = (name: string) => new URL(name, place).href;
  try {
    const { FaceLandmarker, FilesetResolver } = await import(at(entry.module));
    const files = await FilesetResolver.forVisionTasks(at(entry.wasm));
    return await FaceLandmarker.createFromOptions(files, {
      baseOptions: { modelAssetPath: at(entry.model), delegate: "CPU" }, runningMode: "VIDEO", numFaces: 1,
      outputFaceBlendshapes: true, outputFacialTransformationMatrixes: true,
    });
  } catch {
    throw new PlayerError("What follows a face could not be loaded: is the folder complete?");
  }
}

/** The rotation in a column-major 4 x 4 matrix, row by row. */
function rotationRows(matrix: ArrayLike<number>): number[] {
  return [0, 1, 2].flatMap((row) => [matrix[row], matrix[4 + row], matrix[8 + row]]);
}

function relative(a: number[], b: number[]): number[] {
  return Array.from({ length: 9 }, (_, i) => {
    const row = 3 * Math.floor(i / 3), column = 3 * (i % 3);
    return a[row] * b[column] + a[row + 1] * b[column + 1] + a[row + 2] * b[column + 2];
  });
}

function axisAngle(r: number[]): number[] {
  const axis = [r[7] - r[5], r[2] - r[6], r[3] - r[1]];
  const sine = Math.hypot(...axis) / 2, angle = Math.atan2(sine, (r[0] + r[4] + r[8] - 1) / 2);
  return axis.map((value) => (sine > 1e-6 ? (value / (2 * sine)) * angle : 0));
}

function bounded(value: number): number {
  return Math.min(Math.max(value, -FARTHEST_TURN), FARTHEST_TURN);
}
