"""The compact space speech predicts in: principal components of a take's mouth, and its opening."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.rest import CLOSED_SHARE, PARTED, closed_mouth, first_closed

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.motion import Motion
    from avatar.speech.mouth import MouthMap

# Share of the take's mouth variance that the components keep, and how many they are at most.
KEPT_VARIANCE, MAXIMUM_COMPONENTS = 0.995, 16
RANGE_PERCENTILES = (0.5, 99.5)
# Steps in which a take's mouth is tried for rest, and how far below its range, metres, lies a rest outside it.
STEPS, LEAST_BEYOND = 200, 5e-4


@dataclass(frozen=True)
class MouthSpace:
    """Maps a take's mouth to K + 1 normalised targets and back.

    The first target is the opening, the others are principal components of the mouth's expression and jaw, measured by
    how far they move the lower face, so that errors count in metres. All are in units of the take.

    Attributes:
        mean: (E + 3,) the take's mean mouth, expression and jaw.
        inward: (E + 3, K) from expression and jaw to principal components.
        outward: (K, E + 3) from components to expression and jaw.
        size: (1,) standard deviation of the first component, metres.
        opening: (2,) mean and standard deviation of the opening, metres.
        gap: (K,) change of the normalised opening per unit of each component.
        synergy: (K,) how the components change together when the take opens by one normalised unit.
        jaw_range: (2, 3) the take's own bounds of the jaw, radians.
        target_range: (2, K + 1) bounds of the normalised targets.
        rest: (K + 1,) the closed mouth.
        shut: (E + 3,) how a metre of closing moves the mouth where rest is more closed than the take ever was.
    """

    mean: Float[np.ndarray, " D"]
    inward: Float[np.ndarray, "D K"]
    outward: Float[np.ndarray, "K D"]
    size: Float[np.ndarray, " 1"]
    opening: Float[np.ndarray, " 2"]
    gap: Float[np.ndarray, " K"]
    synergy: Float[np.ndarray, " K"]
    jaw_range: Float[np.ndarray, "2 3"]
    target_range: Float[np.ndarray, "2 J"]
    rest: Float[np.ndarray, " J"]
    shut: Float[np.ndarray, " D"] = field(default_factory=lambda: np.zeros(1))

    def encode(self, mouth: Float[np.ndarray, "T D"], opening: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T J"]:
        """(T, K + 1) normalised targets of expression and jaw side by side and the opening in metres."""
        components = (mouth - self.mean) @ self.inward / self.size
        return np.column_stack([(opening - self.opening[0]) / self.opening[1], components])

    def decode(self, targets: Float[np.ndarray, "T J"]) -> Float[np.ndarray, "T D"]:
        """(T, E + 3) expression and jaw of targets, within the take's own range and down to rest.

        Where opening and components disagree the opening is believed, and the components follow by the synergy.
        """
        lowest = self.target_range[0, 0]
        beyond = (lowest - targets[:, :1]).clip(0, max(lowest - self.rest[0], 0)) * self.opening[1]
        targets = np.clip(targets, *self.target_range)
        components = targets[:, 1:]
        components = components + (targets[:, :1] - components @ self.gap[:, None]) * self.synergy
        # Clipped as components: single coefficients, clipped, would leave the mouth's subspace and move the brows.
        components = np.clip(components, *self.target_range[:, 1:])
        mouth = self.mean + (components * self.size) @ self.outward
        mouth[:, -3:] = np.clip(mouth[:, -3:], *self.jaw_range)
        return mouth + beyond * self.shut

    def directions(self) -> Float[np.ndarray, "J D"]:
        """What each target changes of expression and jaw, within the range."""
        units = np.eye(len(self.rest))
        components = units[:, 1:] + (units[:, :1] - units[:, 1:] @ self.gap[:, None]) * self.synergy
        return (components * self.size) @ self.outward

    def within(self, targets: Float[np.ndarray, "T J"]) -> Float[np.ndarray, "T J"]:
        """Targets whose opening is no smaller than the take's: rest and known closures alone go beyond it."""
        return np.column_stack([np.maximum(targets[:, :1], self.target_range[0, 0]), targets[:, 1:]])

    def metres(self, normalised_opening: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Openings in metres of normalised ones."""
        return normalised_opening * self.opening[1] + self.opening[0]


def mouth_of(motion: Motion, mouth: MouthMap) -> tuple[Float[np.ndarray, "T D"], Float[np.ndarray, " T"]]:
    """The motion's (T, E + 3) speech part of the expression and jaw, and its (T,) opening in metres."""
    expression = motion.expression.astype(np.float64) @ mouth.speech_part.T
    jaw = motion.jaw_pose.astype(np.float64)
    return np.concatenate([expression, jaw], axis=1), mouth.opening(expression, jaw)


def fit_mouth_space(values: Float[np.ndarray, "T D"], opening: Float[np.ndarray, " T"], mouth: MouthMap) -> MouthSpace:
    """Builds the space from a take's used frames.

    Args:
        values: (T, E + 3) expression of the mouth and jaw.
        opening: (T,) metres.
        mouth: The head's mouth.
    """
    # The metric's square root turns coefficients into metres. What hardly moves the lower face is floored, or decoding
    # would divide by almost nothing.
    power, axes = np.linalg.eigh(mouth.metric)
    lengths = np.sqrt(np.maximum(power, 0))
    lengths = np.maximum(lengths, 0.02 * lengths.max())
    mean = values.mean(axis=0)
    scaled = (values - mean) @ (axes * lengths) @ axes.T
    variance, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    variance, directions = np.maximum(variance[::-1], 0), directions[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(variance), KEPT_VARIANCE * variance.sum())) + 1
    basis = directions[:, : min(kept, MAXIMUM_COMPONENTS)]
    basis = basis * np.where(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])] < 0, -1.0, 1.0)
    inward, outward = (axes * lengths) @ axes.T @ basis, basis.T @ (axes / lengths) @ axes.T
    size = max(float(np.sqrt(variance[0])), 1e-9)
    spread = max(float(opening.std()), 1e-9)
    gap = outward @ np.concatenate([mouth.gap_expression, mouth.gap_jaw]) * size / spread

    components = scaled @ basis / size
    normal = (opening - opening.mean()) / spread
    synergy = components.T @ normal / max(float(normal @ normal), 1e-9)
    reach = float(gap @ synergy)
    synergy = synergy / reach if reach > 1e-6 else np.zeros_like(synergy)
    targets = np.column_stack([normal, components])
    closed = normal <= np.percentile(normal, CLOSED_SHARE)
    return MouthSpace(
        mean=mean,
        inward=inward,
        outward=outward,
        size=np.array([size]),
        opening=np.array([opening.mean(), spread]),
        gap=gap,
        synergy=synergy,
        jaw_range=np.percentile(values[:, -3:], RANGE_PERCENTILES, axis=0),
        target_range=np.percentile(targets, RANGE_PERCENTILES, axis=0),
        rest=targets[closed].mean(axis=0),
    )


