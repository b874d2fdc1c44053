"""ARKit's 52 blendshapes, the interchange between head models: names, and maps to and from a head's motion.

Names and meaning: Apple, ARFaceAnchor.BlendShapeLocation. Left and right are the subject's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from avatar.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads.head import Head

# The order of MediaPipe's face blendshape model, without its `_neutral` and with ARKit's `tongueOut` at the end.
ARKIT_NAMES: tuple[str, ...] = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight"),
    *("eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight"),
    *("mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight"),
    *("mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight", "tongueOut"),
)
MEDIAPIPE_BLENDSHAPES: tuple[str, ...] = ("_neutral", *ARKIT_NAMES[:-1])
_INDEX = {name: index for index, name in enumerate(ARKIT_NAMES)}


@dataclass(frozen=True)
class ArkitMotion:
    """The rows of a `Motion` that ARKit coefficients speak of.

    Attributes:
        expression: (T, E) coefficients of the head's expression basis.
        jaw_pose: (T, 3) axis-angle, radians; so are both eyes.
        leye_pose: (T, 3).
        reye_pose: (T, 3).
        eyelids: (T, 2) closure of the left and the right lid.
    """

    expression: Float[np.ndarray, "T E"]
    jaw_pose: Float[np.ndarray, "T 3"]
    leye_pose: Float[np.ndarray, "T 3"]
    reye_pose: Float[np.ndarray, "T 3"]
    eyelids: Float[np.ndarray, "T 2"]


def from_mediapipe(scores: Float[np.ndarray, "T 52"]) -> Float[np.ndarray, "T 52"]:
    """ARKit weights from MediaPipe's blendshape scores, which have `_neutral` and lack `tongueOut`."""
    _check_width(scores)
    return np.concatenate([scores[:, 1:], np.zeros_like(scores[:, :1])], axis=1)


def arkit_to_motion_parts(weights: Float[np.ndarray, "T 52"], head: Head) -> ArkitMotion:
    """Expression, jaw, eyes and lids of ARKit weights in the order of `ARKIT_NAMES`.

    Actions that the head's basis lacks are left out.

    Raises:
        InputError: `weights` is not (T, 52).
    """
    _check_width(weights)
    actions = np.stack([weights[:, _INDEX[name]] for name in head.arkit_names], axis=1)
    jaw = np.zeros((len(weights), 3))
    jaw[:, 0] = head.jaw_open_angle * weights[:, _INDEX["jawOpen"]]
    return ArkitMotion(
        expression=(actions @ _matrix(head).T).astype(np.float32),
        jaw_pose=jaw.astype(np.float32),
        leye_pose=_eye_pose(weights, "Left", head),
        reye_pose=_eye_pose(weights, "Right", head),
        eyelids=weights[:, [_INDEX["eyeBlinkLeft"], _INDEX["eyeBlinkRight"]]].astype(np.float32),
    )


def motion_parts_to_arkit(parts: ArkitMotion, head: Head) -> Float[np.ndarray, "T 52"]:
    """ARKit weights of a head's motion: the inverse of `arkit_to_motion_parts`, within what ARKit can say.

    Expressions outside the actions' non-negative cone become the nearest ones inside it, measured on the vertices.
    """
    weights = np.zeros((len(parts.expression), len(ARKIT_NAMES)))
    matrix = _matrix(head)
    directions = head.exprdirs.detach().cpu().double().numpy().reshape(-1, len(matrix))
    # Displacements' inner products make the distance a distance of vertices; the tiny ridge keeps them invertible.
    gram = directions.T @ directions
    metric = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))).T
    system = metric @ matrix
    columns = [_INDEX[name] for name in head.arkit_names]
    expression = np.asarray(parts.expression, np.float64)
    if expression.shape[1:] != (len(matrix),):
        raise InputError(
            "The expressions are not this head's",
            expected=f"(T, {len(matrix)}) coefficients of {head.id}",
            found=f"shape {expression.shape}",
        )
    for row, psi in enumerate(expression):
        weights[row, columns] = nnls(system, metric @ psi)[0]
    weights[:, _INDEX["jawOpen"]] = parts.jaw_pose[:, 0] / head.jaw_open_angle
    for side, pose in (("Left", parts.leye_pose), ("Right", parts.reye_pose)):
        write_eye(weights, side, pose, head)
    weights[:, [_INDEX["eyeBlinkLeft"], _INDEX["eyeBlinkRight"]]] = parts.eyelids
    return weights.clip(0, 1).astype(np.float32)


def _matrix(head: Head) -> np.ndarray:
    return head.arkit_to_psi.detach().cpu().double().numpy()


def _check_width(weights: np.ndarray) -> None:
    if weights.ndim != 2 or weights.shape[1] != len(ARKIT_NAMES):
        raise InputError(
            "The blendshape weights cannot be used",
            expected=f"shape (T, {len(ARKIT_NAMES)})",
            found=f"shape {weights.shape}",
        )


def _inwards(side: str) -> float:
    """The sign of a turn about +y towards the nose: the subject's left eye lies at +x and turns to -x."""
    return -1.0 if side == "Left" else 1.0


def _eye_pose(weights: np.ndarray, side: str, head: Head) -> np.ndarray:
    up, down, inner, outer = (
        angle * weights[:, _INDEX[f"eyeLook{way}{side}"]]
        for angle, way in zip(head.eye_look_angles, ("Up", "Down", "In", "Out"), strict=True)
    )
    return np.stack([down - up, _inwards(side) * (inner - outer), np.zeros(len(weights))], axis=1).astype(np.float32)


def write_eye(weights: Float[np.ndarray, "T C"], side: str, pose: Float[np.ndarray, "T 3"], head: Head) -> None:
    """Writes an eye's turns into the eyeLook columns of rows that begin with ARKit's weights; beyond 1 where it is."""
    turns = (-pose[:, 0], pose[:, 0], _inwards(side) * pose[:, 1], -_inwards(side) * pose[:, 1])
    for turn, angle, way in zip(turns, head.eye_look_angles, ("Up", "Down", "In", "Out"), strict=True):
        weights[:, _INDEX[f"eyeLook{way}{side}"]] = np.maximum(turn, 0) / angle
