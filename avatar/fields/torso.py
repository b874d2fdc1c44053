"""The torso: a closed surface for shoulders and clothes below the collar, which no head model covers.

What the frames show of the clothes gives its outline and its colours in front. The rest is what a bust needs to be
looked at from the side: shoulders that go on past the picture's edges, a back, and a collar that closes around the
neck. It is built in the template space of the head, and hangs on the head's root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from avatar.fields.bust import BustOutline, Neck, back_depth, bust_surface, front_depth
from avatar.fields.lining import collar_lining
from avatar.fields.survey import FRAMES, require_shown, take_camera

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.fields.survey import Survey
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

CELL = 6e-3
HALF_WIDTH, ABOVE, BELOW = 0.33, 0.12, 0.40
KEEP_SHARE, TOLD_SHARE = 0.25, 0.75
# A column of clothes shorter than this many cells at the edge of what is seen is a shoulder that leaves the picture.
SHORT = 8
OUTLINE_BLUR = 0.8
# What of the head model is not deeper beneath the clothes than this would show through them, metres.
UNDER = 1e-3
MARGIN_BELOW = 0.07
# The back's colours: the collar's goes around the neck so far down, then comes what the shoulders wear beside it.
COLLAR_HEIGHT, BESIDE_NECK = 0.02, 0.03
# From so far beside the collar's opening on, clothes are shoulder, metres.
SHOULDER = 0.03
# The inside of the collar has its colour, in its own shade.
LINING_SHADE = 0.6


class Torso(NamedTuple):
    """The surface at rest.

    Attributes:
        vertices: (M, 3) in template space, metres.
        faces: (Q, 3) indices into its own vertices, counter-clockwise from outside.
        colors: (Q, 3) sRGB in [0, 1] of each triangle.
        shown: (Q,) whether a frame shows the triangle; the others are a guess.
        front: (Q,) whether the triangle belongs to the front.
        room: (Q,) from each triangle's middle to where its side of the bust ends, metres.
        outline: Where it begins and ends; None without clothes.
        neck: The neck it goes around; None without clothes.
    """

    vertices: Float[np.ndarray, "M 3"]
    faces: Int[np.ndarray, "Q 3"]
    colors: Float[np.ndarray, "Q 3"]
    shown: Bool[np.ndarray, " Q"]
    front: Bool[np.ndarray, " Q"]
    room: Float[np.ndarray, " Q"]
    outline: BustOutline | None = None
    neck: Neck | None = None

    def within_collar(self, points: Float[np.ndarray, "n 3"], *, depth: float) -> Bool[np.ndarray, " n"]:
        """Which points (metres) lie within the collar's opening and no more than `depth` below its rim."""
        if self.outline is None or self.neck is None:
            return np.zeros(len(points), bool)
        left, right = self.outline.opening
        across = (points[:, 0] > left) & (points[:, 0] < right)
        return across & (self._below_rim(points) < depth) & ~self.bares(points)

    @property
    def at_collar(self) -> Bool[np.ndarray, " Q"]:
        """Which triangles lie along the edge that the collar has in front."""
        if self.outline is None:
            return np.zeros(len(self.faces), bool)
        x, y, _ = self.vertices[self.faces].mean(1).T
        return self.below_collar & (self.outline.front_at(x) - y < COLLAR_HEIGHT)

    @property
    def below_collar(self) -> Bool[np.ndarray, " Q"]:
        """Which triangles lie in front below the collar, where a tie hangs and buttons are."""
        if self.outline is None:
            return np.zeros(len(self.faces), bool)
        x = self.vertices[self.faces, 0].mean(1)
        left, right = self.outline.opening
        return self.front & (x > left - COLLAR_HEIGHT) & (x < right + COLLAR_HEIGHT)

    @property
    def beside_neck(self) -> Float[np.ndarray, " Q"]:
        """How far triangles lie beside the collar's opening: 0 within it, rising to 1 at `SHOULDER` from its end."""
        if self.outline is None:
            return np.zeros(len(self.faces))
        x, (left, right) = self.vertices[self.faces, 0].mean(1), self.outline.opening
        return (np.maximum(left - x, x - right) / SHOULDER).clip(0, 1)

    def bares(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which points (metres) lie below collar and shoulders, and yet outside the surface or close beneath it."""
        if self.outline is None or self.neck is None:
            return np.zeros(len(points), bool)
        x, y, z = points.T
        left, right = self.outline.opening
        front = front_depth(x, y, self.neck) - UNDER
        back = back_depth(x, y, self.outline, self.neck) + UNDER
        aside = (x < left) | (x > right)
        return (self._below_rim(points) > -UNDER * aside) & ((z > front) | (z < back) | aside)

    def _below_rim(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How far below the upper edge points are, of the front or the back, whichever they are nearer to."""
        assert self.outline is not None and self.neck is not None
        x, y, z = points.T
        return np.where(z > self.neck.center, self.outline.front_at(x), self.outline.back_at(x)) - y


EMPTY = Torso(
    np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros((0, 3)), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0)
)


