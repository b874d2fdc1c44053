"""How well speech moves a take's lips in stretches it was not learned from, beside what it has to beat."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import PartError
from avatar.face_mesh import EYE_CORNERS, LIPS
from avatar.motion import PER_FRAME
from avatar.speech._ridge import fit_components
from avatar.speech._sampling import correlation, taps
from avatar.speech.features import SAMPLE_RATE
from avatar.speech.lips import (
    closed_threshold,
    closure_f1,
    lip_track,
    silence_motion_ratio,
    silent_and_spoken,
)
from avatar.speech.mouth import landmark_opening, mouth_map
from avatar.speech.phones import Phone, spoken_phones
from avatar.speech.silence import loudness, mouth_activity
from avatar.speech.sync import NAME, SHIFTS, SyncCurve, expected_mouth, mouth_signals, sync_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

    from avatar.motion import Motion
    from avatar.speech.held_out import Fold, SpokenTake
    from avatar.speech.lips import LipTrack
    from avatar.speech.model import SpeechModel

TRUTH, MODEL, MEAN, NEAREST, SHUFFLED = "truth", "model", "mean_face", "nearest_audio", "shuffled"
WITHOUT_REST = "model_without_rest"
ROWS = (MODEL, TRUTH, MEAN, NEAREST, SHUFFLED, WITHOUT_REST)
# Seconds around the judged sound that help to tell its words.
CONTEXT = 1.0
# A motion is asked of the model at this rate and read at the pictures' moments.
FINE_RATE = 100.0
# Shares of the recording that sound and mouth are moved apart by for the shuffled row.
SHUFFLES = (0.2, 0.35, 0.5, 0.65, 0.8)


def with_mouth(motion: Motion, spoken: Motion, speech_part: Float[np.ndarray, "E E"]) -> Motion:
    """A motion whose mouth and jaw are another's: what speech moves of the expression, and the jaw."""
    other = spoken.expression - motion.expression
    return replace(
        motion,
        expression=(motion.expression + other @ speech_part.T).astype(np.float32),
        jaw_pose=spoken.jaw_pose.astype(np.float32),
    )


def spoken_at(model: SpeechModel, take: SpokenTake, time: Float[np.ndarray, " N"], *, resting: bool = True) -> Motion:
    """What the model says at moments of the take's sound; `resting` as it plays it, with a closed mouth in silence."""
    activity = mouth_activity(loudness(take.samples)) if resting else None
    return model.predict(take.features, fps=FINE_RATE, activity=activity).resample(time)


