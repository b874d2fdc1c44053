"""A coarse second layer beneath the skin: what would be seen from the side through the gaps of the first is not seen.

The cameras of a take see cheeks and jaw from one side only, so that nothing in training closes the gaps that another
view finds there; behind them lies the dark inside of the mouth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.fields.survey import Survey

# Standard deviation of its discs and the distance between them, metres.
SPREAD, SPACING = 3.5e-3, 6e-3
# It keeps away from openings, behind which it would be seen, metres.
FROM_LIPS, FROM_EYES = 0.012, 0.02
LARGEST_SHARE = 0.12


def underlaid(
    seen: Survey,
    surface: Bool[np.ndarray, " F"],
    *,
    lips: Float[np.ndarray, "L 3"],
    eyes: Float[np.ndarray, "E 3"],
) -> Bool[np.ndarray, " F"]:
    """The triangles of a `surface` that have room for a layer beneath.

    Args:
        seen: The survey of the head.
        surface: (F,) skin and scalp that carry Gaussians, without ears.
        lips: Points around the mouth, metres.
        eyes: The middles of the eyes, metres.
    """
    to_lips, to_eyes = (KDTree(points).query(seen.centroids)[0] for points in (lips, eyes))
    return surface & (to_lips > FROM_LIPS) & (to_eyes > FROM_EYES)


def underlay(
    seen: Survey, where: Bool[np.ndarray, " F"], budget: int, generator: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Triangles of the layer's Gaussians, spread evenly; fewer than a share of the `budget`."""
    area = np.where(where, seen.areas, 0.0)
    count = min(round(area.sum() / SPACING**2), int(LARGEST_SHARE * budget))
    # One in each of equal shares of the surface: chance alone would leave gaps.
    place = (np.arange(count) + generator.random(count)) / max(count, 1)
    return np.searchsorted(np.cumsum(area) / max(area.sum(), 1e-12), place).clip(max=len(area) - 1)
