"""Figures of pictures, gathered by row, region and metric."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

TRUTH, NEAREST, VIDEO, SPEECH = "truth", "nearest_frame", "video_driven", "speech_driven"
ROWS = (TRUTH, NEAREST, VIDEO, SPEECH)


@dataclass(frozen=True)
class Moment:
    """A held-out frame and what each row shows in its place.

    Attributes:
        index: Row of the take.
        landmarks: (478, 3) the take's own, pixels; NaN where the face was lost.
        regions: By name, the parts of the picture that figures are stated for.
        parts: By name, the parts of the head that errors are told apart by.
        pictures: By row, all of one size; the truth is the untouched frame.
        alphas: By row, what of each pixel the avatar covers; only rows that are rendered.
        edge: Pixels of the head just inside the person's silhouette.
        mask: The recording's soft mask of the person.
        sampled: Whether metrics that take long look at it too.
    """

    index: int
    landmarks: Float[np.ndarray, "478 3"]
    regions: dict[str, Bool[np.ndarray, "H W"]]
    parts: dict[str, Bool[np.ndarray, "H W"]]
    pictures: dict[str, UInt8[np.ndarray, "H W 3"]]
    alphas: dict[str, Float[np.ndarray, "H W"]]
    edge: Bool[np.ndarray, "H W"]
    mask: Float[np.ndarray, "H W"]
    sampled: bool


class Tally:
    """Values of metrics, whose means are the figures."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._fixed: dict[tuple[str, str, str], float | None] = {}

    def add(self, row: str, region: str, **values: float | None) -> None:
        """Values of one moment; None is passed over."""
        for metric, value in values.items():
            if value is not None:
                self._values[row, region, metric].append(value)

    def set(self, row: str, region: str, **values: float | None) -> None:
        """Figures that are no means over moments."""
        for metric, value in values.items():
            self._fixed[row, region, metric] = value

    def mean(self, row: str, region: str, metric: str) -> float | None:
        """The mean of a metric; None where it has no values."""
        values = self._values.get((row, region, metric))
        return float(np.mean(values)) if values else None

    def rows(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """All figures by row, region and metric."""
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        means = {key: self.mean(*key) for key in self._values}
        for (row, region, metric), value in (means | self._fixed).items():
            found.setdefault(row, {}).setdefault(region, {})[metric] = value
        return found


class Judge(Protocol):
    """Looks at moments one after the other and adds what it finds to a tally."""

    def see(self, moment: Moment, tally: Tally) -> None:
        """Judges one moment, after all before it."""
        ...

    def finish(self, tally: Tally) -> None:
        """Adds figures that need all moments."""
        ...
