"""Eyelids that close: the blink actions scaled so that full closure meets the lower lid and goes no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.build.makehuman import MakeHuman
from avatar.heads.build.surface import Surface
from avatar.synthetic.raycast import Scene

if TYPE_CHECKING:
    from jaxtyping import Float

# Half-width of the window around an eye, and the rays' spacing, metres.
WINDOW, SPACING = 0.02, 0.0004
# Lids press on each other a little when shut.
PRESS = 1.03


def closing_lids(data: MakeHuman, surface: Surface, mean: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3 2"]:
    """Displacements that close the subject's left and right lid on the mean head.

    The sculpted blinks overshoot by about a third, as they must close any of MakeHuman's eyes.
    """
    closing = np.stack([surface.displacements(data.action(f"eyeBlink{side}")) for side in ("Left", "Right")], axis=-1)
    for part in ("teeth_upper", "eye_l", "eye_r"):
        closing[surface.slice(part)] = 0
    # One factor for both lids keeps them symmetric.
    factor = max(
        _closing_factor(surface, mean, closing[..., side], part) for side, part in enumerate(("eye_l", "eye_r"))
    )
    return closing * min(factor * PRESS, 1.0)


def visible_area(faces: np.ndarray, vertices: Float[np.ndarray, "V 3"], ball: tuple[int, int]) -> float:
    """Visible area of an eyeball, seen along -z, in square millimetres; `ball` is its vertex range."""
    centre = vertices[slice(*ball)].mean(axis=0)
    offsets = np.arange(-WINDOW, WINDOW, SPACING)
    x, y = np.meshgrid(centre[0] + offsets, centre[1] + offsets)
    origins = np.stack([x.ravel(), y.ravel(), np.full(x.size, centre[2] + 0.2)], axis=1)
    face, _ = Scene(vertices, faces).intersect(origins, np.broadcast_to([0.0, 0, -1], origins.shape))
    corner = faces[face[face >= 0], 0]
    return float(((corner >= ball[0]) & (corner < ball[1])).sum() * (SPACING * 1e3) ** 2)


def _closing_factor(surface: Surface, mean: np.ndarray, closing: np.ndarray, part: str) -> float:
    """The smallest share of a blink that hides the eyeball, by bisection."""
    # The lashes would hide a slit between the lids.
    start, stop = surface.parts["lashes"]
    bare = surface.faces[(surface.faces[:, 0] < start) | (surface.faces[:, 0] >= stop)]
    low, high = 0.0, 1.0
    for _ in range(8):
        middle = (low + high) / 2
        if visible_area(bare, mean + middle * closing, surface.parts[part]) > 0.2:
            low = middle
        else:
            high = middle
    return high
