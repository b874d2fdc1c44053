"""Visemes: which sounds look alike, and the mouth shape of each as ARKit weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.arkit import ARKIT_NAMES

if TYPE_CHECKING:
    from jaxtyping import Float

VISEME_OF = {
    phone: viseme
    for viseme, phones in {
        "closed": "pbm",
        "lip_teeth": "fv",
        "dental": "θð",
        "alveolar": "tdnlɾT",
        "hiss": "sz",
        "hush": "ʃʒʧʤ",
        "velar": "kɡŋhj",
        "r": "ɹɚɜ",
        "wide_open": "aɑæʌ",
        "half_open": "ɛe",
        "spread": "iɪᵻ",
        "round": "ɔɒo",
        "tight_round": "uʊw",
        "neutral": "əᵊɐ",
    }.items()
    for phone in phones
}

# ARKit weights of each mouth shape; names without a side stand for both sides.
SHAPES: dict[str, dict[str, float]] = {
    "rest": {},
    "closed": {"mouthPress": 0.28, "mouthRollLower": 0.16, "mouthRollUpper": 0.12},
    "lip_teeth": {"jawOpen": 0.06, "mouthRollLower": 0.55, "mouthUpperUp": 0.30, "mouthShrugLower": 0.1},
    "dental": {"jawOpen": 0.20, "mouthLowerDown": 0.30, "mouthUpperUp": 0.15, "tongueOut": 0.12},
    "alveolar": {"jawOpen": 0.17, "mouthLowerDown": 0.32, "mouthUpperUp": 0.22},
    "hiss": {"jawOpen": 0.06, "mouthStretch": 0.25, "mouthLowerDown": 0.42, "mouthUpperUp": 0.34},
    "hush": {"jawOpen": 0.10, "mouthFunnel": 0.55, "mouthPucker": 0.12, "mouthLowerDown": 0.25},
    "velar": {"jawOpen": 0.22, "mouthLowerDown": 0.24, "mouthUpperUp": 0.12},
    "r": {"jawOpen": 0.15, "mouthFunnel": 0.34, "mouthPucker": 0.18},
    "wide_open": {"jawOpen": 0.62, "mouthLowerDown": 0.30, "mouthUpperUp": 0.22, "mouthStretch": 0.1},
    "half_open": {"jawOpen": 0.40, "mouthStretch": 0.24, "mouthLowerDown": 0.30, "mouthUpperUp": 0.2},
    "spread": {"jawOpen": 0.22, "mouthSmile": 0.28, "mouthStretch": 0.24, "mouthLowerDown": 0.28, "mouthUpperUp": 0.16},
    "round": {"jawOpen": 0.44, "mouthFunnel": 0.52, "mouthPucker": 0.15},
    "tight_round": {"jawOpen": 0.20, "mouthPucker": 0.62, "mouthFunnel": 0.34},
    "neutral": {"jawOpen": 0.28, "mouthLowerDown": 0.22, "mouthUpperUp": 0.12},
}
# The same with lips as narrow as phoneticians measure them where they are rounded: of all vowels u has the smallest
# opening, and a rounded consonant hardly opens the jaw (Linker 1982, UCLA Working Papers in Phonetics 56).
NARROW = SHAPES | {
    "hush": {"jawOpen": 0.05, "mouthFunnel": 0.40, "mouthPucker": 0.12, "mouthLowerDown": 0.20},
    "r": {"jawOpen": 0.10, "mouthFunnel": 0.20, "mouthPucker": 0.18},
    "round": {"jawOpen": 0.30, "mouthFunnel": 0.35, "mouthPucker": 0.15},
    "tight_round": {"jawOpen": 0.05, "mouthPucker": 0.62, "mouthFunnel": 0.25},
}


def viseme_weights(
    kind: str, *, stress: float = 1.0, shapes: dict[str, dict[str, float]] = SHAPES
) -> Float[np.ndarray, " 52"]:
    """ARKit weights of one mouth shape: a value of `VISEME_OF`, or "rest"."""
    weights = np.zeros(len(ARKIT_NAMES))
    for name, value in shapes[kind].items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in ARKIT_NAMES:
                weights[ARKIT_NAMES.index(full)] = value * (stress if kind != "closed" else 1.0)
    return weights
