"""Speech in an evaluation: how well it moves the lips of a take, and the held-out frames as it would show them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avatar.errors import InputError, PartError
from avatar.face_mesh import LIPS
from avatar.fields.survey import take_camera
from avatar.speech.augment import augmented_features
from avatar.speech.blinks import find_blinks
from avatar.speech.held_out import SpokenTake, cross_splits, fit_folds, tail_split
from avatar.speech.life import natural_motion
from avatar.speech.life_model import LifeModel
from avatar.speech.lip_quality import ROWS, measure_lips, spoken_at, with_mouth
from avatar.speech.mouth import landmark_opening, mouth_map
from avatar.speech.offset import estimate_offset
from avatar.speech.silence import loudness, speech_activity
from avatar.speech.take import clear_frames, take_features

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.speech.model import SpeechModel

# Long enough for a rate of blinks, seconds.
LIFE_SECONDS, LIFE_RATE = 120.0, 25.0


class SpeechQuality(NamedTuple):
    """What an evaluation says of speech.

    Attributes:
        figures: For the JSON: the rows of `measure_lips`, or ``driven`` False and a ``note``.
        motion: The held-out moments as speech drives them, with the tracked pose of head and shoulders; None where
            the take cannot be spoken.
    """

    figures: dict[str, Any]
    motion: Motion | None


def judge_speech(
    take: Take, head: Head, *, cross_validate: bool = False, progress: Callable[[int, int], None] | None = None
) -> SpeechQuality:
    """Fits the speech model without the held-out moments and judges it on them.

    Offset, model, lids, gaze and brows are learned from the training moments alone.

    Args:
        take: A tracked take.
        head: Its head model.
        cross_validate: State the rows of five models on five blocks of the whole take, each learned from the rest;
            those of the held-out tail are then under ``held_out_tail``. The offset is then measured on the whole take.
        progress: Called with the models fitted and the models in all.
    """
    try:
        features, samples = take_features(take), take.speech()
    except PartError as error:
        return SpeechQuality(_silent(str(error)), None)
    if features is None or samples is None:
        return SpeechQuality(
            _silent("the clip has no sound to hold the mouth against; the general speech model speaks for the avatar"),
            None,
        )
    motion, landmarks, (used,) = take.motion(), take.perception()["landmarks"], clear_frames(take, LIPS)
    split = take.split()
    train, test = (np.isin(np.arange(len(used)), split[name]) for name in ("train", "test"))
    opening = landmark_opening(landmarks)
    copies = augmented_features(samples, kind=features.model)

    def measured_on(moments: Bool[np.ndarray, " T"]) -> SpokenTake:
        seen = moments & np.isfinite(opening)
        offset = estimate_offset(features, motion.time, opening=np.nan_to_num(opening), used=seen)
        camera = take_camera(take)
        return SpokenTake(features, samples, motion, landmarks, used, offset.seconds, head, camera, copies)

    try:
        tail = measured_on(train)
        folds = fit_folds(tail, tail_split(tail, test), progress=None if cross_validate else progress)
        if not folds:
            return SpeechQuality(_silent("none of the held-out frames has sound"), None)
        figures = {"driven": True} | measure_lips(tail, folds)
        if cross_validate:
            whole = measured_on(used)
            crossed = measure_lips(whole, fit_folds(whole, cross_splits(whole), progress=progress))
            figures = {"driven": True} | crossed | {"held_out_tail": figures}
    except InputError as error:
        return SpeechQuality(_silent(str(error)), None)
    life = LifeModel.from_motion(motion, head=head, used=train)
    figures["life"] = _life_figures(life, motion, used)
    return SpeechQuality(figures, _spoken_motion(tail, folds[0].model, life, np.flatnonzero(test)))


def _silent(note: str) -> dict[str, Any]:
    return {"driven": False, "note": note} | dict.fromkeys(ROWS)


def _spoken_motion(take: SpokenTake, model: SpeechModel, life: LifeModel, rows: np.ndarray) -> Motion:
    """The tracked head pose at rows of the take with everything else as speech would have it."""
    truth, part = take.motion[rows], mouth_map(take.head, betas=take.motion.betas).speech_part
    activity = speech_activity(loudness(take.samples))
    energy = np.interp(take.time, np.arange(len(activity)) / 100, activity)
    alive = natural_motion(life, take.motion.time - take.motion.time[0], seed=0, speech_energy=energy)
    spoken = with_mouth(truth, spoken_at(model, take, take.time[rows]), part)
    upper = truth.expression @ (np.eye(len(part)) - part).T
    return replace(
        spoken,
        expression=(spoken.expression - upper + alive.upper[rows]).astype(np.float32),
        **{name: alive.rows[name][rows] for name in ("leye_pose", "reye_pose", "eyelids")},
    )


def _life_figures(life: LifeModel, motion: Motion, used: Bool[np.ndarray, " T"]) -> dict[str, float]:
    """Blinks a minute of the take and of two minutes that the model made up."""
    kept = motion[used]
    made = natural_motion(life, np.arange(0, LIFE_SECONDS, 1 / LIFE_RATE), seed=0)
    rates = [
        60 * len(find_blinks(one.time, one.eyelids.mean(1))[0]) / max(float(one.time[-1] - one.time[0]), 1e-9)
        for one in (kept, made)
    ]
    return {"blinks_per_minute_take": rates[0], "blinks_per_minute_model": rates[1]}
