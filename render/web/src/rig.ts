// The head model: coefficients and a pose in, the posed mesh and the condition of the residuals out. The same maths as
// the Python package's avatar/heads/lbs.py and avatar/fields/condition.py.
import { Arrays, COEFFICIENTS, POSE, type Manifest } from "./manifest";

const JOINTS = 5;
const [ROOT, NECK, JAW, LEFT, RIGHT] = [0, 1, 2, 3, 4];
const TRANSLATION = 15;
const TORSO = 18;

export class Rig {
  /** The mesh as last posed: x, y and z of each vertex, metres. */
  readonly vertices: Float32Array;
  readonly rest: Float32Array;
  readonly condition: Float32Array;
  private readonly weights: Float32Array;
  private readonly joints: Float32Array;
  private readonly moveCounts: Uint16Array;
  private readonly moveVertices: Uint16Array;
  private readonly moves: Float32Array;
  private readonly poseToCorrectives: Float32Array;
  private readonly conditionMean: Float32Array;
  private readonly conditionBasis: Float32Array;
  private readonly actionsToDirections: Float32Array | null = null;
  private readonly directionsToFeatures: Float32Array | null = null;
  private readonly actionColumns: number[];
  private readonly place: Record<string, number>;

  constructor(private readonly manifest: Manifest, arrays: Arrays) {
    this.rest = arrays.scaled("vertices", 3);
    this.vertices = Float32Array.from(this.rest);
    this.joints = arrays.floats("joints");
    this.weights = normalized(arrays.get("weights"), JOINTS);
    this.moveCounts = arrays.get("move_counts") as Uint16Array;
    this.moveVertices = arrays.get("move_vertices") as Uint16Array;
    this.moves = scaledMoves(arrays.get("moves"), this.moveCounts, arrays.floats("move_scales"));
    this.poseToCorrectives = arrays.floats("pose_to_correctives");
    this.conditionMean = arrays.floats("condition_mean");
    this.conditionBasis = arrays.floats("condition_basis");
    if (arrays.has("actions_to_directions")) {
      this.actionsToDirections = arrays.floats("actions_to_directions");
      this.directionsToFeatures = arrays.floats("directions_to_features");
    }
    this.condition = new Float32Array(manifest.components);
    this.place = Object.fromEntries(manifest.coefficients.map((name, index) => [name, index]));
    this.actionColumns = manifest.actions.map((name) => this.place[name]);
  }

  /**
   * Poses the mesh and works out the condition of a row: 52 coefficients, 21 numbers of pose, and the expression itself
   * where the basis says more than the coefficients.
   *
   * @param gaze Pitch and yaw of both eyes instead of the row's; the condition stays that of the row, because how the
   *   skin looked while someone looked aside says nothing of a person who looks at the camera.
   */
  pose(row: Float32Array, gaze: [number, number] | null = null): void {
    const { manifest } = this;
    const turns = this.jointTurns(row);
    const posed = Float32Array.from(turns);
    if (gaze) posed.set([...gaze, 0, ...gaze, 0], 3 * LEFT);
    const rotations = Array.from({ length: JOINTS }, (_, joint) => rotation(posed, 3 * joint));
    const expression = this.expression(row);
    const lids = [row[this.place.eyeBlinkLeft], row[this.place.eyeBlinkRight]];
    this.vertices.set(this.rest);
    this.addMoves([...expression, ...lids, ...this.correctives(rotations)]);
    this.skin(rotations, row);
    const features = [
      ...this.features(expression),
      ...[0, 1, 2].map((i) => manifest.gains.joint * turns[3 * JAW + i]),
      ...[0, 1, 2].map((i) => manifest.gains.joint * turns[3 * LEFT + i]),
      ...lids,
      ...[0, 1, 2].map((i) => manifest.gains.neck * turns[3 * ROOT + i]),
      ...[0, 1, 2].map((i) => manifest.gains.neck * turns[3 * NECK + i]),
    ];
    const { condition, conditionMean, conditionBasis } = this;
    for (let k = 0; k < condition.length; k++) {
      let sum = 0;
      for (let i = 0; i < features.length; i++) {
        sum += (features[i] - conditionMean[i]) * conditionBasis[i * condition.length + k];
      }
      condition[k] = Math.min(Math.max(sum, -manifest.limit), manifest.limit);
    }
  }

