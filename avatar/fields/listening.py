"""Puts what an avatar's residuals hear of a sound into a motion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.fields.condition import motion_features
from avatar.speech.features import SAMPLE_RATE, SpeechFeatures, speech_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.sound import StoredSound
    from avatar.motion import Motion

# Sound is worked on in stretches, so that memory does not grow with its length; context on either side hides the seams.
STRETCH_SECONDS, CONTEXT_SECONDS = 60, 3


def with_sound(
    motion: Motion,
    gaussians: GaussianHead,
    sound: Float[np.ndarray, " N"] | StoredSound | SpeechFeatures,
    *,
    activity: Float[np.ndarray, " M"] | None = None,
    offset: float = 0.0,
) -> Motion:
    """A motion with what the avatar hears of the sound that goes with it; as it is for an avatar that does not listen.

    Args:
        motion: Any motion of the avatar's head model.
        gaussians: The avatar.
        sound: Mono samples at 16 kHz of any length, or the same on disk; or features of them.
        activity: (M,) weight of speech over silence every 10 ms of the sound: in silence nothing is heard.
        offset: Sound time less motion time of the same moment, seconds.

    Raises:
        InputError: The features are of another network, layer or rate than those that the avatar listens to.
    """
    heard = gaussians.sound
    if heard is None or not len(motion):
        return motion
    moved, times = motion_features(motion, gaussians.head), np.asarray(motion.time, np.float64) + offset
    values = np.zeros((len(motion), len(heard)), np.float32)
    for first, inside, features in _stretches(sound, times):
        shifted = None if activity is None else activity[round(100 * first) :]
        values[inside] = heard(features, times[inside] - first, moved[inside], shifted)
    return replace(motion, sound=values, sound_id=heard.id)


def _stretches(
    sound: Float[np.ndarray, " N"] | StoredSound | SpeechFeatures, times: Float[np.ndarray, " T"]
) -> Iterator[tuple[float, np.ndarray, SpeechFeatures]]:
    """Features of a sound piece by piece: the piece's first second, which moments it is for, and its features."""
    if isinstance(sound, SpeechFeatures):
        yield 0.0, np.ones(len(times), bool), sound
        return
    for start in range(0, max(len(sound), 1), STRETCH_SECONDS * SAMPLE_RATE):
        stop, first = start + STRETCH_SECONDS * SAMPLE_RATE, max(start - CONTEXT_SECONDS * SAMPLE_RATE, 0)
        inside = (times * SAMPLE_RATE >= start) & (times * SAMPLE_RATE < stop)
        if inside.any():
            samples = np.asarray(sound[first : stop + CONTEXT_SECONDS * SAMPLE_RATE], np.float32)
            yield first / SAMPLE_RATE, inside, speech_features(samples)
