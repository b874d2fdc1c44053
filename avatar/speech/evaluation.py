"""How well speech predicts a take's mouth, on stretches the model has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech._calibration import fit_calibration
from avatar.speech._lesson import Lesson
from avatar.speech._ridge import fit_components
from avatar.speech._sampling import blocked_folds, correlation, taps
from avatar.speech._space import fit_mouth_space, mouth_of
from avatar.speech.fitting import SpeechConfig
from avatar.speech.mouth import mouth_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

    from avatar.heads import Head
    from avatar.motion import Motion
    from avatar.speech.features import SpeechFeatures

FOLDS = 5
CLOSED_QUANTILE = 0.1


@dataclass(frozen=True)
class SpeechScores:
    """Held-out scores of the mouth's opening (inner-lip gap), pooled over blocked folds with 0.4 s gaps.

    Attributes:
        correlation: Of the calibrated prediction with the take.
        rmse_mm: Root mean square error before calibration, millimetres.
        rmse_mean_face_mm: That of the take's mean mouth.
        rmse_nearest_frame_mm: That of showing the training frame whose sound is most alike.
        mouth_rmse_mm: Error of all mouth components (lower-face displacement), millimetres.
        mouth_rmse_mean_face_mm: That of the take's mean mouth.
        spread: Standard deviation of the calibrated prediction over the take's.
        closure_f1: F1 of finding the tenth of the frames where the take's mouth is most closed (within 40 ms).
        seconds: Tracked speech that was used.
    """

    correlation: float
    rmse_mm: float
    rmse_mean_face_mm: float
    rmse_nearest_frame_mm: float
    mouth_rmse_mm: float
    mouth_rmse_mean_face_mm: float
    spread: float
    closure_f1: float
    seconds: float


def evaluate_speech(
    features: SpeechFeatures,
    motion: Motion,
    *,
    offset: float,
    head: Head,
    used: Bool[np.ndarray, " T"] | None = None,
    copies: Sequence[Sequence[SpeechFeatures]] = ((),),
    config: SpeechConfig | None = None,
) -> SpeechScores:
    """Cross-validates the recipe of `fit_speech_model` on five blocks of a take, one net each.

    Each block's calibration is learned from the other blocks' held-out predictions.

    Args:
        features: Features of the take's sound.
        motion: The take's tracked motion.
        offset: Sound time minus picture time, seconds.
        head: The head model the motion belongs to.
        used: (T,) which moments were tracked well; all when left out.
        copies: Features of the sound as if recorded otherwise, in groups; of them only the first is used.
        config: Settings of the fit; of its seeds only the first is used.
    """
    config = replace(config or SpeechConfig(), folds=FOLDS)
    time = np.asarray(motion.time, np.float64) + offset
    mask = np.ones(len(motion), bool) if used is None else np.asarray(used, bool)
    mask = mask & (time >= 0) & (time <= len(features.values) / features.rate)
    mouth = mouth_map(head, betas=motion.betas, jaw=motion.jaw_pose[mask].mean(axis=0))
    values, opening = mouth_of(motion, mouth)
    space = fit_mouth_space(values[mask], opening[mask], mouth)
    targets = space.encode(values, opening)
    basis = fit_components(features.values, count=config.components)
    sound = taps(basis(features.values), features.rate, time=time, offsets=(-0.04, 0.0, 0.04))

    lesson = Lesson.of(features, copies, time=time, targets=targets, mask=mask, space=space, mouth=mouth, config=config)

    raw, mean, nearest = (np.full_like(targets, np.nan) for _ in range(3))
    fold = np.full(len(time), -1)
    for index, (train, test) in enumerate(blocked_folds(time, count=FOLDS, among=mask)):
        rows = train & mask
        raw[test] = lesson.predicted(lesson.learned(rows, config.seeds[:1]), test)
        mean[test] = targets[rows].mean(axis=0)
        distance = (sound[test] ** 2).sum(1)[:, None] - 2 * sound[test] @ sound[rows].T + (sound[rows] ** 2).sum(1)
        nearest[test] = targets[rows][distance.argmin(axis=1)]
        fold[test] = index
    judged = mask & (fold >= 0)
    shown = np.full_like(targets, np.nan)
    for index in np.unique(fold[judged]):
        others = judged & (fold != index)
        calibration = fit_calibration(raw[others], targets[others], restore=config.restore)
        shown[fold == index] = calibration(raw[fold == index])

    truth, gap = targets[judged], 1000 * space.opening[1]
    size = 1000 * space.size[0]

    def opening_error(predicted: Float[np.ndarray, "T J"]) -> float:
        return float(np.sqrt(np.mean((predicted[judged, 0] - truth[:, 0]) ** 2)) * gap)

    def mouth_error(predicted: Float[np.ndarray, "T J"]) -> float:
        return float(np.sqrt(np.mean(((predicted[judged, 1:] - truth[:, 1:]) ** 2).sum(axis=1))) * size)

    return SpeechScores(
        correlation=correlation(shown[judged, 0], truth[:, 0]),
        rmse_mm=opening_error(raw),
        rmse_mean_face_mm=opening_error(mean),
        rmse_nearest_frame_mm=opening_error(nearest),
        mouth_rmse_mm=mouth_error(raw),
        mouth_rmse_mean_face_mm=mouth_error(mean),
        spread=float(shown[judged, 0].std() / max(truth[:, 0].std(), 1e-9)),
        closure_f1=_closure_f1(time[judged], shown[judged, 0], truth[:, 0]),
        seconds=float(judged.sum() * np.median(np.diff(time))),
    )


def _closure_f1(
    time: Float[np.ndarray, " T"],
    predicted: Float[np.ndarray, " T"],
    truth: Float[np.ndarray, " T"],
    *,
    tolerance: float = 0.04,
) -> float:
    """F1 of the most closed tenth by prediction against that of the take, each hit within ``tolerance`` seconds."""
    wanted = time[truth <= np.quantile(truth, CLOSED_QUANTILE)]
    found = time[predicted <= np.quantile(predicted, CLOSED_QUANTILE)]

    def hits(of: np.ndarray, among: np.ndarray) -> float:
        return float((np.abs(of[:, None] - among).min(axis=1) <= tolerance + 1e-6).mean())

    precision, recall = hits(found, wanted), hits(wanted, found)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
