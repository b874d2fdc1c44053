"""How far picture and sound of a recording are apart, measured from the recording itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import InputError
from avatar.speech._ridge import fit_components, fit_ridge
from avatar.speech._sampling import blocked_folds, correlation, sample_features

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.speech.features import SpeechFeatures

COMPONENTS, PENALTY, FOLDS = 48, 0.1, 5
STEP = 0.04
# A wrong pairing gives scores that wander by about 0.1; the sharp peak of a true one is half a dozen steps wide.
FAR = 0.16
MINIMUM_SECONDS = 4.0
MINIMUM_CONFIDENCE = 0.5


@dataclass(frozen=True)
class SyncOffset:
    """The measured distance of picture and sound.

    Attributes:
        seconds: Sound time minus picture time of the same moment: the sound that belongs to the picture at ``t`` is
            at ``t + seconds``. Positive: the picture is early. 0 where the measurement is not trusted.
        confidence: 0 to 1; below 0.5 the offset is not trusted.
        scores: (K, 2) the offsets tried, in seconds, and the held-out correlation of the mouth's opening at each.
        note: Why the offset was not trusted, or empty.
    """

    seconds: float
    confidence: float
    scores: Float[np.ndarray, "K 2"]
    note: str = ""


def estimate_offset(
    features: SpeechFeatures,
    time: Float[np.ndarray, " T"],
    *,
    opening: Float[np.ndarray, " T"],
    used: Bool[np.ndarray, " T"] | None = None,
    limit: float = 0.4,
) -> SyncOffset:
    """Finds the shift at which the sound predicts the opening of the mouth best on held-out stretches.

    A ridge regression sees one moment of speech features only: wide windows would learn to undo a wrong offset. It is
    fitted at shifts 40 ms apart inside blocked cross-validation folds with gaps, and a parabola through the best three
    scores gives the peak. The two halves of the recording must agree, and the peak must stand out of the rest.

    Args:
        features: Speech features of the recording's sound.
        time: (T,) picture times, seconds.
        opening: (T,) opening of the mouth in the picture, any unit.
        used: (T,) which moments to trust; all when left out.
        limit: Largest shift looked for either way, seconds.

    Returns:
        The offset; 0 with a note when the recording is too short or its scores show no clear peak.

    Raises:
        InputError: The picture's times and openings do not fit each other.
    """
    if len(time) != len(opening):
        raise InputError(
            "The offset of picture and sound cannot be measured",
            expected="one mouth opening per picture",
            found=f"{len(opening)} openings, {len(time)} times",
        )
    trusted = np.ones(len(time), bool) if used is None else np.asarray(used, bool)
    # One step beyond the limit on either side lets a peak at the limit be seen as a peak.
    steps = round(limit / STEP) + 1
    offsets = STEP * np.arange(-steps, steps + 1)
    length = len(features.values) / features.rate
    # The same moments serve every shift, so that no shift is favoured by easier ones.
    trusted &= (time + offsets[0] >= 0) & (time + offsets[-1] <= length)
    time, opening = np.asarray(time, np.float64)[trusted], np.asarray(opening, np.float64)[trusted]
    if len(time) < 2 or time[-1] - time[0] < MINIMUM_SECONDS or np.ptp(opening) == 0:
        return SyncOffset(0.0, 0.0, np.stack([offsets, np.zeros_like(offsets)], axis=1), "too little speech to measure")

    values = np.asarray(features.values, np.float64)
    values = fit_components(values, count=min(COMPONENTS, values.shape[1]))(values)
    held_out = np.stack([_held_out(values, features.rate, time, offset, opening) for offset in offsets])
    middle = time < (time[0] + time[-1]) / 2
    scores = np.array([correlation(row, opening) for row in held_out])
    halves = [_peak(offsets, [correlation(row[h], opening[h]) for row in held_out]) for h in (middle, ~middle)]

    seconds, best = _peak(offsets, scores), scores.max()
    far = scores[np.abs(offsets - offsets[scores.argmax()]) >= FAR]
    contrast = best - float(far.mean())
    # A correlation of n independent moments wanders by 1 / sqrt(n); speech has about three of them a second.
    expected_noise = 1 / np.sqrt(3 * (time[-1] - time[0]))
    confidence = float(np.clip((contrast - expected_noise) / 0.3, 0, 1))
    confidence *= float(np.exp(-(((halves[0] - halves[1]) / 0.16) ** 2)))
    note = ""
    if abs(seconds) > limit:
        note, confidence = f"the best offset lies beyond {limit} s", 0.0
    elif confidence < MINIMUM_CONFIDENCE:
        note = (
            f"no clear peak: best correlation {best:.2f} at {seconds:+.2f} s, halves {halves[0]:+.2f} {halves[1]:+.2f}"
        )
    return SyncOffset(0.0 if note else seconds, confidence, np.stack([offsets, scores], axis=1), note)


def _held_out(
    values: Float[np.ndarray, "N P"], rate: float, time: Float[np.ndarray, " T"], offset: float, opening: np.ndarray
) -> Float[np.ndarray, " T"]:
    """Held-out predictions of the opening at one offset."""
    inputs = sample_features(values, rate, time=time + offset)
    predicted = np.zeros_like(opening)
    for train, test in blocked_folds(time, count=FOLDS):
        model = fit_ridge(inputs[train], opening[train, None], penalty=PENALTY)
        predicted[test] = model(inputs[test])[:, 0]
    return predicted


def _peak(offsets: Float[np.ndarray, " K"], scores: np.ndarray | list[float]) -> float:
    """Where the parabola through the best score and its two neighbours has its top, seconds."""
    best = int(np.argmax(scores))
    if best in (0, len(offsets) - 1):
        return float(offsets[best])
    left, top, right = scores[best - 1], scores[best], scores[best + 1]
    curvature = left - 2 * top + right
    return float(offsets[best] + (0.5 * (left - right) / curvature if curvature < 0 else 0.0) * STEP)
