"""What a voice gives: sound, and when each word and each phone of it is heard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Sounds that are made with closed lips; longer symbols (mʲ, pʰ, b̥) begin with one of these.
CLOSED_LIPS = "pbmɓ"
CLOSURE_RATE = 100
# The lips meet before the sound and part before its end, where a stop's burst is.
_EARLY, _PARTING, _RAMP = 0.015, 0.010, 0.045


@dataclass(frozen=True)
class Word:
    """One word as it is written.

    Attributes:
        text: The word with its punctuation.
        place: Where it begins in the text, characters.
        start: Seconds.
        end: Seconds.
    """

    text: str
    place: int
    start: float
    end: float


@dataclass(frozen=True)
class Phone:
    """One sound.

    Attributes:
        symbol: IPA.
        start: Seconds.
        end: Seconds.
    """

    symbol: str
    start: float
    end: float


@dataclass(frozen=True)
class Passage:
    """A stretch of text that a voice has said.

    Attributes:
        samples: (N,) mono in [-1, 1].
        rate: Samples a second.
        words: Its words in order, seconds from the passage's start.
        phones: Its phones in order; none where the voice does not tell.
        exact: The words' times are the voice's own, not estimated.
    """

    samples: Float[np.ndarray, " N"]
    rate: int
    words: tuple[Word, ...]
    phones: tuple[Phone, ...] = ()
    exact: bool = True

    def later(self, seconds: float) -> Passage:
        """The same passage with all times moved."""

        def move(item: Word | Phone) -> Word | Phone:
            return replace(item, start=item.start + seconds, end=item.end + seconds)

        return replace(self, words=tuple(map(move, self.words)), phones=tuple(map(move, self.phones)))


def lip_closures(phones: tuple[Phone, ...], seconds: float) -> Float[np.ndarray, " M"]:
    """How far the lips are known to be closed, 0 to 1, at every hundredth of a second: at p, b and m."""
    time = np.arange(int(seconds * CLOSURE_RATE) + 1) / CLOSURE_RATE
    closed = np.zeros(len(time))
    for phone in phones:
        if not phone.symbol or phone.symbol[0] not in CLOSED_LIPS:
            continue
        start, end = phone.start - _EARLY, max(phone.end - _PARTING, phone.start)
        first, last = np.searchsorted(time, [start - _RAMP, end + _RAMP])
        near = time[first:last]
        outside = np.maximum(start - near, near - end)
        closed[first:last] = np.maximum(closed[first:last], np.clip(1 - outside / _RAMP, 0, 1))
    return closed * closed * (3 - 2 * closed)
