"""Level and noise of a take's sound, and how far it is from the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.preprocess.capture_figures import SoundFigures, SyncFigures
from avatar.speech.mouth import landmark_opening
from avatar.speech.offset import estimate_offset
from avatar.speech.silence import HOP, RATE, loudness, speech_activity
from avatar.speech.take import take_features

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.io.take import Take

# Fewer seconds of pauses say nothing about the noise.
PAUSES = 0.5
# From here on a sample counts as clipped; resampling rounds the edges of a flat top.
FULL_SCALE = 0.98
QUIETEST = 5
# Quieter than the rounding of 16 bits: nothing was recorded there, which says nothing of the noise either. Editors,
# noise gates and gaps of the sound's clock leave this, and so does what lies between two shots.
NOTHING_DB = -100.0


def sound_figures(samples: Float[np.ndarray, " N"]) -> SoundFigures:
    """Levels of speech and pauses of 16 kHz mono."""
    level = loudness(samples)
    activity = speech_activity(level)
    speech, pause = activity >= 0.99, activity <= 0.01
    row = HOP / RATE
    recorded = level > NOTHING_DB
    if (pause & recorded).sum() * row >= PAUSES:
        noise = _mean_db(level[pause & recorded])
    elif recorded.any():
        # Between syllables the noise is heard too; some speech may be left in it, so the truth is at most this.
        noise = float(np.percentile(level[recorded], QUIETEST))
    else:
        noise = _mean_db(level) if len(level) else -120.0
    spoken = _mean_db(level[speech]) if speech.any() else None
    if spoken is None:
        ratio = None
    else:
        # What was measured in speech is speech and noise; a signal below the noise is not resolved further.
        clean = max(10 ** (spoken / 10) - 10 ** (noise / 10), 10 ** (noise / 10) * 1e-1)
        ratio = round(10 * float(np.log10(clean)) - noise, 1)
    return SoundFigures(
        speech_db=None if spoken is None else round(spoken, 1),
        noise_db=round(noise, 1),
        snr_db=ratio,
        speech_seconds=round(float(speech.sum()) * row, 2),
        pause_seconds=round(float(pause.sum()) * row, 2),
        clipped=round(float((np.abs(samples) >= FULL_SCALE).mean()), 6) if len(samples) else 0.0,
    )


def sync_figures(take: Take) -> SyncFigures | None:
    """The offset of picture and sound; None for a silent take."""
    features = take_features(take)
    if features is None:
        return None
    opening = landmark_opening(take.perception()["landmarks"])
    seen = take.used & np.isfinite(opening)
    offset = estimate_offset(features, take.times, opening=np.nan_to_num(opening), used=seen)
    return SyncFigures(round(offset.seconds, 3), round(offset.confidence, 3), offset.note)


def _mean_db(level: np.ndarray) -> float:
    """Mean power of levels in dB."""
    return float(10 * np.log10(np.mean(10 ** (level / 10)) + 1e-12))
