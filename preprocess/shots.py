"""Where a recording was cut: hard cuts between shots, told from flashes and from movement.

A cut changes the picture much more than the frames around it change (the thresholds of Zhang, Kankanhalli and Smoliar,
Multimedia Systems 1993, here relative to the neighbourhood), no shift of the picture and no change of its brightness
explains that, and the picture does not come back.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# Pictures are compared at this size, which blurs noise and small movements away.
_SIDE = 16
# Mean change of a cut in 8-bit levels; also how many times the usual change around it a cut must be.
_LEAST_CHANGE, _RATIO = 10.0, 5.0
# What share of the change is left after the best shift, and after the best factor of brightness: movements leave less
# than 0.4 and light less than 0.2, cuts more than 0.7 and 0.35.
_SHIFTED, _BRIGHTENED, _LONGEST_SHIFT = 0.55, 0.28, 3
_NEIGHBOURS = 8
# A flash is over within these frames, and leaves the picture as it was but for this share of the change.
_FLASH, _CAME_BACK = 6, 0.4


class Shot(NamedTuple):
    """A stretch of frames [start, stop) that one camera saw without a break."""

    start: int
    stop: int


class CutFinder:
    """Looks at consecutive frames, and says afterwards where the cuts were. Keeps about a kilobyte of each frame."""

    def __init__(self) -> None:
        self._pictures: list[UInt8[np.ndarray, "S S 3"]] = []
        self._changes: list[float] = []

    def look(self, image: UInt8[np.ndarray, "H W 3"]) -> bool:
        """Takes the next frame; whether it may be the first of a shot, which only the frames to come can decide."""
        picture = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        self._changes.append(_distance(self._pictures[-1], picture) if self._pictures else 0.0)
        self._pictures.append(picture)
        usual = np.median(self._changes[-1 - _NEIGHBOURS : -1]) if len(self._changes) > 2 else 0.0
        return self._changes[-1] > max(_LEAST_CHANGE, _RATIO * float(usual))

    def shots(self) -> list[Shot]:
        """The shots of all frames so far, in order and without holes; none when there were no frames."""
        count = len(self._pictures)
        starts = [0, *(index for index in range(1, count) if self._is_cut(index)), count]
        return [Shot(start, stop) for start, stop in pairwise(starts) if stop > start]

    def _is_cut(self, index: int) -> bool:
        change = self._changes[index]
        around = self._changes[max(1, index - _NEIGHBOURS) : index] + self._changes[index + 1 : index + 1 + _NEIGHBOURS]
        if change <= max(_LEAST_CHANGE, _RATIO * float(np.median(around or [0.0]))):
            return False
        before, after = self._pictures[index - 1].astype(np.float64), self._pictures[index].astype(np.float64)
        if _best_shifted(before, after) < _SHIFTED * change or _best_brightened(before, after) < _BRIGHTENED * change:
            return False
        return not self._is_flash(index)

    def _is_flash(self, index: int) -> bool:
        """Whether around this change the picture is another for a few frames only."""
        change = self._changes[index]
        before = range(max(0, index - _FLASH), index)
        after = range(index + 1, min(len(self._pictures), index + 1 + _FLASH))
        # Either the picture before comes back, or this one was there before.
        returns = [_distance(self._pictures[index - 1], self._pictures[k]) for k in after]
        returns += [_distance(self._pictures[index], self._pictures[k]) for k in list(before)[:-1]]
        return min(returns, default=np.inf) < _CAME_BACK * change


def _distance(first: UInt8[np.ndarray, "S S 3"], second: UInt8[np.ndarray, "S S 3"]) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())


def _best_shifted(before: Float[np.ndarray, "S S 3"], after: Float[np.ndarray, "S S 3"]) -> float:
    """The least mean difference at any shift of the picture."""
    shifts = range(-_LONGEST_SHIFT, _LONGEST_SHIFT + 1)
    least = np.inf
    for down in shifts:
        for right in shifts:
            first = before[max(0, down) : _SIDE + min(0, down), max(0, right) : _SIDE + min(0, right)]
            second = after[max(0, -down) : _SIDE + min(0, -down), max(0, -right) : _SIDE + min(0, -right)]
            least = min(least, float(np.abs(second - first).mean()))
    return least


def _best_brightened(before: Float[np.ndarray, "S S 3"], after: Float[np.ndarray, "S S 3"]) -> float:
    """The mean difference after the factor of brightness that explains most."""
    factor = (before * after).sum() / max((before * before).sum(), 1.0)
    return float(np.abs(after - np.clip(factor * before, 0, 255)).mean())
