"""The speech features of a take, computed once and kept in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.feature_kinds import at_hand
from avatar.speech.features import LOG_MEL, MODEL, SpeechFeatures, speech_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool

    from avatar.io.take import Take

log = logging.getLogger(__name__)


def take_features(take: Take, kind: str | None = None) -> SpeechFeatures | None:
    """The features of the take's sound, computed once and kept in the take; None for a silent clip.

    Args:
        take: The take.
        kind: Which features; what the take has when None, or Whisper's, or log-mel where Whisper cannot be had.

    Raises:
        PartError: The features asked for cannot be had.
    """
    track = take.speech_track()
    if track is None or kind not in (None, track["model"]):
        samples = take.speech()
        if samples is None:
            return None
        if kind is None:
            kind = at_hand()
            if kind != MODEL:
                log.warning("Whisper cannot be had: speech is learned from %s, which tells fewer sounds apart", LOG_MEL)
        features = speech_features(samples, kind=kind)
        take.write_speech_track(
            {"features": features.values.astype(np.float16), "rate": features.rate, "model": features.model}
        )
        return features
    return SpeechFeatures(np.asarray(track["features"], np.float32), track["rate"], track["model"])


def clear_frames(take: Take, *parts: Sequence[int]) -> list[Bool[np.ndarray, " T"]]:
    """For each part of the face, by its landmarks, the used frames in which nothing, such as a hand, is before it."""
    used, hidden = take.used, take.hidden_landmarks()
    return [used & ~hidden[:, list(part)].any(1) for part in parts]
