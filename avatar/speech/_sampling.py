"""Features at moments in seconds, blocked folds, and correlation: what the estimators of this package share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float


def sample_features(
    values: Float[np.ndarray, "N C"], rate: float, *, time: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T C"]:
    """Rows of a feature track at other moments: linear in seconds, held at both ends (row i lies at i / rate)."""
    position = np.clip(np.asarray(time, np.float64) * rate, 0, len(values) - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, len(values) - 1)
    weight = (position - below)[:, None].astype(values.dtype)
    return values[below] * (1 - weight) + values[above] * weight


def taps(
    values: Float[np.ndarray, "N C"], rate: float, *, time: Float[np.ndarray, " T"], offsets: Sequence[float]
) -> Float[np.ndarray, "T K*C"]:
    """Features around each moment, side by side; ``offsets`` are seconds."""
    return np.concatenate([sample_features(values, rate, time=time + offset) for offset in offsets], axis=1)


def blocked_folds(
    time: Float[np.ndarray, " T"], *, count: int, gap: float = 0.4, among: Bool[np.ndarray, " T"] | None = None
) -> Iterator[tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]]:
    """Splits moments into contiguous blocks and yields (train, test) masks.

    ``gap`` seconds beside each test block belong to neither, so that no test moment has a neighbour in training.
    With ``among`` the blocks divide these moments' span alone, and none is without them.
    """
    kept = np.ones(len(time), bool) if among is None else among
    if not kept.any():
        return
    edges = np.linspace(time[kept][0], np.nextafter(time[kept][-1], np.inf), count + 1)
    for start, stop in pairwise(edges):
        test = (time >= start) & (time < stop)
        train = (time < start - gap) | (time >= stop + gap)
        if (test & kept).any() and (train & kept).any():
            yield train, test


def correlation(first: Float[np.ndarray, " T"], second: Float[np.ndarray, " T"]) -> float:
    """Pearson's correlation; 0 where one of the two does not vary."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(first @ second) / scale if scale > 1e-12 else 0.0
