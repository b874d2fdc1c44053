"""Speech features to normalised targets: a ridge regression and small nets, averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.speech._net import REACH, SpeechNet, train_net
from avatar.speech._ridge import Components, Linear, fit_components, fit_ridge
from avatar.speech._sampling import sample_features, taps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float

    from avatar.speech._objective import Objective

TAPS = (-0.04, 0.0, 0.04)
# Feature rows on either side that a prediction depends on: the net's, and two for the taps.
CONTEXT_ROWS = REACH + 2
# A new recording's own feature statistics count as much as the take's after so many rows (5 s at 50 Hz).
PRIOR_ROWS = 250
# The prior's readings weigh as much as a take of so many seconds; the ridge onto a take's own mouth is a strong one.
PRIOR_SECONDS, PRIOR_PENALTY = 8.0, 1.0


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation (C,) of a recording's features: what the voice and the room put into all rows."""

    mean: Float[np.ndarray, " C"]
    deviation: Float[np.ndarray, " C"]

    @classmethod
    def of(cls, values: Float[np.ndarray, "N C"], *, prior: FeatureStatistics | None = None) -> FeatureStatistics:
        """Statistics of N rows, drawn to ``prior`` the more the fewer there are."""
        if not len(values):
            if prior is None:
                raise ValueError("statistics of nothing need a prior")
            return prior
        mean, square = values.mean(axis=0, dtype=np.float64), np.square(values, dtype=np.float64).mean(axis=0)
        if prior is not None:
            share = len(values) / (len(values) + PRIOR_ROWS)
            mean = share * mean + (1 - share) * prior.mean
            square = share * square + (1 - share) * (prior.mean**2 + prior.deviation**2)
        return cls(mean, np.sqrt(np.maximum(square - mean**2, 0)) + 1e-3)

    def normalise(self, values: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
        """Z-scored rows, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)


@dataclass(frozen=True)
class Regressor:
    """The fitted predictors and the statistics they expect.

    Attributes:
        statistics: Of the features they were fitted on.
        components: Principal components the ridge works on, of normalised features.
        linear: The ridge over three taps.
        nets: The nets; their mean weighs as much as the ridge.
        heard: From what the general prior hears to the take's targets; None where it takes no part.
        share: (1,) its weight beside the others.
    """

    statistics: FeatureStatistics
    components: Components
    linear: Linear
    nets: tuple[SpeechNet, ...]
    heard: Linear | None = None
    share: Float[np.ndarray, " 1"] = field(default_factory=lambda: np.zeros(1))

    def __call__(
        self,
        values: Float[np.ndarray, "N C"],
        rate: float,
        *,
        time: Float[np.ndarray, " T"],
        statistics: FeatureStatistics | None = None,
        prior: Float[np.ndarray, "N A"] | None = None,
    ) -> Float[np.ndarray, "T K"]:
        """Normalised targets at ``time`` seconds of a feature track.

        Args:
            values: (N, C) features.
            rate: Feature rows a second.
            time: (T,) seconds.
            statistics: Of the recording the features are from; those of the training take when left out.
            prior: (N, A) what the general prior hears in the same rows; it takes no part when left out.
        """
        normal = (statistics or self.statistics).normalise(values)
        predicted = self.linear(taps(self.components(normal), rate, time=time, offsets=TAPS))
        if self.nets:
            with torch.inference_mode():
                track = torch.stack([net(torch.from_numpy(normal)[None])[0] for net in self.nets]).mean(dim=0).numpy()
            predicted = 0.5 * predicted + 0.5 * sample_features(track.astype(np.float64), rate, time=time)
        if self.heard is None or prior is None:
            return predicted
        return (1 - self.share) * predicted + self.share * self.heard(sample_features(prior, rate, time=time))


def fit_regressor(
    values: Float[np.ndarray, "N C"],
    rate: float,
    *,
    time: Float[np.ndarray, " T"],
    targets: Float[np.ndarray, "T K"],
    mask: Bool[np.ndarray, " T"],
    components: int,
    penalty: float,
    seeds: tuple[int, ...],
    steps: int,
    on_step: Callable[[], None] | None = None,
    objective: Objective,
    copies: Sequence[Sequence[Float[np.ndarray, "M C"]]] = ((),),
    prior: Float[np.ndarray, "N A"] | None = None,
) -> Regressor:
    """Fits ridge and nets, and how the take does what the general prior hears.

    The prior's weight is that of `PRIOR_SECONDS` more of take: it carries most of a take of 5 s, and little of a long
    one.

    Args:
        values: (N, C) features of the whole recording; they need no labels, so their statistics use all rows.
        rate: Feature rows a second.
        time: (T,) moments of the targets on the clock of the sound, seconds.
        targets: (T, K) normalised targets.
        mask: (T,) targets to learn from.
        components: Principal components of the ridge.
        penalty: Ridge penalty.
        seeds: One net per seed; none leaves the ridge alone.
        steps: Optimiser steps of each net.
        on_step: Called after every step.
        objective: What errors of the nets cost.
        copies: Features of the same sound recorded otherwise, in groups that the nets learn from in turn.
        prior: (N, A) what the general prior hears, in units of about its spread; it takes no part when None.
    """
    statistics = FeatureStatistics.of(values)
    normal = statistics.normalise(values)
    basis = fit_components(normal, count=min(components, values.shape[1]))
    inputs = taps(basis(normal), rate, time=time, offsets=TAPS)
    linear = fit_ridge(inputs[mask], targets[mask], penalty=penalty)
    spacing = np.diff(time)
    anew = [[torch.from_numpy(FeatureStatistics.of(each).normalise(each)) for each in group] for group in copies]
    nets = tuple(
        train_net(
            torch.from_numpy(normal),
            torch.as_tensor(targets, dtype=torch.float32),
            position=torch.as_tensor(time * rate, dtype=torch.float32),
            mask=torch.as_tensor(mask),
            adjacent=torch.as_tensor(spacing < 1.5 * np.median(spacing)) if len(spacing) else torch.zeros(0).bool(),
            steps=steps,
            seed=seed,
            window=round(40 * rate),
            objective=objective,
            copies=anew[index % len(anew)],
            on_step=on_step,
        )
        for index, seed in enumerate(seeds)
    )
    if prior is None:
        return Regressor(statistics, basis, linear, nets)
    seconds = float(mask.sum() * np.median(spacing)) if len(spacing) else 0.0
    heard = fit_ridge(
        sample_features(np.asarray(prior, np.float64), rate, time=time[mask]), targets[mask], penalty=PRIOR_PENALTY
    )
    return Regressor(statistics, basis, linear, nets, heard, np.array([PRIOR_SECONDS / (PRIOR_SECONDS + seconds)]))
