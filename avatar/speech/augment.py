"""A voice as other microphones, rooms and days would have recorded it: level, pitch, reverberation and noise."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import soxr

from avatar.errors import PartError
from avatar.speech.features import SAMPLE_RATE, speech_features

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.speech.features import SpeechFeatures

log = logging.getLogger(__name__)

# Of every copy its level in dB, its pitch in semitones, its noise in dB below the voice, and its room.
ROOMS = ({"level": -6.0, "room": 0.2}, {"level": 3.0, "room": 0.35})
VOICES = ({"level": -12.0, "pitch": -2.0}, {"level": 6.0, "pitch": 2.0})
NOISES = ({"level": -3.0, "noise": 25.0}, {"level": 0.0, "noise": 15.0})
# Half the length of the pieces that a sound is stretched by, and how far a better place for one is looked for, samples:
# 20 ms, and 8 ms for a period of the lowest voices.
HOP, SEARCH = 320, 128
# Of a longer recording the beginning is copied, seconds: it has enough of its own.
LONGEST = 60
# How much louder the voice itself arrives than its room begins, in standard deviations, and the time constant of the
# room's decay as a share of its length.
DIRECT, DECAY = 7.0, 1 / 6


def augmented_features(
    samples: Float[np.ndarray, " N"], *, kind: str, seed: int = 0
) -> tuple[list[SpeechFeatures], list[SpeechFeatures]]:
    """Features of copies of a recording's first minute, on its own clock: in rooms, and in all ways.

    Args:
        samples: (N,) mono sound at 16 kHz.
        kind: Which features.
        seed: Seed of rooms and noises.

    Returns:
        Two groups, for one net after the other; empty ones where the features' library is not here. Rooms help with the
        take's own sound too; other voices and noise cost there what they give elsewhere, so that every second net alone
        learns from them.
    """
    rng, samples = np.random.default_rng(seed), samples[: LONGEST * SAMPLE_RATE]
    try:
        voices, rooms, noises = (
            [speech_features(recorded_anew(samples, rng, **how), kind=kind) for how in copies]
            for copies in (VOICES, ROOMS, NOISES)
        )
    except PartError as error:
        log.warning("Speech is learned from the recording's own sound alone: %s", error)
        return [], []
    return rooms, [*voices, *rooms, *noises]


def recorded_anew(
    samples: Float[np.ndarray, " N"],
    rng: np.random.Generator,
    *,
    level: float = 0.0,
    pitch: float = 0.0,
    room: float = 0.0,
    noise: float = np.inf,
) -> Float[np.ndarray, " N"]:
    """A recording, changed without moving what is said in time.

    Args:
        samples: (N,) mono sound at 16 kHz.
        rng: Draws room and noise.
        level: By how much it is louder, dB.
        pitch: By how much it is higher, semitones; formants move along.
        room: Length of the room's reverberation, seconds; none at 0.
        noise: How far white noise lies below the recording, dB.
    """
    sound = np.asarray(samples, np.float32)
    if pitch:
        sound = shifted_pitch(sound, pitch)
    if room:
        count = max(round(SAMPLE_RATE * room), 1)
        answer = rng.normal(size=count) * np.exp(-np.arange(count) / (count * DECAY))
        answer[0] = DIRECT
        answer /= np.linalg.norm(answer)
        size = len(sound) + count
        sound = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(answer, size), size)[: len(sound)]
    if np.isfinite(noise):
        sound = sound + rng.normal(size=len(sound)) * sound.std() * 10 ** (-noise / 20)
    return (sound * 10 ** (level / 20)).astype(np.float32)


def shifted_pitch(samples: Float[np.ndarray, " N"], semitones: float) -> Float[np.ndarray, " N"]:
    """A sound whose frequencies are all higher by so many semitones, and which lasts as long.

    It is stretched by overlapping pieces, each from where it continues the one before best (WSOLA, Verhelst and
    Roelands 1993, doi:10.1109/ICASSP.1993.319366), and played faster by as much.
    """
    factor, count = 2 ** (semitones / 12), len(samples)
    pieces = round(count * factor / HOP) + 2
    given = np.pad(np.asarray(samples, np.float32), (SEARCH, 3 * HOP + SEARCH))
    window = np.hanning(2 * HOP + 1)[:-1]
    stretched, place = np.zeros((pieces + 1) * HOP), SEARCH
    stretched[: 2 * HOP] = window * given[place : place + 2 * HOP]
    for index in range(1, pieces):
        # Where the search begins: as much of the sound is past as its share of the stretched one.
        first = min(round(index * HOP / factor), count)
        near = given[first : first + 2 * (HOP + SEARCH)]
        goes_on = given[place + HOP : place + 3 * HOP]
        place = first + (int(np.correlate(near, goes_on, "valid").argmax()) if near.any() else SEARCH)
        stretched[index * HOP : (index + 2) * HOP] += window * given[place : place + 2 * HOP]
    faster = soxr.resample(stretched.astype(np.float32), SAMPLE_RATE * factor, SAMPLE_RATE)
    return np.pad(faster, (0, count))[:count]
