"""The mouth and the eyes seen closely: a second look of the loss at where a face is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from avatar.face_mesh import EYES_AND_BROWS, OUTER_LIPS
from avatar.render.losses import l1_dssim
from avatar.train.picture_regions import inter_ocular

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.io.take import Take

PARTS = (OUTER_LIPS, *EYES_AND_BROWS)
MARGIN = 0.2
LEAST_SIDE = 12
# Structure up to so many octaves; in windows of so many of its pixels its strength is compared.
OCTAVES, WINDOW = 3, 5


@dataclass(frozen=True)
class Focus:
    """Windows around the mouth and the eyes.

    Attributes:
        windows: (T, P, 4) top, bottom, left and right of each part in each frame, pixels; empty where it is not seen.
    """

    windows: np.ndarray

    @classmethod
    def of(cls, take: Take) -> Focus:
        """The windows of a take's frames, by the detected landmarks."""
        landmarks = take.perception()["landmarks"]
        width, height = take.info.width, take.info.height
        windows = np.zeros((len(landmarks), len(PARTS), 4), int)
        seen = np.isfinite(landmarks).all((1, 2))
        margin = MARGIN * inter_ocular(landmarks[seen])[:, None]
        for place, part in enumerate(PARTS):
            points = landmarks[seen][:, list(part), :2]
            low, high = points.min(1) - margin, points.max(1) + margin
            bounds = np.stack([low[:, 1], high[:, 1], low[:, 0], high[:, 0]], 1).round()
            windows[seen, place] = bounds.clip(0, np.array([height, height, width, width]))
        return cls(windows)

    def __call__(
        self,
        index: int,
        image: Float[Tensor, "H W 3"],
        target: Float[Tensor, "H W 3"],
        *,
        dssim_weight: float,
        contrast_weight: float,
        threads: int | None = None,
    ) -> Float[Tensor, ""]:
        """The image loss of frame `index` within its windows, with the difference of their contrast."""
        losses = []
        for top, bottom, left, right in self.windows[index].tolist():
            if min(bottom - top, right - left) < LEAST_SIDE:
                continue
            one, other = (picture[top:bottom, left:right].contiguous() for picture in (image, target))
            # Hardly two windows have one size, and compiling for each would take longer than training.
            losses.append(l1_dssim(one, other, dssim_weight=dssim_weight, threads=threads, compiled=False))
            if contrast_weight:
                losses[-1] = losses[-1] + contrast_weight * contrast_difference(one, other)
        return torch.stack(losses).mean() if losses else image.new_zeros(())


def contrast_difference(image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> Float[Tensor, ""]:
    """How much the local strength of structure differs, octave by octave, wherever within a small window it lies.

    A loss that compares pixels alone is lowest for the mean of all that may be there, which is smooth; this one is not.
    """
    planes = torch.stack([image, target]).permute(0, 3, 1, 2)
    differences = []
    for _ in range(OCTAVES):
        if min(planes.shape[2:]) < 2 * WINDOW:
            break
        smooth = _blurred(planes)
        strength = F.avg_pool2d((planes - smooth).square(), WINDOW, 1, WINDOW // 2, count_include_pad=False)
        strength = (strength + 1e-5).sqrt()
        differences.append((strength[0] - strength[1]).abs().mean())
        planes = F.avg_pool2d(smooth, 2)
    return torch.stack(differences).sum() if differences else image.new_zeros(())


def _blurred(planes: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """A binomial blur over five pixels either way."""
    channels = planes.shape[1]
    row = planes.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    for kernel, padding in ((row[:, None], (0, 0, 2, 2)), (row[None], (2, 2, 0, 0))):
        padded = F.pad(planes, padding, mode="replicate")
        planes = F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)
    return planes
