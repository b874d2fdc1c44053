"""Undoes what regression to the mean does to predicted speech: flat motion and mouths that never close."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech._sampling import correlation

if TYPE_CHECKING:
    from jaxtyping import Float

LEVELS = np.linspace(0.0, 1.0, 21)
# Below this quantile the opening takes the take's own distribution in full: that is where lips meet.
CLOSED_QUANTILE = 0.15


@dataclass(frozen=True)
class Calibration:
    """Learned from held-out predictions of the take.

    Attributes:
        gain: (J,) factor on every target but the first.
        knots: (2, Q) predicted openings and what they become, both increasing.
    """

    gain: Float[np.ndarray, " J"]
    knots: Float[np.ndarray, "2 Q"]

    def __call__(self, predicted: Float[np.ndarray, "T J"]) -> Float[np.ndarray, "T J"]:
        """Calibrated normalised targets."""
        result = predicted * self.gain
        given, wanted = self.knots
        inside = np.interp(predicted[:, 0], given, wanted)
        # Beyond the knots the map continues with slope one.
        beyond = np.minimum(predicted[:, 0] - given[0], 0) + np.maximum(predicted[:, 0] - given[-1], 0)
        result[:, 0] = inside + beyond
        return result


def fit_calibration(
    held_out: Float[np.ndarray, "T J"], targets: Float[np.ndarray, "T J"], *, restore: float
) -> Calibration:
    """Compares held-out predictions with the truth.

    A target's gain is ``r ** (1 - restore) * sd(truth) / sd(prediction)``: with ``restore`` 0 that is the least-squares
    gain (what cannot be predicted is not moved), with 1 the full variance of the take. The opening's distribution is
    carried towards the take's by as much, and entirely where the mouth is nearly closed (quantile matching).

    Args:
        held_out: (T, J) predictions for moments left out of training.
        targets: (T, J) the truth, normalised.
        restore: 0 to 1.
    """
    spread = held_out.std(axis=0)
    fit = np.array([max(correlation(a, b), 0.0) for a, b in zip(held_out.T, targets.T, strict=True)])
    gain = np.where(spread > 1e-9, fit ** (1 - restore) * targets.std(axis=0) / np.maximum(spread, 1e-9), 0.0)
    given, truth = np.quantile(held_out[:, 0], LEVELS), np.quantile(targets[:, 0], LEVELS)
    flat = targets[:, 0].mean() + fit[0] * gain_of(held_out[:, 0], targets[:, 0]) * (given - held_out[:, 0].mean())
    share = np.clip(1 - (LEVELS - CLOSED_QUANTILE) / CLOSED_QUANTILE, 0, 1)
    share = restore + (1 - restore) * share
    # A prediction without any skill must not be blown up to the take's range.
    share = share * np.clip(fit[0] / 0.3, 0, 1)
    wanted = np.maximum.accumulate(flat + share * (truth - flat))
    given = np.maximum.accumulate(given) + 1e-9 * np.arange(len(given))
    return Calibration(np.minimum(gain, 2.0), np.stack([given, wanted]))


def gain_of(predicted: Float[np.ndarray, " T"], truth: Float[np.ndarray, " T"]) -> float:
    """Ratio of standard deviations, truth over prediction; 0 where the prediction does not vary."""
    spread = float(predicted.std())
    return float(truth.std()) / spread if spread > 1e-9 else 0.0
