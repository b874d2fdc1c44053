"""The even track of what a head does beside speaking: its moments, its columns, and the lids that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.blinks import find_blinks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.motion import Motion

RATE = 25.0
MAXIMUM_FRAMES = 1500
POSE_WIDTH, TORSO_WIDTH = 9, 3
BROWS = POSE_WIDTH + TORSO_WIDTH  # first column of the brows in a track
POSTURE = slice(6, BROWS)  # translation and shoulders
# A blink and what the lids do around it, seconds either side.
BLINK = 0.2


def track_times(time: Float[np.ndarray, " T"]) -> Float[np.ndarray, " N"]:
    """Moments 1/25 s apart over a take, the middle minute of a longer one."""
    count = max(int((time[-1] - time[0]) * RATE) + 1, 1)
    first = max(count - MAXIMUM_FRAMES, 0) // 2
    return time[0] + np.arange(first, first + min(count, MAXIMUM_FRAMES)) / RATE


def lids_between_blinks(
    motion: Motion, time: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Mean closure of both lids at moments, and which of these lie away from blinks."""
    closure = motion.eyelids.mean(axis=1)
    moments, _ = find_blinks(motion.time, closure)
    away = np.abs(time[:, None] - moments).min(axis=1, initial=np.inf) > BLINK
    return np.interp(time, motion.time, closure), away