  /** Axis-angles of the five joints: those of the row, and what its coefficients say of jaw and gaze. */
  private jointTurns(row: Float32Array): Float32Array {
    const turns = row.slice(COEFFICIENTS, COEFFICIENTS + 3 * JOINTS);
    const [up, down, inwards, outwards] = this.manifest.eye_look_angles;
    const weight = (name: string) => row[this.place[name]];
    turns[3 * JAW] += this.manifest.jaw_open_angle * weight("jawOpen");
    for (const [joint, side, sign] of [[LEFT, "Left", -1], [RIGHT, "Right", 1]] as const) {
      turns[3 * joint] += down * weight(`eyeLookDown${side}`) - up * weight(`eyeLookUp${side}`);
      turns[3 * joint + 1] += sign * (inwards * weight(`eyeLookIn${side}`) - outwards * weight(`eyeLookOut${side}`));
    }
    return turns;
  }

  private expression(row: Float32Array): Float32Array {
    const actions = Float32Array.from(this.actionColumns, (column) => row[column]);
    if (!this.actionsToDirections && this.actionColumns.length) return actions;
    const result = row.slice(COEFFICIENTS + POSE, COEFFICIENTS + POSE + this.manifest.directions);
    const expression = new Float32Array(this.manifest.directions);
    expression.set(result);
    if (this.actionsToDirections) addProduct(this.actionsToDirections, actions, expression);
    return expression;
  }

  private features(expression: Float32Array): Float32Array {
    if (!this.directionsToFeatures) return expression;
    const result = new Float32Array(this.directionsToFeatures.length / expression.length);
    addProduct(this.directionsToFeatures, expression, result);
    return result;
  }

  private correctives(rotations: number[][]): Float32Array {
    const features = new Float32Array(9 * (JOINTS - 1));
    for (let joint = 1; joint < JOINTS; joint++) {
      for (let i = 0; i < 9; i++) features[9 * (joint - 1) + i] = rotations[joint][i] - (i % 4 === 0 ? 1 : 0);
    }
    const result = new Float32Array(this.manifest.correctives);
    addProduct(this.poseToCorrectives, features, result);
    return result;
  }

  private addMoves(coefficients: number[]): void {
    const { vertices, moves, moveVertices } = this;
    let at = 0;
    for (let direction = 0; direction < coefficients.length; direction++) {
      const end = at + this.moveCounts[direction];
      const weight = coefficients[direction];
      if (Math.abs(weight) < 1e-6) {
        at = end;
        continue;
      }
      for (; at < end; at++) {
        const vertex = 3 * moveVertices[at];
        vertices[vertex] += weight * moves[3 * at];
        vertices[vertex + 1] += weight * moves[3 * at + 1];
        vertices[vertex + 2] += weight * moves[3 * at + 2];
      }
    }
  }

  private skin(rotations: number[][], row: Float32Array): void {
    const { vertices, weights, joints } = this;
    const transforms = this.jointTransforms(rotations);
    const shift = row.subarray(COEFFICIENTS + TRANSLATION, COEFFICIENTS + TRANSLATION + 3);
    const torso = row.subarray(COEFFICIENTS + TORSO, COEFFICIENTS + TORSO + 3);
    const blended = new Float64Array(12);
    const count = this.manifest.head_vertices;
    for (let vertex = 0; vertex < count; vertex++) {
      blended.fill(0);
      for (let joint = 0; joint < JOINTS; joint++) {
        const weight = weights[JOINTS * vertex + joint];
        if (weight === 0) continue;
        const transform = transforms[joint];
        for (let i = 0; i < 12; i++) blended[i] += weight * transform[i];
      }
      const at = 3 * vertex;
      const x = vertices[at], y = vertices[at + 1], z = vertices[at + 2];
      for (let i = 0; i < 3; i++) {
        vertices[at + i] =
          blended[4 * i] * x + blended[4 * i + 1] * y + blended[4 * i + 2] * z + blended[4 * i + 3] + shift[i];
      }
    }
    // The shoulders turn with the root alone and move on their own.
    const turn = rotations[ROOT];
    for (let at = 3 * count; at < vertices.length; at += 3) {
      const x = vertices[at] - joints[0], y = vertices[at + 1] - joints[1], z = vertices[at + 2] - joints[2];
      for (let i = 0; i < 3; i++) {
        vertices[at + i] =
          turn[3 * i] * x + turn[3 * i + 1] * y + turn[3 * i + 2] * z + joints[i] + shift[i] + torso[i];
      }
    }
  }

