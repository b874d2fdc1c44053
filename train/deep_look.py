"""The face seen by a deep network: a loss that tells lines and teeth from their mean, where pixels alone cannot."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import PartError
from avatar.train.focus import Focus
from avatar.train.perceptual import LEAST_SIDE, load_st_lpips
from avatar.train.picture_regions import MESH_POINTS

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.io.take import Take
    from avatar.train.config import TrainConfig
    from avatar.train.perceptual import PerceptualDistance

log = logging.getLogger(__name__)
# Side of the patches, pixels: what a network on a CPU looks at in some hundredths of a second.
SIDE = 80
# Sets its draws apart from those of the backgrounds, which have the same seed and step.
STREAM = 1


@dataclass(frozen=True)
class DeepLook:
    """The mouth, and in every other step a patch somewhere on the face, compared by deep features.

    Where a patch lies depends on the seed and the step alone, so that a run that is resumed sees the same ones.

    Attributes:
        distance: Of two patches.
        mouths: (T, 4) top, bottom, left and right of the mouth in each frame, pixels; empty where it is not seen.
        landmarks: (T, 478, 2) in each frame, pixels; NaN where the face was lost.
        start: Step from which it looks.
        seed: Of the draws.
    """

    distance: PerceptualDistance
    mouths: Int[np.ndarray, "T 4"]
    landmarks: Float[np.ndarray, "T 478 2"]
    start: int
    seed: int

    @classmethod
    def of(cls, take: Take, config: TrainConfig) -> DeepLook | None:
        """What looks at a take in training; None where that is not asked for, or the network cannot be had (logged)."""
        if not config.feature_weight or min(take.info.width, take.info.height) < LEAST_SIDE:
            return None
        try:
            distance = load_st_lpips()
        except PartError as error:
            log.warning("Training goes on without deep features; mouth and eyes will be smoother. %s", error)
            return None
        mouths, landmarks = Focus.of(take).windows[:, 0], take.perception()["landmarks"][..., :2]
        return cls(distance, mouths, landmarks, round(config.feature_start * config.steps), config.seed)

    def __call__(
        self, step: int, index: int, image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]
    ) -> Float[Tensor, ""] | None:
        """The distance of frame `index` from its target where that step looks; None where it does not."""
        window = self.window(step, index, (image.shape[0], image.shape[1])) if step >= self.start else None
        return None if window is None else self.distance.difference(image[window], target[window])

    def window(self, step: int, index: int, size: tuple[int, int]) -> tuple[slice, slice] | None:
        """Rows and columns that a step looks at in a picture of height and width `size`; None without a face."""
        points = self.landmarks[index, :MESH_POINTS]
        if not np.isfinite(points).all():
            return None
        if step % 2 == 0:
            top, bottom, left, right = self.mouths[index].tolist()
            center, lengths = ((top + bottom) // 2, (left + right) // 2), (bottom - top, right - left)
        else:
            column, row = points[np.random.default_rng([self.seed, step, STREAM]).integers(MESH_POINTS)]
            center, lengths = (round(float(row)), round(float(column))), (SIDE, SIDE)
        return _span(center[0], lengths[0], size[0]), _span(center[1], lengths[1], size[1])


def _span(center: int, length: int, side: int) -> slice:
    """So many pixels around a place, and no fewer than the network needs, moved into a row of `side` pixels."""
    length = max(length, LEAST_SIDE)
    start = max(min(center - length // 2, side - length), 0)
    return slice(start, min(start + length, side))
