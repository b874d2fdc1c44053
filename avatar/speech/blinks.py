"""Blinks: found in a take's lids, and made anew at the same rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Bentivoglio et al. 1997, Movement Disorders 12(6): about 17 a minute at rest; closures last 0.1 to 0.4 s.
TEXTBOOK_RATE = 17.0
TEXTBOOK_WIDTH = 0.14
REFRACTORY = 0.5
# Who speaks blinks where the voice pauses (Nakano and Kitazawa 2010): a blink takes a pause this near, seconds, if that
# keeps its distance from the blinks around it.
BLINK_REACH, BLINK_APART = 0.7, REFRACTORY
FASTEST, SLOWEST = 40.0, 5.0
# An exponential's rare long waits, cut at this many means: eyes do dry.
LONGEST_WAIT = 3.5
# Frames seldom catch a lid at its deepest, so a take's own depth is taken from its deeper blinks and not below this.
LEAST_CLOSURE = 0.7
# The lid falls faster than it rises: shares of a blink's time before and after its deepest moment.
CLOSING_SHARE = 0.36
# The raised cosine used for both slopes is half its height for half its length.
LENGTH_PER_WIDTH = 2.0
SHARE_OF_DEEPEST = 0.5
LONGEST = 0.6


def find_blinks(
    time: Float[np.ndarray, " T"], closure: Float[np.ndarray, " T"]
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Moments and widths of the blinks in a track of lid closure.

    A blink is a rise to at least 0.25 above the median, back within 0.6 s.

    Args:
        time: (T,) seconds.
        closure: (T,) mean closure of the two lids, 0 open to 1 closed.

    Returns:
        (B,) moments of deepest closure and (B,) widths at half of each blink's height, seconds.
    """
    if len(time) < 3:
        return np.zeros(0), np.zeros(0)
    base = float(np.median(closure))
    excess = closure - base
    height = max(SHARE_OF_DEEPEST * float(excess.max()), 0.25)
    above = np.concatenate([[False], excess > height, [False]])
    starts, stops = np.flatnonzero(np.diff(above.astype(int)) == 1), np.flatnonzero(np.diff(above.astype(int)) == -1)
    moments, widths = [], []
    for start, stop in zip(starts, stops, strict=True):
        peak = start + int(excess[start:stop].argmax())
        half = float(excess[peak]) / 2
        left, right = peak, peak
        while left > 0 and excess[left] > half:
            left -= 1
        while right < len(time) - 1 and excess[right] > half:
            right += 1
        width = _crossing(time, excess, right - 1, half) - _crossing(time, excess, left, half)
        if width <= LONGEST and (not moments or time[peak] - moments[-1] > 0.15):
            moments.append(float(time[peak]))
            widths.append(float(width))
    return np.array(moments), np.array(widths)


def blink_curve(
    time: Float[np.ndarray, " T"], moments: Float[np.ndarray, " B"], *, width: float
) -> Float[np.ndarray, " T"]:
    """Closure 0 to 1 over time for blinks at the given moments, smooth in value and slope."""
    length = width * LENGTH_PER_WIDTH
    before, after = CLOSING_SHARE * length, (1 - CLOSING_SHARE) * length
    result = np.zeros(len(time))
    for moment in moments:
        first, last = np.searchsorted(time, [moment - before, moment + after])
        phase = time[first:last] - moment
        phase = np.where(phase < 0, phase / before, phase / after)
        result[first:last] = np.maximum(result[first:last], 0.5 + 0.5 * np.cos(np.pi * phase))
    return result


def draw_blinks(duration: float, *, rate: float, rng: np.random.Generator) -> Float[np.ndarray, " B"]:
    """Moments of blinks within ``duration`` seconds: a Poisson process of ``rate`` a minute with a refractory time."""
    mean_wait = max(60.0 / rate - REFRACTORY, 0.1)
    moments = []
    # The first one is met in the middle of a wait, as one is on entering a running process.
    moment = float(rng.exponential(mean_wait))
    while moment < duration:
        moments.append(moment)
        moment += REFRACTORY + min(float(rng.exponential(mean_wait)), LONGEST_WAIT * mean_wait)
    return np.array(moments)


def blink_statistics(time: Float[np.ndarray, " T"], eyelids: Float[np.ndarray, "T 2"]) -> tuple[float, float, float]:
    """Rate (a minute), width at half height (s) and depth (closure above open) of a take's blinks.

    With fewer than three blinks in sight, textbook values: 17 a minute, 140 ms at half height, closed.
    """
    closure = eyelids.mean(axis=1)
    moments, widths = find_blinks(time, closure)
    base = float(np.median(closure))
    if len(moments) < 3:
        return TEXTBOOK_RATE, TEXTBOOK_WIDTH, 1.0 - base
    rate = float(np.clip(60 * len(moments) / (time[-1] - time[0]), SLOWEST, FASTEST))
    depth = max(float(np.percentile(np.interp(moments, time, closure), 90)), LEAST_CLOSURE) - base
    return rate, float(np.clip(np.median(widths), 0.08, 0.3)), depth


def _crossing(time: np.ndarray, value: np.ndarray, index: int, level: float) -> float:
    """When a track passes a level between sample ``index`` and the next."""
    low, high = value[index], value[index + 1]
    share = (level - low) / (high - low) if high != low else 0.0
    return float(time[index] + np.clip(share, 0, 1) * (time[index + 1] - time[index]))
