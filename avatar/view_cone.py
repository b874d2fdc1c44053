"""The safe view cone: from which directions an avatar may be looked at before what was never filmed shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from jaxtyping import Float

# A cone has some width even where it was measured to have none.
NARROWEST = 1.0


@dataclass(frozen=True)
class ViewCone:
    """Directions around the head, in its own axes; between the four ends the cone is round.

    Attributes:
        yaw: Ends to the head's right (negative) and left (positive), degrees.
        pitch: Ends below (negative) and above (positive), degrees.
    """

    yaw: tuple[float, float]
    pitch: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("yaw", "pitch"):
            low, high = getattr(self, name)
            if not -180 <= low <= 0 <= high <= 180:
                raise ValueError(f"the view cone's {name} must go from -180..0 to 0..180 degrees: {low}, {high}")

    def __str__(self) -> str:
        (right, left), (below, above) = self.yaw, self.pitch
        return f"{-right:.0f}° right to {left:.0f}° left, {-below:.0f}° below to {above:.0f}° above"

    def beyond(self, angles: Float[np.ndarray, "*T 2"]) -> Float[np.ndarray, "*T"]:
        """How far directions lie outside, degrees; 0 inside.

        Args:
            angles: (..., 2) yaw and pitch, as `view_angles` gives them.
        """
        ends = np.array([self.yaw, self.pitch])
        reach = np.where(angles < 0, -ends[:, 0], ends[:, 1]).clip(NARROWEST)
        share = np.linalg.norm(angles / reach, axis=-1)
        return np.linalg.norm(angles, axis=-1) * (1 - 1 / np.maximum(share, 1))


def view_angles(
    eyes: Float[np.ndarray, "T 3"],
    centers: Float[np.ndarray, "T 3"],
    global_orient: Float[np.ndarray, "T 3"],
    neck_pose: Float[np.ndarray, "T 3"],
) -> Float[np.ndarray, "T 2"]:
    """Where cameras stand around a head, seen from it: yaw to its left and pitch above, degrees.

    Args:
        eyes: (T, 3) where the cameras stand, metres.
        centers: (T, 3) the middle of the head, metres.
        global_orient: (T, 3) rotation of the head's root, axis-angle.
        neck_pose: (T, 3) rotation of the neck.
    """
    turned = Rotation.from_rotvec(global_orient) * Rotation.from_rotvec(neck_pose)
    x, y, z = turned.inv().apply(eyes - centers).T
    return np.degrees(np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], -1))


def said_angles(yaw: float, pitch: float, *, step: int = 1) -> str:
    """Where a camera stands around the head in words, rounded to steps of so many degrees; empty for the front."""
    words = "left" if yaw > 0 else "right", "above" if pitch > 0 else "below"
    steps = [step * round(abs(float(angle)) / step) for angle in (yaw, pitch)]
    return " and ".join(f"{degrees}° {word}" for degrees, word in zip(steps, words, strict=True) if degrees)
