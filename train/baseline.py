"""The baseline that an avatar has to beat: the most similar training frame, laid over the held-out one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

MESH_POINTS = 468


def nearest_frame(
    landmarks: Float[np.ndarray, "T 478 3"], train: np.ndarray, index: int
) -> tuple[int, Float[np.ndarray, "2 3"]]:
    """The training frame whose landmarks fit a frame's best after a similarity, and the map from it to the frame."""
    points = landmarks[train, :MESH_POINTS, :2]
    center = points.mean(1, keepdims=True)
    goal = landmarks[index, :MESH_POINTS, :2]
    goal_center = goal.mean(0)
    # As complex numbers a similarity is one factor, and its least-squares fit a quotient.
    source = (points - center) @ np.array([1, 1j])
    target = (goal - goal_center) @ np.array([1, 1j])
    factor = (source.conj() * target).sum(1) / (np.abs(source) ** 2).sum(1)
    best = int((np.abs(factor[:, None] * source - target) ** 2).sum(1).argmin())
    turn = np.array([[factor[best].real, -factor[best].imag], [factor[best].imag, factor[best].real]])
    shift = goal_center - turn @ center[best, 0]
    return int(train[best]), np.column_stack([turn, shift])


def warped(image: Float[np.ndarray, "H W 3"], similarity: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "H W 3"]:
    """The image under a similarity in pixel coordinates whose centres are at +0.5."""
    shifted = similarity.copy()
    shifted[:, 2] += similarity[:, :2] @ np.array([0.5, 0.5]) - 0.5
    height, width = image.shape[:2]
    return cv2.warpAffine(image, shifted, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