  /** What each joint does to a point of the rest pose: rows of three by four, along the kinematic tree. */
  jointTransforms(rotations: number[][]): number[][] {
    const { joints } = this;
    const transforms: number[][] = [];
    for (let joint = 0; joint < JOINTS; joint++) {
      const parent = this.manifest.parents[joint];
      const rest = [joints[3 * joint], joints[3 * joint + 1], joints[3 * joint + 2]];
      const turn = parent < 0 ? rotations[joint] : multiplied(transforms[parent], rotations[joint]);
      const posed = parent < 0 ? rest : applied(transforms[parent], rest);
      transforms.push([0, 1, 2].flatMap((i) => {
        const [a, b, c] = turn.slice(3 * i, 3 * i + 3);
        return [a, b, c, posed[i] - a * rest[0] - b * rest[1] - c * rest[2]];
      }));
    }
    return transforms;
  }
}

/** Rodrigues' formula: nine numbers, row by row. */
function rotation(axisAngles: Float32Array, at: number): number[] {
  const x = axisAngles[at], y = axisAngles[at + 1], z = axisAngles[at + 2];
  const squared = x * x + y * y + z * z;
  const angle = Math.sqrt(squared);
  const sine = squared < 1e-8 ? 1 - squared / 6 : Math.sin(angle) / angle;
  const cosine = squared < 1e-8 ? 0.5 - squared / 24 : (1 - Math.cos(angle)) / squared;
  return [
    1 - cosine * (y * y + z * z), cosine * x * y - sine * z, cosine * x * z + sine * y,
    cosine * x * y + sine * z, 1 - cosine * (x * x + z * z), cosine * y * z - sine * x,
    cosine * x * z - sine * y, cosine * y * z + sine * x, 1 - cosine * (x * x + y * y),
  ];
}

function multiplied(transform: number[], turn: number[]): number[] {
  return Array.from({ length: 9 }, (_, index) => {
    const row = 4 * Math.floor(index / 3), column = index % 3;
    return transform[row] * turn[column] + transform[row + 1] * turn[3 + column] + transform[row + 2] * turn[6 + column];
  });
}

function applied(transform: number[], point: number[]): number[] {
  return [0, 4, 8].map((row) =>
    transform[row] * point[0] + transform[row + 1] * point[1] + transform[row + 2] * point[2] + transform[row + 3]);
}

function addProduct(matrix: Float32Array, vector: ArrayLike<number>, result: Float32Array): void {
  for (let row = 0; row < result.length; row++) {
    for (let column = 0; column < vector.length; column++) {
      result[row] += matrix[row * vector.length + column] * vector[column];
    }
  }
}

function normalized(weights: ArrayLike<number>, columns: number): Float32Array {
  const result = Float32Array.from(weights);
  for (let at = 0; at < result.length; at += columns) {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += result[at + i];
    for (let i = 0; i < columns; i++) result[at + i] /= sum || 1;
  }
  return result;
}

function scaledMoves(bytes: ArrayLike<number>, counts: Uint16Array, scales: Float32Array): Float32Array {
  const result = new Float32Array(bytes.length);
  let at = 0;
  counts.forEach((count, direction) => {
    for (const end = at + 3 * count; at < end; at++) result[at] = bytes[at] * scales[direction];
  });
  return result;
}
