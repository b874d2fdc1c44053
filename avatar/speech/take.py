"""The speech features of a take, computed once and kept in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.features import SpeechFeatures, speech_features

if TYPE_CHECKING:
    from avatar.io.take import Take


def take_features(take: Take) -> SpeechFeatures | None:
    """The features of the take's sound, computed once and kept in the take; None for a silent clip."""
    track = take.speech_track()
    if track is None:
        samples = take.speech()
        if samples is None:
            return None
        features = speech_features(samples)
        take.write_speech_track(
            {"features": features.values.astype(np.float16), "rate": features.rate, "model": features.model}
        )
        return features
    return SpeechFeatures(np.asarray(track["features"], np.float32), track["rate"], track["model"])
