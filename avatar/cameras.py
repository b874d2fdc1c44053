"""Pinhole cameras in the OpenCV convention (+x right, +y down, +z forward; pixel centres at +0.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# A camera at the origin that looks along -z of a head whose face points to +z: OpenCV's y and z are flipped.
FRONT_VIEW = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Camera:
    """One pinhole camera.

    Attributes:
        viewmat: (4, 4) world-to-camera, metres.
        K: (3, 3) intrinsics in pixels.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    viewmat: Float[np.ndarray, "4 4"]
    K: Float[np.ndarray, "3 3"]
    width: int
    height: int

    @classmethod
    def front(cls, focal: float, width: int, height: int) -> Camera:
        """The tracker's camera: at the origin, the head in front of it at negative z, centred principal point."""
        return cls(FRONT_VIEW.copy(), intrinsics(focal, width, height), width, height)


def intrinsics(focal: float, width: int, height: int) -> Float[np.ndarray, "3 3"]:
    """Intrinsics with square pixels and a centred principal point; `focal` in pixels."""
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=np.float64)


def look_at(eye: np.ndarray, target: np.ndarray, up: np.ndarray | None = None) -> Float[np.ndarray, "4 4"]:
    """World-to-camera matrix of a camera at `eye` (3,) that looks at `target` (3,); `up` defaults to +y."""
    forward = np.asarray(target, float) - np.asarray(eye, float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, np.array([0.0, 1.0, 0.0]) if up is None else np.asarray(up, float))
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ np.asarray(eye, float)
    return viewmat
