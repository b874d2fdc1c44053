"""When a motion happens: cut, faster or slower, earlier or later, calmer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.editing.curves import seconds_of
from avatar.errors import InputError
from avatar.motion import PER_FRAME, ROTATIONS, Motion

SPEEDS = (0.01, 100.0)
RATES = (1.0, 1000.0)
FILLED = 20
MOST_SMOOTHING = 60


def trim(motion: Motion, start: float = 0.0, end: float | None = None) -> Motion:
    """The motion from one time to another, which then begins at 0.

    Args:
        motion: At least one moment.
        start: Seconds from its first moment.
        end: Likewise; its last moment when None.

    Raises:
        InputError: Nothing of the motion lies between the two.
    """
    seconds = seconds_of(motion)
    last = float(seconds[-1])
    end = last if end is None else min(end, last)
    if not 0 <= start <= end or (start == end and last > 0):
        raise InputError(
            "The motion cannot be trimmed to that",
            expected=f"a start before its end, within 0 to {last:.3f} s",
            found=f"{start:g} to {end:g} s",
            fix="give times from the motion's first moment on",
        )
    # The ends themselves are moments of the result, wherever the motion's own lie.
    inside = seconds[(seconds > start + 1e-6) & (seconds < end - 1e-6)]
    times = np.unique(np.concatenate([[start], inside, [end]]))
    return replace(motion.resample(times + motion.time[0]), time=times - start)


def retime(motion: Motion, speed: float = 1.0, *, fps: float | None = None) -> Motion:
    """The motion faster or slower, and at another rate.

    Args:
        motion: At least one moment.
        speed: 2 takes half the time.
        fps: Moments a second of the result; those of the motion are kept when None.

    Raises:
        InputError: The speed or the rate is out of range.
    """
    for name, value, (low, high) in (("speed", speed, SPEEDS), ("rate", fps, RATES)):
        if value is not None and not low <= value <= high:
            raise InputError(
                f"The {name} cannot be used", expected=f"{low:g} to {high:g}", found=f"{value:g}", fix="choose another"
            )
    first = float(motion.time[0])
    slower = replace(motion, time=first + seconds_of(motion) / speed)
    if fps is None:
        return slower
    # A motion's end that lies on the grid belongs to it, whatever rounding says.
    count = int(np.floor((slower.time[-1] - first) * fps + 1e-6)) + 1
    return slower.resample(first + np.arange(count) / fps)


def shift(motion: Motion, seconds: float) -> Motion:
    """The motion later by some seconds (earlier where negative) at the same times, held where it then lacks moments."""
    if not np.isfinite(seconds):
        raise InputError("The offset cannot be used", expected="seconds", found=f"{seconds}")
    return replace(motion.resample(motion.time - seconds), time=motion.time)


def smooth(motion: Motion, seconds: float) -> Motion:
    """The motion blurred over time by a Gaussian.

    Args:
        motion: Any spacing of times.
        seconds: Standard deviation.

    Raises:
        InputError: It is negative, or more than `MOST_SMOOTHING`.
    """
    if not 0 <= seconds <= MOST_SMOOTHING:
        raise InputError("The smoothing cannot be used", expected=f"0 to {MOST_SMOOTHING} s", found=f"{seconds:g}")
    if len(motion) < 3 or seconds == 0:
        return motion
    length = float(motion.time[-1] - motion.time[0])
    # A long gap between moments that are close is not worth more than some of them.
    count = min(round(length / float(np.median(np.diff(motion.time)))), FILLED * len(motion)) + 1
    step = length / (count - 1)
    even = motion.resample(np.linspace(motion.time[0], motion.time[-1], count))
    rows = {}
    for name in PER_FRAME:
        value = getattr(even, name).astype(np.float64)
        if name in ROTATIONS:
            # About their mean, rotations are small and blur like vectors.
            mean = Rotation.from_rotvec(value).mean()
            away = _blurred((mean.inv() * Rotation.from_rotvec(value)).as_rotvec(), seconds / step)
            value = (mean * Rotation.from_rotvec(away)).as_rotvec()
        else:
            value = _blurred(value, seconds / step)
        rows[name] = value.astype(np.float32)
    return replace(replace(even, **rows).resample(motion.time), time=motion.time)


def _blurred(value: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(value, sigma, axis=0, mode="nearest")
