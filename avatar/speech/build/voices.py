"""Synthetic voices that say the same sentences: features beside mouths whose phones have exact times."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import soxr

from avatar.speech.features import MODEL, SAMPLE_RATE, speech_features
from avatar.speech.text.espeak import espeak_passages
from avatar.speech.text.hibari import hibari_passages
from avatar.speech.visemes import NARROW, VISEME_OF
from avatar.synthetic.speech import GLIDES, Phone, mouth_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float

    from avatar.speech.text.utterance import Passage
    from avatar.speech.text.utterance import Phone as SpokenPhone

SENTENCES = "sentences.json"
# espeak-ng's variants of a voice: men and women.
VARIANTS = ("", "+m3", "+f2", "+m7", "+f4")
KEYS = {"en": "en-us"}
# Sounds of other languages as those English has that look most alike.
ALIKE = {
    **dict.fromkeys("xχɣʁʀqc", "k"),
    **dict.fromkeys("ħçɦ", "h"),
    **dict.fromkeys("βʋɱ", "v"),
    **dict.fromkeys("ɲ", "n"),
    **dict.fromkeys("ʎɫɭ", "l"),
    **dict.fromkeys("rɽ", "ɾ"),
    **dict.fromkeys("ɻ", "ɹ"),
    **dict.fromkeys("ɕʂɧ", "ʃ"),
    **dict.fromkeys("ʑʐ", "ʒ"),
    **dict.fromkeys("yʏʉɯ", "u"),
    **dict.fromkeys("øɤɵ", "o"),
    **dict.fromkeys("œ", "ɔ"),
    **dict.fromkeys("ɨ", "i"),
    **dict.fromkeys("ɘ", "ə"),
    **dict.fromkeys("ɞɝ", "ɜ"),
    "ɶ": "a",
    "ɸ": "f",
    "ɟ": "ɡ",
    "g": "ɡ",
    "ʝ": "j",
    "ɥ": "w",
    "ʦ": "s",
    "ʣ": "z",
}


@dataclass(frozen=True)
class SpokenSentence:
    """One sentence of one voice.

    Attributes:
        voice: Whose.
        features: (N, C) speech features.
        weights: (N, 52) ARKit coefficients of a mouth that says it.
        sounds: (N, 3) whether the lips are closed, the lip is on the teeth, nothing is said.
    """

    voice: str
    features: Float[np.ndarray, "N C"]
    weights: Float[np.ndarray, "N 52"]
    sounds: Float[np.ndarray, "N 3"]


def spoken_sentences(
    *, seed: int, kind: str = MODEL, sentences: dict[str, list[str]] | None = None
) -> Iterator[SpokenSentence]:
    """Every sentence by every voice, at many paces, levels, noises and rooms; about 18 minutes.

    Args:
        seed: Seed of paces, levels, noises and rooms.
        kind: Which speech features.
        sentences: By language; the shipped ones when None.

    Raises:
        InputError: espeak-ng or hibari is missing.
    """
    rng = np.random.default_rng(seed)
    if sentences is None:
        sentences = json.loads((files("avatar.speech.build") / SENTENCES).read_text(encoding="utf-8"))
    for language, texts in (sentences or {}).items():
        for variant in VARIANTS:
            key = KEYS.get(language, language) + variant
            passages = espeak_passages(list(enumerate(texts)), key=key, speed=float(rng.uniform(0.75, 1.25)))
            yield from (spoken(key, passage, rng, kind=kind) for passage in passages)
    for _ in VARIANTS[:3]:
        texts, speed = (sentences or {}).get("en", []), float(rng.uniform(0.85, 1.2))
        passages = hibari_passages(list(enumerate(texts)), speed=speed, seed=int(rng.integers(1 << 31)))
        yield from (spoken("hibari", passage, rng, kind=kind) for passage in passages)


def spoken(voice: str, passage: Passage, rng: np.random.Generator, *, kind: str = MODEL) -> SpokenSentence:
    """A passage as it would be recorded somewhere."""
    samples = recorded(soxr.resample(passage.samples, passage.rate, SAMPLE_RATE).astype(np.float32), rng)
    features = speech_features(samples, kind=kind)
    phones = english(passage.phones)
    sounds = np.zeros((len(features.values), 3), np.float32)
    sounds[:, 2] = 1
    for phone in phones:
        look = VISEME_OF.get(phone.symbol)
        inside = (features.times >= phone.start - 0.005) & (features.times < phone.end + 0.005)
        if look is not None:
            sounds[inside, 2] = 0
        if look in ("closed", "lip_teeth"):
            sounds[inside, 0 if look == "closed" else 1] = 1
    return SpokenSentence(voice, features.values, mouth_weights(phones, features.times, shapes=NARROW), sounds)


def english(phones: Sequence[SpokenPhone]) -> tuple[Phone, ...]:
    """Phones of any language as those whose mouths are known; several signs of one phone share its time."""
    found = []
    for phone in phones:
        marks = GLIDES.get(phone.symbol, phone.symbol)
        signs = [sign for sign in (ALIKE.get(mark, mark) for mark in marks) if sign in VISEME_OF] or [""]
        cuts = np.linspace(phone.start, phone.end, len(signs) + 1)
        found += [Phone(sign, float(a), float(b)) for sign, a, b in zip(signs, cuts[:-1], cuts[1:], strict=True)]
    return tuple(found)


def recorded(samples: Float[np.ndarray, " N"], rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """A clean voice at some level, with noise or in a room, or neither."""
    samples = samples / max(float(np.abs(samples).max()), 1e-6) * rng.uniform(0.1, 0.8)
    chance = rng.random()
    if chance < 0.4:
        samples = samples + rng.normal(size=len(samples)) * samples.std() * 10 ** (-rng.uniform(10, 30) / 20)
    elif chance > 0.6:
        count = int(SAMPLE_RATE * rng.uniform(0.1, 0.5))
        room = rng.normal(size=count) * np.exp(-np.arange(count) / (count / 6))
        room[0] = rng.uniform(4, 12)
        samples = np.convolve(samples, room / np.linalg.norm(room))[: len(samples)]
        samples = samples / max(float(np.abs(samples).max()), 1)
    return samples.astype(np.float32)
