"""Where a recording has speech, by its energy: what lets a mouth rest in silence, and tells where a speaker pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.io.sound import StoredSound

RATE = 16000
HOP = 160
FRAME = 400
# Rows that are worked on at a time, so that memory does not grow with the sound: a minute.
STRETCH = 6000
ATTACK, RELEASE = 0.12, 0.20
# A mouth opens 100 to 300 ms before its voice is heard (Chandrasekaran et al. 2009, doi:10.1371/journal.pcbi.1000436),
# and is closed 300 ms after it: it stays, then closes.
OPENS, STAYS, CLOSES = 0.15, 0.10, 0.20
# Silence shorter than a stop consonant's closure is part of the speech around it.
LONGEST_CLOSURE = 0.16
# Of a voice that falls and comes again sooner nobody says that it paused.
LEAST_PAUSE = 0.2
# Quieter than this (dB of full scale) nothing counts as speech, however silent the rest is.
FLOOR_DB = -60.0


def loudness(samples: Float[np.ndarray, " N"] | StoredSound) -> Float[np.ndarray, " M"]:
    """Level of every 10 ms in dB of full scale, over 25 ms; row i is centred at i / 100 s (16 kHz input)."""
    count = -(-len(samples) // HOP)
    levels = [_levels(samples, first, min(first + STRETCH, count)) for first in range(0, count, STRETCH)]
    return np.concatenate(levels) if levels else np.zeros(0)


def _levels(samples: Float[np.ndarray, " N"] | StoredSound, first: int, last: int) -> Float[np.ndarray, " R"]:
    """Rows `first` to `last` of the loudness."""
    begin, end = max(first * HOP - FRAME // 2, 0), min((last - 1) * HOP + FRAME // 2, len(samples))
    power = np.square(np.asarray(samples[begin:end], np.float32)).astype(np.float64)
    total = np.concatenate([[0.0], np.cumsum(power)])
    centres = np.arange(first * HOP, last * HOP, HOP) - begin
    starts, stops = np.maximum(centres - FRAME // 2, 0), np.minimum(centres + FRAME // 2, len(power))
    return 10 * np.log10((total[stops] - total[starts]) / np.maximum(stops - starts, 1) + 1e-12)


def speech_activity(level: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Blend weight of speech over rest: 1 in speech, rising for 120 ms before it and falling for 200 ms after it.

    The threshold lies 8 dB above the recording's tenth percentile, kept between 40 and 20 dB below its loud parts, so
    that neither a clean studio floor nor a noisy room nor a recording without pauses breaks it.

    Args:
        level: (M,) loudness of every 10 ms in dB.

    Returns:
        (M,) weights in [0, 1], with the slope of a cosine.
    """
    return _weight(level, attack=ATTACK, hold=0.0, release=RELEASE)


def mouth_activity(level: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Blend weight of a speaking mouth over one at rest: `speech_activity` as lips do it.

    They leave rest 150 ms before speech, keep on for 100 ms after it and are at rest 300 ms after it.

    Args:
        level: (M,) loudness of every 10 ms in dB.

    Returns:
        (M,) weights in [0, 1], with the slope of a cosine.
    """
    return _weight(level, attack=OPENS, hold=STAYS, release=CLOSES)


def _weight(level: Float[np.ndarray, " M"], *, attack: float, hold: float, release: float) -> Float[np.ndarray, " M"]:
    """Weight of speech: 1 in it and for ``hold`` seconds after it, with slopes of so many seconds before and behind."""
    if not len(level):
        return np.zeros(0)
    loud = float(np.percentile(level, 95))
    threshold = np.clip(np.percentile(level, 10) + 8, loud - 40, loud - 20)
    speech = np.flatnonzero(level > max(threshold, FLOOR_DB))
    index = np.arange(len(level))
    if not len(speech):
        return np.zeros(len(level))
    following = np.searchsorted(speech, index)
    until = np.where(following < len(speech), speech[np.minimum(following, len(speech) - 1)] - index, np.inf) / 100
    preceding = np.searchsorted(speech, index, side="right") - 1
    since = np.where(preceding >= 0, index - speech[np.maximum(preceding, 0)], np.inf) / 100
    ramp = np.maximum(1 - until / attack, 1 - np.maximum(since - hold, 0) / release)
    ramp = np.where(until + since <= LONGEST_CLOSURE, 1.0, np.clip(ramp, 0, 1))
    return 0.5 - 0.5 * np.cos(np.pi * ramp)


def pause_moments(activity: Float[np.ndarray, " T"], time: Float[np.ndarray, " T"]) -> Float[np.ndarray, " P"]:
    """When pauses of `LEAST_PAUSE` and more begin, in seconds: a voice that was there has gone.

    Args:
        activity: (T,) weight of speech, as `speech_activity` gives it.
        time: (T,) its moments, increasing seconds.
    """
    silent = np.concatenate([[False], np.asarray(activity) < 0.5, [False]])
    first, last = np.flatnonzero(np.diff(silent.astype(int)) > 0), np.flatnonzero(np.diff(silent.astype(int)) < 0) - 1
    kept = (first > 0) & (time[last] - time[first] >= LEAST_PAUSE) if len(first) else np.zeros(0, bool)
    return np.asarray(time, np.float64)[first[kept]]


def moved_to(
    moments: Float[np.ndarray, " N"], pauses: Float[np.ndarray, " P"], *, reach: float, apart: float
) -> Float[np.ndarray, " N"]:
    """Moments of something a speaker does in pauses, each moved to a pause that is near and still free.

    Args:
        moments: (N,) increasing seconds.
        pauses: (P,) increasing seconds.
        reach: How far one is moved at most, seconds.
        apart: How near to the one before, and to where the one behind would be, none is moved, seconds.
    """
    moved = np.array(moments, np.float64)
    for index, moment in enumerate(moments):
        near = pauses[np.abs(pauses - moment) <= reach]
        if index:
            near = near[near >= moved[index - 1] + apart]
        if index + 1 < len(moments):
            near = near[near <= moments[index + 1] - apart]
        if len(near):
            moved[index] = near[np.abs(near - moment).argmin()]
    return moved
