"""Training frames, read from the take when they are needed: memory does not grow with the clip."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Float, UInt8
    from torch import Tensor

    from avatar.io.take import Take

HEAD, TORSO = 1, 2


@dataclass(frozen=True)
class TrainingFrame:
    """One frame of a take.

    Attributes:
        index: Row of the take.
        image: (H, W, 3) sRGB in [0, 1].
        alpha: (H, W) soft mask of the person in [0, 1].
        parts: (H, W) labels: 0 background, 1 head above the collar, 2 torso.
    """

    index: int
    image: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    parts: UInt8[np.ndarray, "H W"]

    def over(self, background: Float[Tensor, "#H #W 3"], plate: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
        """The person before another background.

        A pixel at the silhouette is already a mixture with the clip's own background: the plate's share is taken out
        before the other background is put in, so that no halo of the recording is learned.
        """
        return (self.image + (1 - self.alpha[..., None]) * (background - plate)).clamp(0, 1)


def read_frame(take: Take, index: int) -> TrainingFrame:
    """Reads one frame of the take."""
    image = torch.from_numpy(take.image(index)).float().div_(255)
    alpha = torch.from_numpy(np.asarray(take.mask(index), np.float32))
    return TrainingFrame(index, image, alpha, take.parts(index))


def read_ahead(take: Take, indices: Iterable[int]) -> Iterator[TrainingFrame]:
    """Reads frames in the order of `indices`; the next one is decoded while the current one is in use."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = None
        for index in indices:
            upcoming = reader.submit(read_frame, take, index)
            if pending is not None:
                yield pending.result()
            pending = upcoming
        if pending is not None:
            yield pending.result()
