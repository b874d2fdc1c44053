"""Footage behind an avatar: its pictures at the film's own times."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.io.footage import numbers_at, picture_times, pictures_at
from avatar.io.video import probe
from avatar.render.compose import covering
from avatar.render.playback import NAMED_COLORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

# Footage that ends this much before the film, seconds, just shows its last picture on.
WORTH_SAYING = 0.1


@dataclass(frozen=True)
class MovingBackground:
    """A video, or one picture, that fills the picture behind an avatar, at a memory that does not grow with it.

    Where the film goes on beyond it, so does the background: back and forth, or with its last picture.

    Attributes:
        video: Any video or picture file.
        moments: (T,) the film's, seconds from 0 on.
        width: Of the film's pictures, pixels.
        height: Of the film's pictures.
        hold: Whether the last picture is held.
    """

    video: Path
    moments: Float[np.ndarray, " T"]
    width: int
    height: int
    hold: bool = False

    @cached_property
    def _times(self) -> Float[np.ndarray, " N"]:
        return picture_times(self.video, float(self.moments[-1]))

    @cached_property
    def seconds(self) -> float | None:
        """How long the footage lasts where it ends before the film; None where it does not, or is one picture."""
        if len(self._times) == 1 or self._times[-1] >= self.moments[-1]:
            return None
        seconds = float(self._times[-1] + 1 / probe(self.video).fps)
        return seconds if self.moments[-1] > seconds + WORTH_SAYING else None

    def pictures(self) -> Iterator[Float[np.ndarray, "H W 3"]]:
        """One for each of the film's moments, sRGB in [0, 1].

        Raises:
            InputError: The file is missing or unreadable.
            FormatError: It is no video, or not one picture of it can be decoded.
        """
        size = self.width, self.height
        numbers = numbers_at(self._times, self.moments, hold=self.hold or self.seconds is None)
        for picture in pictures_at(self.video, numbers, cover=size):
            yield covering(picture, *size).astype(np.float32) / 255


def background_file(name: str) -> Path | None:
    """The file that a background's name means: whatever looks like a path, or is one, and is no other background."""
    if not name or name in ("plate", "transparent", *NAMED_COLORS) or name.startswith("#"):
        return None
    path = Path(name)
    return path if path.suffix or path.name != name or os.path.exists(name) else None  # noqa: PTH110 long names too
