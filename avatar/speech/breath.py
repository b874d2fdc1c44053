"""Breathing: shoulders that rise and fall, in where a speaker pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Adults at rest breathe 12 to 20 times a minute; breathing in takes somewhat less than half of the cycle.
CYCLE, SPREAD = 4.0, 0.15
IN_SHARE, LONGEST_IN = 0.4, 1.2
# A breath waits for a pause, or takes an earlier one, by so much at most, and leaves the one before it time to end.
REACH, APART = 1.5, 1.5
# The shoulders' way in quiet breathing: up, and forwards with the chest, metres.
RISE = np.array([0.0, 0.0025, 0.0010])


def breath_curve(
    time: Float[np.ndarray, " T"], *, pauses: Float[np.ndarray, " P"], rng: np.random.Generator
) -> Float[np.ndarray, " T"]:
    """How full the chest is, 0 to 1, from 0 at the first moment on; breaths begin in pauses where there are some.

    Args:
        time: (T,) increasing seconds from 0.
        pauses: (P,) seconds at which a speaker pauses.
        rng: Draws the breaths' lengths.
    """
    last = float(time[-1]) if len(time) else 0.0
    starts, wanted = [], CYCLE * rng.random()
    while not starts or starts[-1] < last:
        near = pauses[np.abs(pauses - wanted) <= REACH]
        near = near[near >= starts[-1] + APART] if starts else near
        starts.append(float(near[np.abs(near - wanted).argmin()]) if len(near) else wanted)
        wanted = starts[-1] + CYCLE * float(np.exp(SPREAD * rng.standard_normal()))
    result = np.zeros(len(time))
    for start, stop in zip(starts, [*starts[1:], starts[-1] + CYCLE], strict=True):
        rising = min(IN_SHARE * (stop - start), LONGEST_IN)
        first, end = np.searchsorted(time, [start, stop])
        within = time[first:end] - start
        phase = np.where(within < rising, within / rising, 1 + (within - rising) / (stop - start - rising))
        result[first:end] = 0.5 - 0.5 * np.cos(np.pi * phase)
    return result
