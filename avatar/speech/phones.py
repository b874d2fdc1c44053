"""Which sounds of English a recording says when, by PocketSphinx: where lips have to meet, and where they must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avatar.errors import PartError
from avatar.speech.silence import loudness

if TYPE_CHECKING:
    from jaxtyping import Float

RATE = 16000
HOP = 0.01
# ARPAbet, as the CMU dictionary writes it.
BILABIALS = ("P", "B", "M")
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
SILENCES = ("SIL", "+NSN+", "+SPN+")
# The aligner wants silence around what it hears; a stretch much longer than this costs memory and time.
PADDING_SECONDS, LONGEST_SECONDS = 0.25, 30.0


class Phone(NamedTuple):
    """A sound: its ARPAbet name without stress, and start and end in seconds of the recording."""

    name: str
    start: float
    end: float


def spoken_phones(samples: Float[np.ndarray, " N"]) -> list[Phone]:
    """The sounds of a recording: the words that PocketSphinx's English model hears, aligned by it.

    Words that are misheard mostly sound alike, but some of these sounds are guesses: state a figure made of them
    beside that of the real picture.

    Args:
        samples: (N,) mono sound at 16 kHz.

    Raises:
        PartError: PocketSphinx is not installed.
    """
    try:
        # Compiled code without stubs.
        import pocketsphinx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise PartError(
            "The sounds of the speech cannot be told",
            expected="PocketSphinx",
            found="it is not installed",
            fix="pip install 'headsplat[eval]'",
        ) from error
    decoder: Any = pocketsphinx.Decoder(loglevel="FATAL")
    phones: list[Phone] = []
    for start, stop in _stretches(samples):
        data = _padded(samples[round(start * RATE) : round(stop * RATE)])
        decoder.activate_search()
        _heard(decoder, data)
        if decoder.hyp() is not None and decoder.hyp().hypstr.strip():
            phones += _aligned(decoder, data, start)
    return phones


def _aligned(decoder: Any, data: bytes, start: float) -> list[Phone]:
    """The sounds of what the decoder just heard, in a stretch that starts at so many seconds."""
    decoder.set_alignment()
    _heard(decoder, data)
    found = []
    for word in decoder.get_alignment():
        for phone in word:
            if phone.name not in SILENCES:
                first = start - PADDING_SECONDS + HOP * phone.start
                found.append(Phone(phone.name, first, first + HOP * phone.duration))
    return found


def _padded(samples: Float[np.ndarray, " n"]) -> bytes:
    silence = np.zeros(round(PADDING_SECONDS * RATE), np.float32)
    padded = np.concatenate([silence, samples, silence])
    return (padded.clip(-1, 1) * 32767).astype("<i2").tobytes()


def _heard(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()


def _stretches(samples: Float[np.ndarray, " N"]) -> list[tuple[float, float]]:
    """The recording in seconds, cut at quiet moments where it is long: words are recognised by their neighbours."""
    level = loudness(samples)
    found: list[tuple[int, int]] = []
    waiting = [(0, len(level))]
    while waiting:
        start, stop = waiting.pop()
        if (stop - start) * HOP <= LONGEST_SECONDS:
            found.append((start, stop))
            continue
        quarter = (stop - start) // 4
        # Quiet for a fifth of a second, not just between two pulses of a voice.
        quiet = np.convolve(level[start + quarter : stop - quarter], np.ones(20) / 20, mode="same")
        middle = start + quarter + int(np.argmin(quiet))
        waiting += [(start, middle), (middle, stop)]
    return sorted((HOP * start, HOP * stop) for start, stop in found)
