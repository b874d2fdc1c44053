"""A coarse second layer beneath the skin: what would be seen from the side through the gaps of the first is not seen.

The cameras of a take see cheeks, jaw and ears from one side only, so that nothing in training closes the gaps that
another view finds there; behind them lie the dark inside of the mouth, and hair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.spatial import KDTree

from avatar.fields.gaussian_head import REGIONS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.fields.survey import Survey

# It keeps away from openings, behind which it would be seen, metres; around the lips, where the dark inside is nearest,
# a finer one comes nearer.
FROM_LIPS, NEAR_LIPS, FROM_EYES = 0.012, 0.003, 0.02
LARGEST_SHARE = 0.12
# Depths that differ by less are the same, metres.
TELLING = 1e-6


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
LIPS = Kind(spread=1.5e-3, spacing=2.6e-3, depth=1.5e-3)
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
        lips: The outer edge of the lips, around, metres.
        eyes: The middles of the eyes, metres.
        budget: Gaussians of the whole head, of which the layer takes a small share at most.
        generator: Of random places.
    """
    to_lips, to_eyes = (KDTree(points).query(seen.centroids)[0] for points in (lips, eyes))
    face = surface & ~ears & (to_eyes > FROM_EYES)
    ring = face & (to_lips > NEAR_LIPS) & (to_lips <= FROM_LIPS)
    ring[ring] = ~_within(lips, seen.centroids[ring])
    kinds = [(FACE, face & (to_lips > FROM_LIPS)), (LIPS, ring), (EAR, surface & ears & seen.shown)]
    layers = [(kind, np.where(there, seen.areas, 0)) for kind, there in kinds]
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


def around_lips(initial: GaussianHead) -> Bool[Tensor, " N"]:
    """Which Gaussians of an initial head are the layer around the lips; they are told by their depth."""
    unseen = (initial.regions == REGIONS.index("unseen")) & (initial.triangles < len(initial.head.faces))
    return unseen & ((initial.offsets[:, 1] + LIPS.depth).abs() < TELLING)


def _within(contour: Float[np.ndarray, "L 3"], points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
    """Which points a contour goes around, seen from the front."""
    outline = contour[:, None, :2].astype(np.float32)
    return np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) > 0 for x, y in points[:, :2]], bool)


def spread_evenly(weight: Float[np.ndarray, " F"], count: int, generator: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Triangles of `count` points: one in each of equal shares of the weights, since chance alone would leave gaps."""
    if not count:
        return np.zeros(0, np.int64)
    place = (np.arange(count) + generator.random(count)) / count
    return np.searchsorted(np.cumsum(weight) / weight.sum(), place).clip(max=len(weight) - 1)