def closed_at_rest(space: MouthSpace, mouth: MouthMap, *, subject: Head, upper: Float[np.ndarray, " E"]) -> MouthSpace:
    """The space with a mouth that is closed at rest, as lips are judged (`avatar.speech.rest`).

    Who closes the mouth that far keeps their own; one that is nearly closed is drawn together, and in place of one that
    was open all the time the head's own closed mouth rests.

    Args:
        space: Of a take.
        mouth: Its mouth.
        subject: The head with the take's identity in it.
        upper: (E,) the take's mean expression outside speech.
    """
    low = space.target_range[0, 0]
    parted = float(space.metres(space.target_range[0, :1])[0]) > mouth.gap_base + PARTED
    if not parted:
        rows = np.tile(space.rest, (STEPS + 1, 1))
        rows[:, 0] = np.linspace(space.rest[0], min(low, space.rest[0]), STEPS + 1)
        chosen = first_closed(subject, space.decode(rows), upper=upper)
        if chosen is not None:
            return replace(space, rest=rows[chosen])
    base = np.zeros_like(space.mean) if parted else space.decode(space.rest[None])[0]
    closed = closed_mouth(base, subject=subject, upper=upper)
    gap = float(mouth.opening(closed[None, :-3], closed[None, -3:])[0])
    nearest, rest = space.rest.copy(), space.rest.copy()
    nearest[0] = low
    rest[0] = min((gap - space.opening[0]) / space.opening[1], low - LEAST_BEYOND / space.opening[1])
    beyond = (low - rest[0]) * space.opening[1]
    return replace(space, rest=rest, shut=(closed - space.decode(nearest[None])[0]) / beyond)