class Wear(NamedTuple):
    """What the frames show of the clothes, on a grid of columns from -x to +x and of rows downwards.

    Attributes:
        x: (C,) metres.
        y: (R,) metres.
        worn: (R, C) share of the frames that show clothes there, of those that show the place.
        seen: (R, C) whether any frame shows the place.
        color: (R, C, 3) sRGB in [0, 1]; where no clothes are, that of the nearest.
    """

    x: Float[np.ndarray, " C"]
    y: Float[np.ndarray, " R"]
    worn: Float[np.ndarray, "R C"]
    seen: Bool[np.ndarray, "R C"]
    color: Float[np.ndarray, "R C 3"]

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest row and column of points."""
        row = np.rint((self.y[0] - y) / CELL).astype(int).clip(0, len(self.y) - 1)
        return row, np.rint((x - self.x[0]) / CELL).astype(int).clip(0, len(self.x) - 1)


def torso_surface(take: Take, head: Head, motion: Motion, surveyed: Survey, indices: np.ndarray) -> Torso:
    """Builds the surface from what the frames `indices` show; empty when the take shows no clothes.

    Args:
        take: The take.
        head: The head model.
        motion: The take's motion.
        surveyed: The survey of the head's triangles.
        indices: Training frames.

    Raises:
        InputError: The take shows no bare skin from the front.
    """
    require_shown((surveyed.labels[:, 1] > surveyed.labels[:, 2]) & (surveyed.facing > 0.2))
    neck = Neck.of(head, surveyed.rest)
    betas = torch.as_tensor(motion.betas, dtype=torch.float32, device=head.device)
    root = head.joints(betas[None])[0, 0].cpu().numpy()
    wear = clothes(take, root, motion, neck, indices)
    outline = outlined(wear, neck, eye=_eye(motion, root, indices))
    if outline is None:
        return EMPTY
    surface = bust_surface(outline, neck)
    place = surface.vertices[surface.faces].mean(1)
    row, column = wear.at(place[:, 0], place[:, 1])
    shown = surface.front & wear.seen[row, column] & (wear.worn[row, column] > KEEP_SHARE)
    colors = np.where(surface.front[:, None], wear.color[row, column], _guessed(wear, outline, place))
    lining = collar_lining(outline, neck)
    inside = LINING_SHADE * wear.color[wear.at(lining.rim, outline.front_at(lining.rim) - CELL)]
    neither = np.zeros(len(lining.faces), bool)
    return Torso(
        np.concatenate([surface.vertices, lining.vertices]),
        np.concatenate([surface.faces, lining.faces + len(surface.vertices)]),
        np.concatenate([colors, inside]),
        np.concatenate([shown, neither]),
        np.concatenate([surface.front, neither]),
        np.concatenate([surface.room, lining.room]),
        outline,
        neck,
    )


def _eye(motion: Motion, root: Float[np.ndarray, " 3"], indices: np.ndarray) -> Float[np.ndarray, " 3"]:
    """Where the camera stands for the shoulders at rest, as high as it ever does, metres."""
    turned = Rotation.from_rotvec(motion.global_orient[indices]).inv()
    eyes = turned.apply(-(motion.transl + motion.torso)[indices] - root) + root
    return np.array([eyes[:, 0].mean(), np.percentile(eyes[:, 1], 95), eyes[:, 2].mean()])


def clothes(take: Take, root: Float[np.ndarray, " 3"], motion: Motion, neck: Neck, indices: np.ndarray) -> Wear:
    """Looks for the clothes where the front of a bust would be, in up to ``FRAMES`` frames among `indices`."""
    x = np.arange(-HALF_WIDTH, HALF_WIDTH + CELL, CELL)
    y = np.arange(neck.height + ABOVE, neck.height - BELOW, -CELL)
    across, up = np.meshgrid(x, y)
    grid = np.stack([across, up, front_depth(across, up, neck)], -1)
    count, visible, color = np.zeros(across.shape), np.zeros(across.shape), np.zeros((*across.shape, 3))
    camera = take_camera(take)
    for index in indices[np.unique(np.linspace(0, len(indices) - 1, FRAMES).astype(int))]:
        rotation = Rotation.from_rotvec(motion.global_orient[index]).as_matrix()
        world = (grid - root) @ rotation.T + root + motion.transl[index] + motion.torso[index]
        seen = world @ camera.viewmat[:3, :3].T
        pixels = seen @ camera.K.T
        column, row = (np.floor(pixels[..., k] / pixels[..., 2]).astype(int) for k in (0, 1))
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        column, row = column.clip(0, camera.width - 1), row.clip(0, camera.height - 1)
        covered = take.covered(int(index))
        if covered is not None:
            inside &= ~covered[row, column]
        worn = inside & (take.parts(int(index))[row, column] == 2)
        visible += inside
        count += worn
        color += worn[..., None] * (take.image(int(index))[row, column] / 255.0)
    worn = count / np.maximum(visible, 1)
    # At the edge of the clothes their colour is mixed with what is behind them.
    told = worn > TOLD_SHARE
    if told.any():
        nearest = ndimage.distance_transform_edt(~told, return_distances=False, return_indices=True)
        color = (color / np.maximum(count, 1)[..., None])[tuple(np.asarray(nearest))]
    return Wear(x, y, worn, visible > 0, color)


def outlined(wear: Wear, neck: Neck, *, eye: Float[np.ndarray, " 3"]) -> BustOutline | None:
    """Where the clothes begin and end for a camera at `eye` (3,), metres; None where too little of them is seen."""
    kept = ndimage.binary_closing(wear.worn > KEEP_SHARE, iterations=2)
    pieces, count = ndimage.label(kept)  # type: ignore[misc]
    if not count:
        return None
    largest = pieces == 1 + np.argmax(ndimage.sum_labels(kept, pieces, np.arange(1, count + 1)))
    columns = np.flatnonzero(largest.any(0))
    x = wear.x[columns]
    # One side alone is no bust: nothing could be said of the other.
    if len(columns) < 4 or x[0] > -neck.width or x[-1] < neck.width:
        return None
    first = largest[:, columns].argmax(0)
    last = len(wear.y) - 1 - largest[::-1, columns].argmax(0)
    top = _crossing(wear, first, columns)
    top = ndimage.gaussian_filter1d(ndimage.median_filter(top, 3, mode="nearest"), OUTLINE_BLUR, mode="nearest")
    lowest = wear.y[np.flatnonzero(wear.seen.any(1))[-1]]
    cut = ~wear.seen[np.minimum(last + 1, len(wear.y) - 1), columns]
    bottom = lowest - MARGIN_BELOW if cut.mean() > 0.5 else float(np.median(wear.y[last]))
    leaves = [
        not wear.seen[first[end], column + step] or last[end] - first[end] < SHORT
        for end, column, step in ((0, columns[0], -1), (-1, columns[-1], 1))
    ]
    top = np.maximum(top, bottom + CELL)
    return BustOutline.of(x, top, float(bottom), neck, eye=eye, leaves=(leaves[0], leaves[1]))


def _crossing(wear: Wear, first: np.ndarray, columns: np.ndarray) -> Float[np.ndarray, " c"]:
    """The height at which each column's share of clothes passes ``KEEP_SHARE``, finer than the rows lie."""
    here = wear.worn[first, columns]
    above = np.minimum(wear.worn[np.maximum(first - 1, 0), columns], KEEP_SHARE)
    part = (here - KEEP_SHARE) / np.maximum(here - above, 1e-6)
    return wear.y[first] + CELL * part.clip(0, 1)


def _guessed(wear: Wear, outline: BustOutline, place: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Colours of what is not in front: at the shoulders like what is seen of them, at the nape like the collar."""
    x, y, _ = place.T
    left, right = outline.opening
    aside = np.where(x < 0, np.minimum(x, left - BESIDE_NECK), np.maximum(x, right + BESIDE_NECK))
    aside = aside.clip(outline.seen[0] + CELL, outline.seen[1] - CELL)
    fabric = wear.color[wear.at(aside, outline.front_at(aside) - 2 * CELL)]
    ends = np.array([left, right])
    collar = wear.color[wear.at(ends, outline.front_at(ends) - CELL)]
    share = ((x - left) / (right - left)).clip(0, 1)[:, None]
    around = (x > left) & (x < right) & (outline.back_at(x) - y < COLLAR_HEIGHT)
    return np.where(around[:, None], (1 - share) * collar[0] + share * collar[1], fabric)
