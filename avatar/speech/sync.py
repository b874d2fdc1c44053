"""An own score of how well a mouth and a sound go together, by time shift: no SyncNet, and not comparable with one.

A ridge regression learns, from pictures and sound that belong together, which opening of the mouth and which speed of
opening a moment of sound asks for. A mouth's score at a shift is the correlation of what it does with what the shifted
sound asks for, averaged over opening and speed. Speed makes the peak sharp: an opening hardly changes within a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech._ridge import fit_components, fit_ridge
from avatar.speech._sampling import correlation, taps

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.speech.features import SpeechFeatures

NAME = "mouth-and-Whisper ridge correlation (own score, not SyncNet)"
COMPONENTS, PENALTY = 64, 0.1
# One moment of sound and its neighbours: a wide window would learn to undo a shift.
OFFSETS = (-0.04, 0.0, 0.04)
# Frames that the sound is shifted by, either way.
REACH = 15
SHIFTS = np.arange(-REACH, REACH + 1)


@dataclass(frozen=True)
class SyncCurve:
    """A mouth's score at every shift of the sound.

    Attributes:
        scores: (31,) at -15 to 15 frames; positive: the mouth meets sound that comes later.
    """

    scores: Float[np.ndarray, " 31"]

    @property
    def score(self) -> float:
        """At no shift."""
        return float(self.scores[REACH])

    @property
    def best_offset_frames(self) -> int:
        """The shift with the best score."""
        return int(SHIFTS[self.scores.argmax()])


def expected_mouth(
    features: SpeechFeatures,
    time: Float[np.ndarray, " T"],
    *,
    opening: Float[np.ndarray, " T"],
    train: Bool[np.ndarray, " T"],
    test: Bool[np.ndarray, " T"],
) -> Float[np.ndarray, "31 N 2"]:
    """What shifted sound asks of the mouth at the N test moments: opening and speed, standardised as in training.

    Args:
        features: Of the recording's sound.
        time: (T,) seconds on the clock of the sound.
        opening: (T,) of the real mouth.
        train: Moments to learn from.
        test: Moments to ask for.
    """
    spacing = float(np.median(np.diff(time)))
    wanted = mouth_signals(time, opening)
    middle, spread = wanted[train].mean(0), wanted[train].std(0) + 1e-9
    values = np.asarray(features.values, np.float64)
    values = fit_components(values, count=min(COMPONENTS, values.shape[1]))(values)
    inputs = taps(values, features.rate, time=time, offsets=OFFSETS)
    model = fit_ridge(inputs[train], (wanted[train] - middle) / spread, penalty=PENALTY)
    shifted = [taps(values, features.rate, time=time[test] + shift * spacing, offsets=OFFSETS) for shift in SHIFTS]
    return np.stack([model(rows) for rows in shifted])


def sync_curve(expected: Float[np.ndarray, "31 N 2"], signals: Float[np.ndarray, "N 2"]) -> SyncCurve:
    """The curve of a mouth, of what `expected_mouth` and `mouth_signals` give for the same moments."""
    return SyncCurve(np.array([np.mean([correlation(row[:, k], signals[:, k]) for k in range(2)]) for row in expected]))


def mouth_signals(time: Float[np.ndarray, " T"], opening: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 2"]:
    """Opening and its speed a second; gaps between stretches of moments have no speed of their own."""
    step = np.diff(time)
    speed = np.diff(opening) / step
    speed[step > 1.5 * np.median(step)] = 0.0
    padded = np.concatenate([speed[:1], speed, speed[-1:]])
    return np.column_stack([opening, (padded[1:] + padded[:-1]) / 2])
