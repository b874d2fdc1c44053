"""What a take's speech model is learned from: sound, mouth, and what errors cost, put together once for all fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from avatar.speech._objective import speech_objective
from avatar.speech._regressor import fit_regressor
from avatar.speech.prior import load_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from jaxtyping import Bool, Float

    from avatar.speech._objective import Objective
    from avatar.speech._regressor import Regressor
    from avatar.speech._space import MouthSpace
    from avatar.speech.features import SpeechFeatures
    from avatar.speech.fitting import SpeechConfig
    from avatar.speech.mouth import MouthMap


@dataclass(frozen=True)
class Lesson:
    """A take's sound beside what its mouth does.

    Attributes:
        features: Of the take's sound.
        copies: Of the sound as if recorded otherwise, a group for each net in turn.
        time: (T,) moments of the targets on the clock of the sound, seconds.
        targets: (T, J) normalised.
        objective: What errors of the nets cost.
        shapes: (N, A) what the general prior hears, in units of about its spread; None where there is no prior.
        config: Settings of the fits.
    """

    features: SpeechFeatures
    copies: Sequence[Sequence[SpeechFeatures]]
    time: Float[np.ndarray, " T"]
    targets: Float[np.ndarray, "T J"]
    objective: Objective
    shapes: Float[np.ndarray, "N A"] | None
    config: SpeechConfig

    @classmethod
    def of(
        cls,
        features: SpeechFeatures,
        copies: Sequence[Sequence[SpeechFeatures]],
        *,
        time: Float[np.ndarray, " T"],
        targets: Float[np.ndarray, "T J"],
        mask: Bool[np.ndarray, " T"],
        space: MouthSpace,
        mouth: MouthMap,
        config: SpeechConfig,
    ) -> Lesson:
        """The lesson of a take whose `targets` lie in `space`; by those of `mask` it says what errors cost."""
        prior = load_prior(features.model)
        heard = None if prior is None else prior.whole(features.values)
        shapes = None if prior is None or heard is None else heard.weights / prior.scale
        objective = speech_objective(
            space, mouth, targets=targets, mask=mask, position=time * features.rate, heard=heard
        )
        return cls(features, copies, time, targets, objective, shapes, config)

    def learned(
        self, rows: Bool[np.ndarray, " T"], seeds: tuple[int, ...], *, on_step: Callable[[], None] | None = None
    ) -> Regressor:
        """A regressor that has seen the targets of `rows` alone; `on_step` is called after every step of its nets."""
        return fit_regressor(
            self.features.values,
            self.features.rate,
            time=self.time,
            targets=self.targets,
            mask=rows,
            components=self.config.components,
            penalty=self.config.penalty,
            seeds=seeds,
            steps=self.config.steps,
            on_step=on_step,
            objective=self.objective,
            copies=[[copy.values for copy in group] for group in self.copies],
            prior=self.shapes,
        )

    def predicted(self, regressor: Regressor, rows: Bool[np.ndarray, " T"]) -> Float[np.ndarray, "n J"]:
        """What a regressor makes of the sound at the moments of `rows`."""
        return regressor(self.features.values, self.features.rate, time=self.time[rows], prior=self.shapes)
