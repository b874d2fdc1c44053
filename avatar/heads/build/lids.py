"""Eyelids that close: the blink actions, scaled so that full closure meets the lower lid and goes no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from avatar.heads.build.makehuman import MakeHuman
from avatar.heads.build.surface import Surface
from avatar.synthetic.raycast import Scene

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# Half-width of the window around an eye, and the rays' spacing, metres.
WINDOW, SPACING = 0.02, 0.0004
# Shares of a blink that are tried, and the blur of their profile along the eye, metres.
LEVELS, BLUR = 41, 0.0012
# Lids press on each other when shut; those of an eye that opens wider than the mean one still meet.
PRESS = 1.08


def closing_lids(data: MakeHuman, surface: Surface, mean: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3 2"]:
    """Displacements that close the subject's left and right lid on the mean head.

    The sculpted blinks overshoot, as they must close any of MakeHuman's eyes: by a third below the pupil, by more at
    the outer corner, where the upper lid would end up 3 mm below the lower one. So each column of the eye goes as far
    as it must.
    """
    closing = np.stack([surface.displacements(data.action(f"eyeBlink{side}")) for side in ("Left", "Right")], axis=-1)
    for part in ("teeth_upper", "eye_l", "eye_r"):
        closing[surface.slice(part)] = 0
    # Columns are counted outwards (the subject's left eye lies at +x), and one profile serves both eyes.
    outwards = (1.0, -1.0)
    parts = ("eye_l", "eye_r")
    shares = [
        _closing_shares(surface, mean, closing[..., side], part)[:: int(outwards[side])]
        for side, part in enumerate(parts)
    ]
    profile = gaussian_filter1d(np.maximum(*shares), BLUR / SPACING, mode="nearest")
    for side, part in enumerate(parts):
        away = outwards[side] * (mean[:, 0] - mean[surface.slice(part), 0].mean())
        share = np.interp(away, _columns(), profile)
        closing[..., side] *= np.minimum(share * PRESS, 1.0)[:, None]
    return closing


def visible_area(faces: np.ndarray, vertices: Float[np.ndarray, "V 3"], ball: tuple[int, int]) -> float:
    """Visible area of an eyeball, seen along -z, in square millimetres; `ball` is its vertex range."""
    return float(_visible(faces, vertices, ball).sum() * (SPACING * 1e3) ** 2)


def _columns() -> Float[np.ndarray, " C"]:
    """Places of rays along one side of the window, metres from the eyeball's centre."""
    return np.arange(-WINDOW, WINDOW, SPACING) + SPACING / 2


def _visible(faces: np.ndarray, vertices: Float[np.ndarray, "V 3"], ball: tuple[int, int]) -> Bool[np.ndarray, "C C"]:
    """Where rays along -z around an eyeball hit it; columns are places in x."""
    centre = vertices[slice(*ball)].mean(axis=0)
    x, y = np.meshgrid(centre[0] + _columns(), centre[1] + _columns())
    origins = np.stack([x.ravel(), y.ravel(), np.full(x.size, centre[2] + 0.2)], axis=1)
    face, _ = Scene(vertices, faces).intersect(origins, np.broadcast_to([0.0, 0, -1], origins.shape))
    corner = np.where(face >= 0, faces[face, 0], -1)
    return ((corner >= ball[0]) & (corner < ball[1])).reshape(x.shape)


def _closing_shares(surface: Surface, mean: np.ndarray, closing: np.ndarray, part: str) -> Float[np.ndarray, " C"]:
    """The smallest share of a blink that hides each column of the eyeball; beyond the eye, that of the next column."""
    # The lashes would hide a slit between the lids.
    start, stop = surface.parts["lashes"]
    bare = surface.faces[(surface.faces[:, 0] < start) | (surface.faces[:, 0] >= stop)]
    levels = np.linspace(0, 1, LEVELS)
    open_at = np.stack([_visible(bare, mean + level * closing, surface.parts[part]).any(axis=0) for level in levels])
    inside = open_at[0]
    # The last level that shows something, and a step.
    last = LEVELS - 1 - open_at[::-1].argmax(axis=0)
    shares = levels[np.minimum(last + 1, LEVELS - 1)]
    return np.interp(_columns(), _columns()[inside], shares[inside])
