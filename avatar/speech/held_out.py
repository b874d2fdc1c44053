"""Speech models of a take, each fitted without the stretch that it is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech._sampling import blocked_folds
from avatar.speech.fitting import SpeechConfig, fit_speech_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float

    from avatar.cameras import Camera
    from avatar.heads import Head
    from avatar.motion import Motion
    from avatar.speech.features import SpeechFeatures
    from avatar.speech.model import SpeechModel

# Blocks of a cross-validation, and seconds between what is learned and what is judged.
FOLDS, GAP = 5, 0.4


@dataclass(frozen=True)
class SpokenTake:
    """What lip quality is measured on.

    Attributes:
        features: Features of the take's sound.
        samples: (N,) the sound, 16 kHz mono.
        motion: The tracked motion, T moments.
        landmarks: (T, 478, 3) as detected, pixels.
        used: (T,) moments that were tracked well.
        offset: Sound time minus picture time, seconds.
        head: The head model.
        camera: The take's camera.
        copies: Features of the sound as if recorded otherwise, in groups.
    """

    features: SpeechFeatures
    samples: Float[np.ndarray, " N"]
    motion: Motion
    landmarks: Float[np.ndarray, "T 478 3"]
    used: Bool[np.ndarray, " T"]
    offset: float
    head: Head
    camera: Camera
    copies: Sequence[Sequence[SpeechFeatures]] = ((),)

    @property
    def time(self) -> Float[np.ndarray, " T"]:
        """(T,) the pictures' moments on the clock of the sound."""
        return np.asarray(self.motion.time, np.float64) + self.offset

    @property
    def heard(self) -> Bool[np.ndarray, " T"]:
        """(T,) moments that were tracked well and have sound."""
        inside = (self.time >= 0) & (self.time <= len(self.features.values) / self.features.rate)
        return self.used & inside & np.isfinite(self.landmarks).all((1, 2))


@dataclass(frozen=True)
class Fold:
    """A speech model and the moments it is judged on.

    Attributes:
        learned: (T,) moments it was fitted on.
        judged: (T,) moments it has not seen, with a gap to the others.
        model: The model.
    """

    learned: Bool[np.ndarray, " T"]
    judged: Bool[np.ndarray, " T"]
    model: SpeechModel


def tail_split(take: SpokenTake, test: Bool[np.ndarray, " T"]) -> list[tuple[np.ndarray, np.ndarray]]:
    """One split: the held-out moments for the test, what lies more than 0.4 s before them for training."""
    first = take.time[test].min() if test.any() else np.inf
    return [(take.time < first - GAP, test)]


def cross_splits(take: SpokenTake) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five blocks of the take in turn, with a gap of 0.4 s on either side."""
    return list(blocked_folds(take.time, count=FOLDS, gap=GAP))


def fit_folds(
    take: SpokenTake,
    splits: Sequence[tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]],
    *,
    config: SpeechConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Fold]:
    """One speech model for each pair of training and test moments; pairs that test nothing are passed over.

    Args:
        take: What to learn from.
        splits: Training and test moments.
        config: Settings of the fits.
        progress: Called with the models done and the models in all.

    Raises:
        InputError: A split leaves too little speech to learn from.
    """
    folds, heard = [], take.heard
    for done, (train, test) in enumerate(splits, start=1):
        learned, judged = train & heard, test & heard
        if judged.any():
            model = fit_speech_model(
                take.features,
                take.motion,
                offset=take.offset,
                head=take.head,
                used=learned,
                copies=take.copies,
                config=config,
            )
            folds.append(Fold(learned, judged, model))
        if progress:
            progress(done, len(splits))
    return folds
