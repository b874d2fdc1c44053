"""Makes an avatar under training listen: its residuals see the take's sound beside the motion."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import PartError
from avatar.fields.condition import MotionCondition, motion_features
from avatar.fields.listening import with_sound
from avatar.fields.speech_condition import SpeechCondition
from avatar.speech.mouth import landmark_opening
from avatar.speech.offset import estimate_offset
from avatar.speech.silence import loudness, speech_activity
from avatar.speech.take import take_features

if TYPE_CHECKING:
    from jaxtyping import Int

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.speech.features import SpeechFeatures

log = logging.getLogger(__name__)
LEAST_FRAMES = 100
# Drawn apart from the order of the frames and from the backgrounds.
DROP_STREAM = 2


def listen(take: Take, gaussians: GaussianHead, indices: Int[np.ndarray, " n"], components: int) -> Motion:
    """Gives an untrained avatar residuals that the take's sound drives; returns the take's motion with that sound.

    An avatar of a silent clip, of one whose picture and sound do not belong together, or of too few frames moves by
    motion alone. Held-out frames have no part in what is listened to.
    """
    motion = take.motion()
    features, samples = _features(take) if components else None, take.speech()
    if features is None or samples is None or len(indices) < LEAST_FRAMES:
        return motion
    offset = training_offset(take, features, indices)
    if offset is None:
        return motion
    moved, times = motion_features(motion[indices], gaussians.head), motion.time[indices] + offset
    told = MotionCondition(gaussians.condition.mean, gaussians.condition.basis.detach())
    gaussians.listen(SpeechCondition.fit(features, times, moved, told, components))
    return with_sound(motion, gaussians, features, activity=speech_activity(loudness(samples)), offset=offset)


def heard_motion(take: Take, gaussians: GaussianHead, motion: Motion) -> Motion:
    """A motion at moments of the take with what the avatar hears of the take's sound then."""
    features, samples = _features(take) if gaussians.sound else None, take.speech()
    if features is None or samples is None:
        return motion
    offset = training_offset(take, features, take.split()["train"])
    activity = speech_activity(loudness(samples))
    return motion if offset is None else with_sound(motion, gaussians, features, activity=activity, offset=offset)


def training_offset(take: Take, features: SpeechFeatures, indices: Int[np.ndarray, " n"]) -> float | None:
    """How far the sound lies behind the picture by the training frames, seconds; None where they do not tell."""
    opening = landmark_opening(take.perception()["landmarks"])
    seen = np.isin(np.arange(len(take)), indices) & np.isfinite(opening)
    offset = estimate_offset(features, take.times, opening=np.nan_to_num(opening), used=seen)
    return None if offset.note else offset.seconds


def muted(pose: Pose, gaussians: GaussianHead, share: float, seed: int, step: int) -> Pose:
    """The pose of a training step, with silence in place of the sound in a share of the steps.

    So that no sound is a condition that the avatar has seen.
    """
    if gaussians.sound is None or np.random.default_rng([seed, step, DROP_STREAM]).random() >= share:
        return pose
    condition = pose.condition.clone()
    condition[-len(gaussians.sound) :] = 0
    return replace(pose, condition=condition)


def _features(take: Take) -> SpeechFeatures | None:
    try:
        return take_features(take)
    except PartError as error:
        log.warning("The avatar moves by motion alone, not by sound: %s", error)
        return None