def measure_lips(take: SpokenTake, folds: Sequence[Fold], *, phones: Sequence[Phone] | None = None) -> dict[str, Any]:
    """Judges speech models on the moments that they have not seen, pooled.

    The rows: ``model``; ``truth``, the tracked motion, whose correlation and landmark distance are those of the
    detected landmarks (the most that can be measured); ``mean_face``, the training moments' mean mouth;
    ``nearest_audio``, the training moment whose sound is most alike; ``shuffled``, the model on sound from elsewhere
    in the take, medians over five shifts; ``model_without_rest``, the model as it would be if it did not close the
    mouth in silence, which the real mouth may well not do.

    Args:
        take: What to measure on.
        folds: The models, at least one.
        phones: The sounds of the recording; recognised around the judged moments when None.

    Returns:
        ``{row: {metric: value}}`` with None where a metric has no value, and beside the rows ``protocol``, ``sync``
        (the score's name and the curves) and ``notes``.
    """
    notes: dict[str, str] = {}
    if phones is None:
        try:
            phones = _phones_around(take, np.any([fold.judged for fold in folds], axis=0))
        except PartError as error:
            phones, notes["closure_f1"] = [], str(error)
    part = mouth_map(take.head, betas=take.motion.betas).speech_part
    detected = np.nan_to_num(landmark_opening(take.landmarks))
    names = (MODEL, WITHOUT_REST, MEAN, NEAREST, *(f"{SHUFFLED} {share}" for share in SHUFFLES))
    pieces: dict[str, list[Motion]] = {name: [] for name in (TRUTH, *names)}
    expected, rows = [], []
    for fold in folds:
        truth = take.motion[np.flatnonzero(fold.judged)]
        for name, mouth in _mouths(take, fold).items():
            pieces[name].append(with_mouth(truth, mouth, part))
        pieces[TRUTH].append(truth)
        rows.append(np.flatnonzero(fold.judged))
        expected.append(
            expected_mouth(take.features, take.time, opening=detected, train=fold.learned, test=fold.judged)
        )
    index = np.concatenate(rows)
    tracks = {name: lip_track(take.head, _joined(motions), take.camera) for name, motions in pieces.items()}
    judge = _LipJudge(take, index, tracks[TRUTH], np.concatenate(expected, axis=1), phones)
    figures = {name: judge(track) for name, track in tracks.items()}
    curves = {name: judge.curve(track.opening) for name, track in tracks.items()}
    figures[TRUTH] |= judge.ceiling()
    shuffled = [name for name in names if name.startswith(SHUFFLED)]
    curves[SHUFFLED] = SyncCurve(np.mean([curves[name].scores for name in shuffled], axis=0))
    figures[SHUFFLED] = _medians([figures[name] for name in shuffled])
    for name in ROWS:
        # A mouth that stands still follows nothing: what little varies is from fold to fold.
        still = name == MEAN
        if still:
            figures[name] |= {"mouth_opening_correlation": None, "silence_motion_ratio": None}
        figures[name]["best_offset_frames"] = None if still else curves[name].best_offset_frames
        figures[name]["sync_score"] = None if still else curves[name].score
    if phones and not judge.bilabials:
        notes["closure_f1"] = "none of the sounds p, b and m was recognised in the judged stretch"
    if not judge.silent.any():
        notes["silence_motion_ratio"] = "the judged stretch has no pause of 300 ms"
    return {name: figures[name] for name in ROWS} | {
        "protocol": {
            "folds": len(folds),
            "moments": len(index),
            "seconds": float(len(index) * np.median(np.diff(take.motion.time))),
            "offset_seconds": take.offset,
            "bilabials": judge.bilabials,
            "closed_opening_iod": judge.threshold,
            "silent_moments": int(judge.silent.sum()),
        },
        "sync": {
            "name": NAME,
            "shift_frames": SHIFTS.tolist(),
            "curves": {name: curves[name].scores.round(4).tolist() for name in ROWS if name != MEAN},
        },
        "notes": notes,
    }


class _LipJudge:
    """Measures of one row after another against the truth."""

    def __init__(
        self,
        take: SpokenTake,
        index: np.ndarray,
        truth: LipTrack,
        expected: Float[np.ndarray, "31 N 2"],
        phones: Sequence[Phone],
    ) -> None:
        self._time, self._truth, self._expected, self._phones = take.time[index], truth, expected, phones
        self._detected = take.landmarks[index].astype(np.float64)
        self.silent, self._spoken = silent_and_spoken(take.samples, self._time)
        self.threshold = closed_threshold(truth.opening)
        self.bilabials = closure_f1(self._time, truth.opening, phones=phones, threshold=self.threshold)[1]

    def __call__(self, track: LipTrack) -> dict[str, Any]:
        truth, metres = self._truth, np.linalg.norm(track.points - self._truth.points, axis=-1)
        pixels = np.linalg.norm(track.pixels - truth.pixels, axis=-1).mean(1)
        gap = (track.opening - truth.opening) * truth.eyes_metres
        return {
            "mouth_opening_correlation": correlation(track.opening, truth.opening),
            "mouth_opening_rmse_mm": 1000 * float(np.sqrt(np.mean(gap**2))),
            "lip_vertex_error_mm": 1000 * float(np.sqrt(np.mean(metres**2))),
            "lip_vertex_max_mm": 1000 * float(metres.max(1).mean()),
            "mouth_landmark_iod": float((pixels / truth.eyes).mean()),
            "closure_f1": closure_f1(self._time, track.opening, phones=self._phones, threshold=self.threshold)[0],
            "silence_motion_ratio": silence_motion_ratio(
                self._time, track.points, silent=self.silent, spoken=self._spoken
            ),
            "silence_opening_iod": float(np.median(track.opening[self.silent])) if self.silent.any() else None,
        }

    def ceiling(self) -> dict[str, Any]:
        """What the detected landmarks of the real pictures say of the tracked motion."""
        left, right = (self._detected[:, corner, :2] for corner in EYE_CORNERS)
        away = np.linalg.norm(self._detected[:, list(LIPS), :2] - self._truth.pixels, axis=-1).mean(1)
        return {
            "mouth_opening_correlation": correlation(landmark_opening(self._detected), self._truth.opening),
            "mouth_landmark_iod": float((away / np.linalg.norm(left - right, axis=1)).mean()),
        }

    def curve(self, opening: Float[np.ndarray, " N"]) -> SyncCurve:
        """The sync score of a mouth at every shift of the sound."""
        return sync_curve(self._expected, mouth_signals(self._time, opening))


