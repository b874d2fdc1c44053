"""Which sounds of English a recording says when, by PocketSphinx: where lips have to meet, and where they must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avatar.errors import PartError
from avatar.speech.silence import loudness, speech_activity

if TYPE_CHECKING:
    from jaxtyping import Float

RATE = 16000
HOP = 0.01
# ARPAbet, as the CMU dictionary writes it.
BILABIALS = ("P", "B", "M")
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
SILENCES = ("SIL", "+NSN+", "+SPN+")
# The aligner wants silence around an utterance, and loses its way in long ones.
PADDING_SECONDS, LONGEST_SECONDS = 0.25, 12.0


class Phone(NamedTuple):
    """A sound: its ARPAbet name without stress, and start and end in seconds of the recording."""

    name: str
    start: float
    end: float


def recognised_phones(samples: Float[np.ndarray, " N"]) -> list[Phone]:
    """The sounds of a recording, from the words that PocketSphinx's English model recognises, aligned by it.

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
    for start, stop in _utterances(samples):
        phones += _aligned(decoder, samples[round(start * RATE) : round(stop * RATE)], start)
    return phones


def _aligned(decoder: Any, samples: Float[np.ndarray, " n"], start: float) -> list[Phone]:
    """The sounds of one utterance that starts at so many seconds; none where nothing was recognised."""
    silence = np.zeros(round(PADDING_SECONDS * RATE), np.float32)
    padded = np.concatenate([silence, samples, silence])
    data = (padded.clip(-1, 1) * 32767).astype("<i2").tobytes()
    decoder.activate_search()
    _heard(decoder, data)
    if decoder.hyp() is None or not decoder.hyp().hypstr.strip():
        return []
    decoder.set_alignment()
    _heard(decoder, data)
    found = []
    for word in decoder.get_alignment():
        for phone in word:
            if phone.name not in SILENCES:
                first = start - PADDING_SECONDS + HOP * phone.start
                found.append(Phone(phone.name, first, first + HOP * phone.duration))
    return found


def _heard(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()


def _utterances(samples: Float[np.ndarray, " N"]) -> list[tuple[float, float]]:
    """Stretches of speech in seconds, parted at pauses, and where they are long at their quietest moments."""
    level = loudness(samples)
    speaking = np.concatenate([[False], speech_activity(level) > 0, [False]])
    edges = np.flatnonzero(np.diff(speaking.astype(np.int8)))
    stretches = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    found: list[tuple[int, int]] = []
    longest = round(LONGEST_SECONDS / HOP)
    while stretches:
        start, stop = stretches.pop()
        if stop - start > longest:
            inner = start + (stop - start) // 4
            middle = inner + int(np.argmin(level[inner : stop - (stop - start) // 4]))
            stretches += [(start, middle), (middle, stop)]
        else:
            found.append((start, stop))
    return sorted((HOP * start, HOP * stop) for start, stop in found)
