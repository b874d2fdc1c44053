"""A take's frames at small size, on disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import Camera
from avatar.io.parts import HEAD
from avatar.preprocess._frame_file import FrameFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Bool, Float, Int, UInt8
    from torch import Tensor

    from avatar.io.take import Take

# Blur of the region's edge in pixels, so that a silhouette pulls on the head from both sides.
EDGE = 1.0


@dataclass(frozen=True)
class SmallFrames:
    """The used frames of a take at small size, on disk: memory stays flat in the clip's length.

    Attributes:
        images: (T, h, w, 3) sRGB bytes.
        masks: (T, h, w) soft person mask, 255 is the person.
        regions: (T, h, w) where the head is compared, 255 is all of the weight; nowhere that something covers it.
        plate: (h, w, 3) what is behind the person, sRGB in [0, 1].
        used: (n,) the frames that are there.
        shown: (T,) how much of the head nothing covers.
        take: The take.
    """

    images: FrameFile
    masks: FrameFile
    regions: FrameFile
    plate: Float[Tensor, "h w 3"]
    used: Int[np.ndarray, " n"]
    shown: Float[np.ndarray, " T"]
    take: Take

    @classmethod
    def of_take(
        cls, take: Take, side: int, folder: Path, pictures: Callable[[int], UInt8[np.ndarray, "H W 3"]] | None = None
    ) -> SmallFrames:
        """The take's frames, their longer side `side` pixels or less, kept in a folder.

        Args:
            take: The take.
            side: Longest side.
            folder: Where they are kept.
            pictures: Gives the picture of a frame, where it is not to be the take's own.
        """
        picture = take.image if pictures is None else pictures
        factor = min(1.0, side / max(take.info.width, take.info.height))
        width, height = round(take.info.width * factor), round(take.info.height * factor)
        plate = torch.from_numpy(_resized(take.background(), width, height)).float() / 255
        frames = cls._empty(take, plate, np.flatnonzero(take.used), np.ones(len(take)), folder)

        def read(index: int) -> None:
            mask = _resized(np.asarray(take.mask(index), np.float32), width, height)
            head = cv2.resize(take.parts(index), (width, height), interpolation=cv2.INTER_NEAREST) == HEAD
            region = cv2.GaussianBlur((head & (mask > 0.5)).astype(np.float32), (0, 0), EDGE)
            covered = frames.covered(index)
            if covered is not None:
                whole = float(region.sum())
                region[covered.numpy()] = 0
                frames.shown[index] = float(region.sum()) / max(whole, 1.0)
            frames.images[index] = _resized(picture(index), width, height)
            frames.masks[index] = np.rint(mask * 255)
            frames.regions[index] = np.rint(region * 255)

        with ThreadPoolExecutor(max_workers=2) as readers:
            list(readers.map(read, frames.used.tolist()))
        return frames

    @classmethod
    def _empty(
        cls,
        take: Take,
        plate: Float[Tensor, "h w 3"],
        used: Int[np.ndarray, " n"],
        shown: Float[np.ndarray, " T"],
        folder: Path,
    ) -> SmallFrames:
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(take), *plate.shape[:2])
        return cls(
            FrameFile(folder / "images", (*shape, 3)),
            FrameFile(folder / "masks", shape),
            FrameFile(folder / "regions", shape),
            plate,
            used,
            shown,
            take,
        )

    def smaller(self, side: int, folder: Path) -> SmallFrames:
        """These frames with a longer side of `side` pixels, kept in a folder; themselves where they are no larger."""
        if max(self.width, self.height) <= side:
            return self
        factor = side / max(self.width, self.height)
        width, height = round(self.width * factor), round(self.height * factor)
        plate = torch.from_numpy(_resized(self.plate.numpy(), width, height))
        frames = self._empty(self.take, plate, self.used, self.shown, folder)
        for index in self.used.tolist():
            for whole, small in zip(
                (self.images, self.masks, self.regions), (frames.images, frames.masks, frames.regions), strict=True
            ):
                small[index] = _resized(whole[index], width, height)
        return frames

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.plate.shape[1]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.plate.shape[0]

    def camera(self, take: Take) -> Camera:
        """The take's camera at this size."""
        scale = self.width / take.info.width
        camera = Camera.front(take.info.focal, take.info.width, take.info.height)
        return Camera(camera.viewmat, np.diag([scale, scale, 1.0]) @ camera.K, self.width, self.height)

    def image(self, index: int) -> Float[Tensor, "h w 3"]:
        """One frame, sRGB in [0, 1]."""
        return torch.from_numpy(self.images[index].astype(np.float32) / 255)

    def mask(self, index: int) -> Float[Tensor, "h w"]:
        """Its person mask in [0, 1]."""
        return torch.from_numpy(self.masks[index].astype(np.float32) / 255)

    def covered(self, index: int) -> Bool[Tensor, "h w"] | None:
        """Where something is before its face; None where nothing is."""
        covered = self.take.covered(index)
        if covered is None:
            return None
        return torch.from_numpy(_resized(covered.astype(np.float32), self.width, self.height) > 0)

    def region(self, index: int) -> Float[Tensor, "h w"]:
        """The weight of its pixels in [0, 1]."""
        return torch.from_numpy(self.regions[index].astype(np.float32) / 255)


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
