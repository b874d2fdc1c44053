"""Whether a camera shows a head where the pictures do; where not, which convention it was most likely written in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError
from avatar.heads import load_head
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.motion import Motion

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
STATED = "camera-to-world in OpenGL axes"
# World-to-camera matrices in OpenCV axes, by what the stored matrices would be.
CONVENTIONS = {
    STATED: lambda matrix: _FLIP @ np.linalg.inv(matrix),
    "camera-to-world in OpenCV axes": lambda matrix: np.linalg.inv(matrix),
    "world-to-camera in OpenGL axes": lambda matrix: _FLIP @ matrix,
    "world-to-camera in OpenCV axes": lambda matrix: matrix,
}
# In heights of the face. FLAME and the open head lie in one place to within two centimetres, a tenth of a face, and
# people differ by less than that; a head that is upside down, mirrored or behind the camera is off by more than half.
TOLERANCE = 0.35
# Parts of the face that hardly move: eye corners, bridge and tip of the nose, hair line.
POINTS = (33, 133, 362, 263, 6, 1, 10)
SAMPLES = 32


def check_cameras(
    name: str,
    to_world: Float[np.ndarray, "T 4 4"],
    *,
    motion: Motion,
    landmarks: Float[np.ndarray, "T 478 3"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> float:
    """Median distance of projected and detected landmarks, in heights of the face.

    Without the motion's own head model the landmarks of the open head stand in for it, which is exact enough to tell
    conventions apart.

    Args:
        name: What is checked, for the error.
        to_world: (T, 4, 4) matrices as stored.
        motion: The head's rotation and translation in the world of the cameras.
        landmarks: (T, 478, 3) detected, pixels; NaN where there are none.
        intrinsics: (3, 3) of the pictures.

    Raises:
        FormatError: The head is not where the pictures show it; names the convention that fits better, where one does.
    """
    seen = np.flatnonzero(np.isfinite(landmarks[:, POINTS, 0]).all(axis=1))
    rows = evenly_spread(seen, SAMPLES)
    world, target = _points(motion, rows), landmarks[rows][:, POINTS, :2].astype(np.float64)
    height = np.median(np.linalg.norm(landmarks[rows, 10, :2] - landmarks[rows, 152, :2], axis=1)) if len(rows) else 1.0
    errors = {
        label: _error(world, target, np.stack([view(matrix) for matrix in to_world[rows]]), intrinsics) / height
        for label, view in CONVENTIONS.items()
    }
    if not len(rows) or errors[STATED] <= TOLERANCE:
        return errors[STATED] if len(rows) else 0.0
    likely = min(errors, key=lambda label: errors[label])
    good = errors[likely] <= TOLERANCE
    raise FormatError(
        f"The cameras of {name} do not show the head where the pictures do",
        expected=f"matrices that are {STATED}, with the head within {TOLERANCE:g} face heights of where it is seen",
        found=f"{errors[STATED]:.2g} face heights away"
        + (f"; as {likely} it would be {errors[likely]:.2g}" if good else "; no other convention fits either"),
        fix=f"the matrices are most likely {likely}: convert them"
        if good
        else "check the pictures, matrices and focal length",
    )


def _points(motion: Motion, rows: np.ndarray) -> Float[np.ndarray, "N K 3"]:
    """The chosen landmarks in the world of the motion, metres."""
    head = load_head()
    rest = head.landmark_positions(head())[0].numpy()[list(POINTS)].astype(np.float64)
    root, neck = (joint.numpy().astype(np.float64) for joint in (head.J_regressor @ head.v_template)[:2])
    turned = np.stack([r.apply(rest - neck) for r in Rotation.from_rotvec(motion.neck_pose[rows])]) + neck
    whole = [
        r.apply(points - root)
        for r, points in zip(Rotation.from_rotvec(motion.global_orient[rows]), turned, strict=True)
    ]
    return np.stack(whole) + root + motion.transl[rows, None]


def _error(world: np.ndarray, target: np.ndarray, views: np.ndarray, intrinsics: np.ndarray) -> float:
    """Median distance in pixels; endless where the head is behind the camera."""
    seen = world @ views[:, :3, :3].transpose(0, 2, 1) + views[:, None, :3, 3]
    if not len(seen) or np.median(seen[..., 2]) <= 1e-6:
        return float("inf")
    pixels = seen @ intrinsics.T
    return float(np.median(np.linalg.norm(pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-6) - target, axis=-1)))
