"""Speech with exact phoneme times, and the mouth that goes with it.

The voice is hibari (`avatar.speech.text.hibari`). Its alphabet is misaki's: IPA, with capitals for diphthongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.arkit import ARKIT_NAMES
from avatar.speech.text.hibari import RATE, load_hibari
from avatar.speech.visemes import SHAPES, VISEME_OF, viseme_weights

if TYPE_CHECKING:
    from jaxtyping import Float

GLIDES = {"A": "ei", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ"}
_STRESS = {"ˈ": 1.18, "ˌ": 1.05}

# How strongly a shape imposes itself on its neighbours, and how far it reaches, in phone lengths.
_DOMINANCE = {"closed": (2.2, 0.40), "lip_teeth": (1.8, 0.45), "hush": (1.5, 0.6), "tight_round": (1.4, 0.7)}
_DEFAULT_DOMINANCE = (1.0, 0.55)


@dataclass(frozen=True)
class Phone:
    """One sound.

    Attributes:
        symbol: IPA, empty for silence.
        start: Seconds.
        end: Seconds.
        stress: Strength about 1.
    """

    symbol: str
    start: float
    end: float
    stress: float = 1.0


@dataclass(frozen=True)
class Utterance:
    """Sound and when each phone of it sounds.

    Attributes:
        samples: (N,) mono in [-1, 1].
        rate: Samples a second.
        phones: Phones in order.
    """

    samples: Float[np.ndarray, " N"]
    rate: int
    phones: tuple[Phone, ...]


def speak(text: str, *, speed: float = 1.0, seed: int = 0) -> Utterance:
    """Says an English text with hibari and tells the time of every phone.

    Args:
        text: English.
        speed: 1 is the voice's own pace.
        seed: Seed of the voice's noise.

    Raises:
        InputError: hibari is not installed.
    """
    network = load_hibari()
    rng, sounds, phones, start = np.random.default_rng(seed), [], [], 0.0
    for sentence in network.sentences(text, speed=speed, rng=rng):
        sounds.append(sentence.samples)
        phones += _phones(sentence.symbols, start + sentence.bounds)
        start += float(sentence.bounds[-1])
    return Utterance(np.concatenate(sounds), RATE, tuple(phones))


def babble(seconds: float, *, seed: int = 0) -> tuple[Phone, ...]:
    """Meaningless phones, for clips without sound."""
    rng = np.random.default_rng(seed)
    phones, time = [], 0.1
    while time < seconds:
        for symbols, low, high in (("pbmtdnkszfʃlɹw", 0.05, 0.11), ("aɛioʊəæɪ", 0.09, 0.20)):
            end = time + float(rng.uniform(low, high))
            phones.append(Phone(symbols[rng.integers(len(symbols))], time, end, float(rng.uniform(0.8, 1.2))))
            time = end
        if rng.random() < 0.12:
            time += float(rng.uniform(0.15, 0.4))
    return tuple(phones)


def mouth_weights(
    phones: tuple[Phone, ...], time: Float[np.ndarray, " T"], *, shapes: dict[str, dict[str, float]] = SHAPES
) -> Float[np.ndarray, "T 52"]:
    """ARKit weights (T, 52) of a mouth that says `phones`, at moments in seconds.

    Shapes are blended by dominance functions (Cohen and Massaro 1993); lips then meet for every bilabial whatever
    surrounds it, since an open /m/ is what viewers notice first.
    """
    time = np.asarray(time, np.float64)
    total = np.full(len(time), 0.12)
    blended = np.zeros((len(time), len(ARKIT_NAMES)))
    closure = np.zeros(len(time))
    for phone in phones:
        kind = VISEME_OF.get(phone.symbol, "rest")
        strength, reach = _DOMINANCE.get(kind, _DEFAULT_DOMINANCE)
        # The mouth leads the sound by a few hundredths of a second.
        middle, width = (phone.start + phone.end) / 2 - 0.02, max(reach * (phone.end - phone.start), 0.032)
        if kind == "rest":
            middle, width = middle + 0.02, max(width * 0.8, 0.05)
        weight = strength * np.exp(-(np.abs((time - middle) / width) ** 2))
        total += weight
        blended += weight[:, None] * viseme_weights(kind, stress=phone.stress, shapes=shapes)
        if kind == "closed":
            outside = np.maximum(phone.start - 0.015 - time, time - (phone.end - 0.010))
            closure = np.maximum(closure, np.clip(1 - outside / 0.045, 0, 1))
    weights = blended / total[:, None]
    closure = (closure * closure * (3 - 2 * closure))[:, None]
    return (weights * (1 - closure) + viseme_weights("closed") * closure).astype(np.float32)


def _phones(symbols: list[str], bounds: np.ndarray) -> list[Phone]:
    """Phones from the model's symbols and their bounds: marks of stress and length go to the sounds they belong to."""
    phones: list[Phone] = []
    stress, start = 0.9, float(bounds[0])
    for index, symbol in enumerate(symbols):
        end = float(bounds[index + 1])
        if symbol in _STRESS:
            stress = _STRESS[symbol]
            continue  # The mark's own time belongs to the sound that follows it.
        sounds = GLIDES.get(symbol, symbol)
        if not any(sound in VISEME_OF for sound in sounds):
            sounds = " "
        cuts = np.linspace(start, end, len(sounds) + 1)
        for sound, low, high in zip(sounds, cuts[:-1], cuts[1:], strict=True):
            known = sound in VISEME_OF
            if known or symbol != " ":
                phones.append(Phone(sound if known else "", float(low), float(high), stress))
        vowel = VISEME_OF.get(sounds[0]) in {"wide_open", "half_open", "spread", "round", "tight_round", "neutral"}
        stress = 0.9 if vowel else stress
        start = end
    return phones
