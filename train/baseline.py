"""The baseline that an avatar has to beat: the most similar training frame, laid over the held-out one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MESH_POINTS = 468


class NearestFrames:
    """Training frames by the similarity of their landmarks.

    Args:
        landmarks: (T, 478, 3) of all frames of the take, pixels.
        train: Rows that may be chosen.
    """

    def __init__(self, landmarks: Float[np.ndarray, "T 478 3"], train: Int[np.ndarray, " n"]) -> None:
        self._landmarks, self._train = landmarks, train
        points = landmarks[train, :MESH_POINTS, :2]
        self._centers = points.mean(1)
        # As complex numbers a similarity is one factor, and its least-squares fit a quotient.
        self._shapes = (points - self._centers[:, None]) @ np.array([1, 1j])
        self._sizes = (np.abs(self._shapes) ** 2).sum(1)

    def to(self, index: int) -> tuple[int, Float[np.ndarray, "2 3"]]:
        """The row of the frame whose landmarks fit those of a frame best after a similarity, and the map to it."""
        goal = self._landmarks[index, :MESH_POINTS, :2]
        goal_center = goal.mean(0)
        target = (goal - goal_center) @ np.array([1, 1j])
        products = self._shapes.conj() @ target
        # What the best factor leaves over of the target is its square less what the projection takes up.
        best = int((np.abs(products) ** 2 / self._sizes).argmax())
        factor = products[best] / self._sizes[best]
        turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        shift = goal_center - turn @ self._centers[best]
        return int(self._train[best]), np.column_stack([turn, shift])


def warped(image: Float[np.ndarray, "H W 3"], similarity: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "H W 3"]:
    """The image under a similarity in pixel coordinates whose centres are at +0.5."""
    shifted = similarity.copy()
    shifted[:, 2] += similarity[:, :2] @ np.array([0.5, 0.5]) - 0.5
    height, width = image.shape[:2]
    return cv2.warpAffine(image, shifted, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
