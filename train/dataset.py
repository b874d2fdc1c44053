"""Training frames, read from the take when they are needed: memory does not grow with the clip."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    from avatar.io.take import Take
    from avatar.train.spill import Spill


@dataclass(frozen=True)
class Outline:
    """How a soft mask becomes the outline of a head.

    A segmenter leaves its edges softer than the camera does, and an avatar's edge is blurred once more by the
    rasteriser's own filter.

    Attributes:
        level: The mask's value where the outline lies.
        contrast: Slope of alpha over the mask there; 1 leaves the mask as soft as it is.
    """

    level: float = 0.5
    contrast: float = 1.0

    def __call__(self, mask: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
        """The mask made firm, in [0, 1]."""
        return ((mask - self.level) * self.contrast + 0.5).clip(0, 1)


SOFT = Outline()


@dataclass(frozen=True)
class TrainingFrame:
    """One frame of a take.

    Attributes:
        index: Row of the take.
        image: (H, W, 3) sRGB in [0, 1].
        alpha: (H, W) mask of the person in [0, 1], as soft as the reader left it.
        parts: (H, W) labels: 0 background, 1 head above the collar, 2 torso.
        covered: (H, W) where something before the face hides what the frame is to teach; None where nothing does.
    """

    index: int
    image: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    parts: UInt8[np.ndarray, "H W"]
    covered: Bool[Tensor, "H W"] | None = None

    def on(self, device: torch.device) -> TrainingFrame:
        """The frame with its picture and masks on a device."""
        covered = None if self.covered is None else self.covered.to(device)
        return replace(self, image=self.image.to(device), alpha=self.alpha.to(device), covered=covered)

    def taught(self, target: Float[Tensor, "H W *c"], render: Float[Tensor, "H W *c"]) -> Float[Tensor, "H W *c"]:
        """What a render is compared with: the target, but where the frame teaches nothing the render itself."""
        if self.covered is None:
            return target
        return torch.where(self.covered if target.ndim == 2 else self.covered[..., None], render.detach(), target)

    def over(self, background: Float[Tensor, "#H #W 3"], plate: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
        """The person before another background.

        A pixel at the silhouette is already a mixture with the clip's own background: the plate's share is taken out
        before the other background is put in, so that no halo of the recording is learned.
        """
        return (self.image + (1 - self.alpha[..., None]) * (background - plate)).clamp(0, 1)


class FrameReader:
    """Reads frames of a take, and keeps as many as bytes as there is room for: decoding costs more than looking up.

    Args:
        take: The take.
        has_room: Whether so many bytes more may be kept; nothing is kept where it is None.
        outline: What becomes of the masks.
        spill: What takes the background's hues out of the outline; None leaves them.
        covered: Gives the pixels of a frame that something hides, None for no such pixels; nothing is hidden without.
    """

    def __init__(
        self,
        take: Take,
        has_room: Callable[[int], bool] | None = None,
        *,
        outline: Outline = SOFT,
        spill: Spill | None = None,
        covered: Callable[[int], Bool[np.ndarray, "H W"] | None] | None = None,
    ) -> None:
        self.take, self._has_room, self._outline, self._spill, self._covered = take, has_room, outline, spill, covered
        self._kept: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, index: int) -> TrainingFrame:
        """One frame."""
        if index in self._kept:
            image, alpha, parts, covered = self._kept[index]
        else:
            image, parts = self.take.image(index), self.take.parts(index)
            firm = self._outline(np.asarray(self.take.mask(index), np.float32))
            if self._spill is not None:
                image = self._spill(image, firm, parts)
            alpha = np.rint(firm * 255).astype(np.uint8)
            covered = self._covered(index) if self._covered is not None else None
            size = sum(part.nbytes for part in (image, alpha, parts, covered) if part is not None)
            if self._has_room is not None and self._has_room(size):
                self._kept[index] = (image, alpha, parts, covered)
        return TrainingFrame(
            index,
            torch.from_numpy(image).float().div_(255),
            torch.from_numpy(alpha).float().div_(255),
            parts,
            None if covered is None else torch.from_numpy(covered),
        )


def taught_pictures(take: Take, outline: Outline, spill: Spill) -> Callable[[int], UInt8[np.ndarray, "H W 3"]]:
    """Gives the picture of a frame, sRGB, as it is learnt: without what the background spilled over the outline."""
    read = FrameReader(take, outline=outline, spill=spill)
    return lambda index: np.rint(read(index).image.numpy() * 255).astype(np.uint8)


def read_frame(take: Take, index: int) -> TrainingFrame:
    """Reads one frame of the take."""
    return FrameReader(take)(index)


def read_ahead(
    take: Take,
    indices: Iterable[int],
    *,
    has_room: Callable[[int], bool] | None = None,
    outline: Outline = SOFT,
    spill: Spill | None = None,
    covered: Callable[[int], Bool[np.ndarray, "H W"] | None] | None = None,
) -> Iterator[TrainingFrame]:
    """Reads frames in the order of `indices`; the next one is decoded while the current one is in use.

    Args:
        take: The take.
        indices: Rows, each as often as it is wanted.
        has_room: Whether so many bytes more may be kept in memory; nothing is kept where it is None.
        outline: What becomes of the masks.
        spill: What takes the background's hues out of the outline; None leaves them.
        covered: Gives the pixels of a frame that something hides, as for `FrameReader`.
    """
    read = FrameReader(take, has_room, outline=outline, spill=spill, covered=covered)
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = None
        for index in indices:
            upcoming = reader.submit(read, index)
            if pending is not None:
                yield pending.result()
            pending = upcoming
        if pending is not None:
            yield pending.result()
