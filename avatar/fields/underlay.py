"""A coarse second layer beneath the skin: what would be seen from the side through the gaps of the first is not seen.

The cameras of a take see cheeks, jaw and ears from one side only, so that nothing in training closes the gaps that
another view finds there; behind them lie the dark inside of the mouth, and hair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.fields.survey import Survey

# It keeps away from openings, behind which it would be seen, metres.
FROM_LIPS, FROM_EYES = 0.012, 0.02
LARGEST_SHARE = 0.12


@dataclass(frozen=True)
class Kind:
    """A layer's discs.

    Attributes:
        spread: Their standard deviation, metres.
        spacing: Between their middles, metres.
        depth: Beneath the surface, metres.
    """

    spread: float
    spacing: float
    depth: float


FACE = Kind(spread=3.5e-3, spacing=6e-3, depth=2.5e-3)
# An ear is thin and strongly curved.
EAR = Kind(spread=1.8e-3, spacing=3e-3, depth=1e-3)


@dataclass(frozen=True)
class Underlay:
    """The Gaussians of the layer.

    Attributes:
        triangles: (n,) which they are on.
        spread: (n,) standard deviation along the surface, metres.
        depth: (n,) beneath it, metres.
    """

    triangles: Int[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    depth: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.triangles)


def underlay(
    seen: Survey,
    surface: Bool[np.ndarray, " F"],
    ears: Bool[np.ndarray, " F"],
    *,
    lips: Float[np.ndarray, "L 3"],
    eyes: Float[np.ndarray, "E 3"],
    budget: int,
    generator: np.random.Generator,
) -> Underlay:
    """A layer beneath what a take may show of a head.

    Args:
        seen: The survey of the head.
        surface: (F,) skin, scalp and ears that carry Gaussians.
        ears: (F,) the ears.
        lips: Points around the mouth, metres.
        eyes: The middles of the eyes, metres.
        budget: Gaussians of the whole head, of which the layer takes a small share at most.
        generator: Of random places.
    """
    to_lips, to_eyes = (KDTree(points).query(seen.centroids)[0] for points in (lips, eyes))
    face = surface & ~ears & (to_lips > FROM_LIPS) & (to_eyes > FROM_EYES)
    layers = [(FACE, np.where(face, seen.areas, 0)), (EAR, np.where(surface & ears & seen.shown, seen.areas, 0))]
    wanted = [area.sum() / kind.spacing**2 for kind, area in layers]
    share = min(1, LARGEST_SHARE * budget / max(sum(wanted), 1))
    triangles = [
        spread_evenly(area, int(count * share), generator) for (_, area), count in zip(layers, wanted, strict=True)
    ]
    counts = [len(chosen) for chosen in triangles]
    return Underlay(
        np.concatenate(triangles),
        np.repeat([kind.spread for kind, _ in layers], counts),
        np.repeat([kind.depth for kind, _ in layers], counts),
    )


def spread_evenly(weight: Float[np.ndarray, " F"], count: int, generator: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Triangles of `count` points: one in each of equal shares of the weights, since chance alone would leave gaps."""
    if not count:
        return np.zeros(0, np.int64)
    place = (np.arange(count) + generator.random(count)) / count
    return np.searchsorted(np.cumsum(weight) / weight.sum(), place).clip(max=len(weight) - 1)
