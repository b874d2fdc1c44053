"""The inside of a collar's sides: what is seen past the neck where the collar opens in front.

Without it one looks from the side through that gap at the inside of the shoulders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.fields.bust import back_depth, front_depth, quads

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.fields.bust import BustOutline, Neck

# It begins at this share of the way from the middle of the opening to its end, and so far above the rim, since the tip
# of a collar is often higher than the clothes' mean edge; from there it hangs so far down, so far within the clothes:
# metres. It is bent, so no disc may have more room than this, metres.
BEGIN, RISE, FALL, WITHIN, MOST_ROOM = 0.8, 8e-3, 0.06, 6e-3, 8e-3
STRIPS = 6


class Lining(NamedTuple):
    """A sheet on each side of the neck, around the end of the collar's opening.

    Attributes:
        vertices: (M, 3) metres.
        faces: (Q, 3) counter-clockwise from the neck.
        room: (Q,) from the middle of each triangle up to the sheet's upper edge, metres.
        rim: (Q,) x where the collar's rim begins to be lined on that side, metres.
    """

    vertices: Float[np.ndarray, "M 3"]
    faces: Int[np.ndarray, "Q 3"]
    room: Float[np.ndarray, " Q"]
    rim: Float[np.ndarray, " Q"]


def collar_lining(outline: BustOutline, neck: Neck) -> Lining:
    """The lining of both sides of a bust's collar."""
    left, right = (_side(outline, neck, end) for end in outline.opening)
    return Lining(
        np.concatenate([left.vertices, right.vertices]),
        np.concatenate([left.faces, right.faces + len(left.vertices)]),
        np.concatenate([left.room, right.room]),
        np.concatenate([left.rim, right.rim]),
    )


def _side(outline: BustOutline, neck: Neck, end: float) -> Lining:
    """The lining of the side where the opening ends at x = `end`."""
    begin = BEGIN * end
    x = outline.x[(outline.x / end >= BEGIN) & (outline.x / end <= 1)]
    x = x[np.abs(x).argsort()]
    front, back = outline.front_at(x), outline.back_at(x)
    behind = np.stack([x, back, back_depth(x, back, outline, neck)], 1)
    rim = np.concatenate([np.stack([x, front, front_depth(x, front, neck)], 1), behind[::-1]])
    # Both sides face the neck.
    rim = rim if end < 0 else rim[::-1]
    axis = np.array([0.0, neck.center])
    inwards = axis - rim[:, [0, 2]]
    rim[:, [0, 2]] += WITHIN * inwards / np.maximum(np.linalg.norm(inwards, axis=1, keepdims=True), 1e-9)
    up = np.linspace(RISE, RISE - FALL, STRIPS + 1)[:, None, None] * np.array([0.0, 1.0, 0.0])
    vertices = (rim + up).reshape(-1, 3)
    faces = quads(np.arange(len(vertices)).reshape(STRIPS + 1, -1))
    strip = np.arange(len(faces)) // (2 * (len(rim) - 1))
    room = np.minimum(FALL * (strip + 0.5) / STRIPS, MOST_ROOM)
    return Lining(vertices, faces, room, np.full(len(faces), begin))
