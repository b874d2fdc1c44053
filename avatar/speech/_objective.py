"""What errors of a predicted mouth cost the nets: how far lips are off, most of all where they meet lips or teeth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech._sampling import sample_features

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.speech._space import MouthSpace
    from avatar.speech.mouth import MouthMap
    from avatar.speech.prior import PriorReading

# Weight of the lips' displacement beside that of all targets alike, each in units of its variance over the take.
LIPS = 10.0
# Weight of the gap between the lips where p, b or m is heard for sure, and of the way from the lower lip to the upper
# teeth at f or v, likewise. It goes with the square of the probability, as closures do.
CONTACT = 10.0


@dataclass(frozen=True)
class Objective:
    """The cost of errors of J normalised targets at T moments, as squares of linear forms.

    Attributes:
        shape: (J, J) an error times it, squared and summed, is what it costs at any moment, and half of that what its
            change from one moment to the next does.
        contacts: (2, J) what costs more at some moments: the gap of the lips, the way of the lower lip to the teeth.
        shares: (T, 2) how much more.
    """

    shape: Float[np.ndarray, "J J"]
    contacts: Float[np.ndarray, "2 J"]
    shares: Float[np.ndarray, "T 2"]


def speech_objective(
    space: MouthSpace,
    mouth: MouthMap,
    *,
    targets: Float[np.ndarray, "T J"],
    mask: Bool[np.ndarray, " T"],
    position: Float[np.ndarray, " T"],
    heard: PriorReading | None,
) -> Objective:
    """The objective that a take's nets are trained by.

    Args:
        space: The take's targets.
        mouth: Its mouth.
        targets: (T, J) of the take.
        mask: (T,) which of them are learned from.
        position: (T,) where they lie on the feature track, in rows.
        heard: What the general prior hears in its N rows; without it no moment counts more than another.
    """
    forms = space.directions()
    plain, lips = np.eye(len(forms)), forms @ mouth.lip_metric @ forms.T
    # A mouth that never moved leaves something to divide by.
    spread = np.cov(targets[mask].T, bias=True) + 1e-9 * plain
    cost = plain / _size(plain, spread) + LIPS * lips / _size(lips, spread)
    # All in all it costs what the plain targets would, so that decay and contacts keep their weight.
    power, axes = np.linalg.eigh(cost * _size(plain, spread) / _size(cost, spread))
    shape = (axes * np.sqrt(np.maximum(power, 0))) @ axes.T
    contacts = np.stack([plain[0], forms @ mouth.bite])
    reach = np.sqrt(np.einsum("mj,jk,mk->m", contacts, spread, contacts))
    contacts = np.where(reach[:, None] > 1e-9, contacts / np.maximum(reach, 1e-9)[:, None], 0)
    if heard is None:
        return Objective(shape, contacts, np.zeros((len(targets), len(contacts))))
    sure = np.column_stack([heard.closed, heard.lip_teeth])
    return Objective(shape, contacts, CONTACT * sample_features(sure, 1.0, time=position) ** 2)


def _size(metric: Float[np.ndarray, "J J"], spread: Float[np.ndarray, "J J"]) -> float:
    """What a quadratic form is on average over the take."""
    return max(float(np.einsum("jk,jk->", metric, spread)), 1e-12)
