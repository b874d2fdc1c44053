"""Undoes what regression to the mean does to predicted speech: flat motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech._sampling import correlation

if TYPE_CHECKING:
    from jaxtyping import Float

# Normalised openings between which the opening is mapped: no mouth leaves them.
SPAN = 8.0
# A prediction whose correlation is below this is not blown up to the take's range.
LEAST_SKILL = 0.3


@dataclass(frozen=True)
class Calibration:
    """Learned from held-out predictions of the take.

    Attributes:
        gain: (J,) factor on every target but the first.
        knots: (2, Q) predicted openings and what they become, both increasing. Two knots make a gain; models made
            before carry a whole distribution.
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
    gain (what cannot be predicted is not moved), with 1 the full variance of the take. The opening is stretched about
    the take's mean. Carrying its low end onto the take's own distribution, so that lips meet, costs more where they
    should not than it gives; closing is left to the sounds that ask for it.

    Args:
        held_out: (T, J) predictions for moments left out of training.
        targets: (T, J) the truth, normalised.
        restore: 0 to 1.
    """
    spread = held_out.std(axis=0)
    fit = np.array([max(correlation(a, b), 0.0) for a, b in zip(held_out.T, targets.T, strict=True)])
    gain = np.where(spread > 1e-9, fit ** (1 - restore) * targets.std(axis=0) / np.maximum(spread, 1e-9), 0.0)
    gain = np.minimum(gain, 2.0)
    centre, reach = targets[:, 0].mean(), np.array([-SPAN, SPAN])
    stretch = gain[0] * min(fit[0] / LEAST_SKILL, 1.0)
    return Calibration(gain, np.stack([centre + reach, centre + stretch * reach]))
