"""Fits one person's speech model to one take, in well under a minute of one core."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.heads.subject import subject_head
from avatar.motion import ROTATIONS
from avatar.speech._calibration import fit_calibration
from avatar.speech._lesson import Lesson
from avatar.speech._sampling import blocked_folds
from avatar.speech._space import closed_at_rest, fit_mouth_space, mouth_of
from avatar.speech.model import SpeechModel
from avatar.speech.mouth import mouth_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool

    from avatar.heads import Head
    from avatar.motion import Motion
    from avatar.speech.features import SpeechFeatures

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechConfig:
    """How the speech model is fitted.

    Attributes:
        components: Principal components of the features that the ridge sees.
        penalty: Ridge penalty, in squared units of the first component.
        seeds: One net per seed, averaged.
        steps: Optimiser steps of each net.
        folds: Blocks left out in turn to learn the calibration; at least 2.
        restore: How much of the take's variance is restored, 0 (least squares) to 1 (all).
        minimum_seconds: Shortest stretch of tracked speech that is accepted.
    """

    components: int = 64
    penalty: float = 0.1
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 100
    folds: int = 3
    restore: float = 0.6
    minimum_seconds: float = 3.0


def fit_speech_model(
    features: SpeechFeatures,
    motion: Motion,
    *,
    offset: float,
    head: Head,
    used: Bool[np.ndarray, " T"] | None = None,
    copies: Sequence[Sequence[SpeechFeatures]] = ((),),
    config: SpeechConfig | None = None,
    progress: Callable[[float], None] | None = None,
) -> SpeechModel:
    """Learns how one person's mouth moves with their speech.

    Ridge regression on principal components of the features with taps at -40, 0 and +40 ms, averaged with two small
    convolution nets. The targets are the mouth's opening and a compact space of the take's own mouth expressions and
    jaw; brows and lids are left to `avatar.speech.life`. Everything is in seconds, at any frame rate.

    Args:
        features: Features of the take's sound.
        motion: The take's tracked motion, T moments.
        offset: Sound time minus picture time, seconds (`avatar.speech.offset.SyncOffset.seconds`).
        head: The head model the motion belongs to.
        used: (T,) which moments were tracked well; all when left out.
        copies: Features of the sound as if recorded otherwise (`avatar.speech.augment`), a group for each net in turn.
        config: Settings.
        progress: Called with the share done, 0 to 1.

    Raises:
        InputError: The motion is of another head, or picture and sound share too little time.
    """
    config = config or SpeechConfig()
    if motion.head_hash != head.hash:
        raise InputError(
            "The motion belongs to another head model",
            expected=f"{head.id} ({head.hash[:12]})",
            found=f"{motion.head_id} ({motion.head_hash[:12]})",
            fix="track the clip again with this head model",
        )
    time = np.asarray(motion.time, np.float64) + offset
    mask = np.ones(len(motion), bool) if used is None else np.asarray(used, bool)
    mask = mask & (time >= 0) & (time <= len(features.values) / features.rate)
    # Seconds of tracked speech: a typical frame's spacing for each used frame.
    seconds = float(mask.sum() * np.median(np.diff(time))) if len(time) > 1 else 0.0
    if seconds < config.minimum_seconds:
        raise InputError(
            "The take has too little speech to learn from",
            expected=f"{config.minimum_seconds:g} s of tracked pictures with sound",
            found=f"{seconds:.1f} s",
            fix="record the person talking for 20 s or more",
        )

    mouth = mouth_map(head, betas=motion.betas, jaw=motion.jaw_pose[mask].mean(axis=0))
    values, opening = mouth_of(motion, mouth)
    upper = motion.expression[mask].astype(np.float64).mean(axis=0)
    upper = upper - mouth.speech_part @ upper
    space = fit_mouth_space(values[mask], opening[mask], mouth)
    space = closed_at_rest(space, mouth, subject=subject_head(head, motion), upper=upper)
    targets = space.encode(values, opening)

    lesson = Lesson.of(features, copies, time=time, targets=targets, mask=mask, space=space, mouth=mouth, config=config)
    done, total = 0, config.steps * (len(config.seeds) + (config.folds if config.seeds else 0))

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done / total)

    held_out = np.full_like(targets, np.nan)
    for train, test in blocked_folds(time, count=config.folds, among=mask):
        held_out[test] = lesson.predicted(lesson.learned(train & mask, config.seeds[:1], on_step=step), test)
    judged = mask & np.isfinite(held_out).all(axis=1)
    calibration = fit_calibration(held_out[judged], targets[judged], restore=config.restore)
    regressor = lesson.learned(mask, config.seeds, on_step=step)
    if progress:
        progress(1.0)
    log.info("speech model fitted on %.1f s, %d components", seconds, len(space.outward))

    means = [Rotation.from_rotvec(getattr(motion, name)[mask]).mean().as_rotvec() for name in ROTATIONS]
    model = SpeechModel(
        regressor=regressor,
        calibration=calibration,
        space=space,
        pose=np.stack([*means, motion.transl[mask].mean(axis=0)]),
        eyelids=np.median(motion.eyelids[mask], axis=0).astype(np.float64),
        upper=upper,
        betas=np.asarray(motion.betas, np.float64),
        head_id=motion.head_id,
        head_hash=motion.head_hash,
        feature_model=features.model,
        feature_rate=float(features.rate),
    )
    # Rounded as a stored model is, so that a loaded one gives the same motion to the last bit.
    return SpeechModel.from_tensors(model.to_tensors(), model.settings())