def _phones_around(take: SpokenTake, judged: Bool[np.ndarray, " T"]) -> list[Phone]:
    """The sounds of the judged moments, told with a second of what surrounds them."""
    time = take.time[judged]
    first = max(int((time[0] - CONTEXT) * SAMPLE_RATE), 0)
    found = spoken_phones(take.samples[first : int((time[-1] + CONTEXT) * SAMPLE_RATE)])
    start = first / SAMPLE_RATE
    return [Phone(phone.name, phone.start + start, phone.end + start) for phone in found]


def _mouths(take: SpokenTake, fold: Fold) -> dict[str, Motion]:
    """What each row but the truth shows at the judged moments."""
    learned, judged, model = fold.learned, fold.judged, fold.model
    time, length = take.time[judged], len(take.features.values) / take.features.rate
    known = take.motion[np.flatnonzero(learned)]
    count = int(judged.sum())
    mean = replace(
        take.motion[np.flatnonzero(judged)],
        expression=np.tile(known.expression.mean(0), (count, 1)),
        jaw_pose=np.tile(known.jaw_pose.mean(0), (count, 1)),
    )
    values = np.asarray(take.features.values, np.float64)
    basis = fit_components(values, count=min(64, values.shape[1]))
    sound = taps(basis(values), take.features.rate, time=take.time, offsets=(-0.04, 0.0, 0.04))
    one, other = sound[judged], sound[learned]
    nearest = ((other**2).sum(1) - 2 * one @ other.T).argmin(1)
    alike = replace(mean, expression=known.expression[nearest], jaw_pose=known.jaw_pose[nearest])
    found = {MODEL: spoken_at(model, take, time), MEAN: mean, NEAREST: alike}
    found[WITHOUT_REST] = spoken_at(model, take, time, resting=False)
    track = spoken_at(model, take, np.arange(0, length, 1 / FINE_RATE))
    for share in SHUFFLES:
        row = np.round(((time + share * length) % length) * FINE_RATE).astype(int).clip(0, len(track) - 1)
        found[f"{SHUFFLED} {share}"] = replace(mean, expression=track.expression[row], jaw_pose=track.jaw_pose[row])
    return found


def _joined(motions: Sequence[Motion]) -> Motion:
    """Stretches of one motion, in order, as one."""
    rows = {name: np.concatenate([getattr(motion, name) for motion in motions]) for name in PER_FRAME}
    return replace(motions[0], time=np.concatenate([motion.time for motion in motions]), **rows)


def _medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of figures; None where any is None."""
    found: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        found[name] = None if any(value is None for value in values) else float(np.median(values))
    return found
