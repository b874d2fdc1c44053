"""The torso sheet: a surface for the clothes below the collar, which no head model covers.

The sheet is a curved grid in the template space of the head, so that it hangs on the head's root. Its outline is where
the take's frames show clothes; it goes on for a little below the frame's lower edge, so that no cut shows when the
head bobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from avatar.fields.survey import FRAMES, require_shown, take_camera

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.fields.survey import Survey
    from avatar.io.take import Take
    from avatar.motion import Motion

CELL = 6e-3
HALF_WIDTH, HEIGHT = 0.33, 0.36
KEEP_SHARE = 0.25
CHEST_SLOPE, CHEST_DEPTH = 0.25, 0.04
# The collar runs around the neck: within this half width it recedes by the depth of half a neck, further down by less.
NECK_RADIUS, NECK_DEPTH, NECK_FADE = 0.08, 0.06, 0.15
SHOULDER_CURVATURE = 0.5
MARGIN_BELOW = 0.07


class TorsoSheet(NamedTuple):
    """The sheet at rest.

    Attributes:
        vertices: (M, 3) in template space, metres.
        faces: (Q, 3) indices into its own vertices.
        colors: (Q, 3) sRGB in [0, 1] of each triangle.
    """

    vertices: Float[np.ndarray, "M 3"]
    faces: Int[np.ndarray, "Q 3"]
    colors: Float[np.ndarray, "Q 3"]


EMPTY = TorsoSheet(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros((0, 3)))


def sheet_surface(x: np.ndarray, y: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Depth of the sheet at (x, y), metres.

    It starts at the front of the neck's base, wraps around the neck, swells to the chest and falls off to the sides.
    """
    below = np.maximum(top[1] - y, 0)
    aside = np.abs(x - top[0])
    chest = np.minimum(CHEST_SLOPE * below, CHEST_DEPTH)
    wrap = NECK_DEPTH * np.exp(-below / NECK_FADE) * np.minimum(aside / NECK_RADIUS, 1) ** 2
    return top[2] + chest - wrap - SHOULDER_CURVATURE * aside**2


def torso_sheet(
    take: Take, motion: Motion, surveyed: Survey, root: Float[np.ndarray, " 3"], indices: np.ndarray
) -> TorsoSheet:
    """Builds the sheet from what the frames `indices` show; empty when the take shows no clothes.

    Args:
        take: The take.
        motion: Its motion.
        surveyed: The survey of the head's triangles.
        root: (3,) the root joint at rest.
        indices: Training frames.

    Raises:
        InputError: The take shows no bare skin from the front.
    """
    top = _collar(surveyed)
    columns = np.arange(-HALF_WIDTH, HALF_WIDTH + CELL, CELL)
    rows = np.arange(0.05, -HEIGHT - CELL, -CELL)
    x, y = np.meshgrid(columns + top[0], rows + top[1])
    grid = np.stack([x, y, sheet_surface(x, y, top)], -1)
    clothes, visible, color = np.zeros(x.shape), np.zeros(x.shape), np.zeros((*x.shape, 3))
    camera = take_camera(take)
    for index in indices[np.unique(np.linspace(0, len(indices) - 1, FRAMES).astype(int))]:
        rotation = Rotation.from_rotvec(motion.global_orient[index]).as_matrix()
        world = (grid - root) @ rotation.T + root + motion.transl[index] + motion.torso[index]
        seen = world @ camera.viewmat[:3, :3].T
        pixels = seen @ camera.K.T
        column, row = (np.floor(pixels[..., k] / pixels[..., 2]).astype(int) for k in (0, 1))
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        column, row = column.clip(0, camera.width - 1), row.clip(0, camera.height - 1)
        worn = inside & (take.parts(int(index))[row, column] == 2)
        visible += inside
        clothes += worn
        color += worn[..., None] * (take.image(int(index))[row, column] / 255.0)
    keep = clothes > KEEP_SHARE * np.maximum(visible, 1)
    if keep.sum() < 4:
        return EMPTY
    color[keep] /= clothes[keep][:, None]
    keep, color = _extended_below(keep, color, visible > 0)
    return _triangulated(grid, keep, color)


def _collar(surveyed: Survey) -> Float[np.ndarray, " 3"]:
    """A point at the front of the neck's base: the lowest skin that the clip shows as head."""
    neck = (surveyed.labels[:, 1] > surveyed.labels[:, 2]) & (surveyed.facing > 0.2)
    require_shown(neck)
    low = surveyed.centroids[neck]
    low = low[low[:, 1] <= np.percentile(low[:, 1], 3)]
    return np.array([0.0, low[:, 1].mean(), np.percentile(low[:, 2], 90)])


def _extended_below(keep: np.ndarray, color: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continues the columns that leave the frame at its lower edge."""
    keep, color = keep.copy(), color.copy()
    for column in np.flatnonzero(keep.any(0)):
        last = np.flatnonzero(keep[:, column])[-1]
        if last + 1 < len(keep) and visible[last + 1 :, column].any():
            continue
        stop = min(len(keep), last + 1 + round(MARGIN_BELOW / CELL))
        keep[last:stop, column] = True
        color[last:stop, column] = color[last, column]
    return keep, color


def _triangulated(grid: np.ndarray, keep: np.ndarray, color: np.ndarray) -> TorsoSheet:
    """Two triangles for every grid cell whose four corners are kept."""
    keep = ndimage.binary_closing(keep, iterations=2) | keep
    bare = color.sum(-1) == 0
    nearest = np.asarray(ndimage.distance_transform_edt(bare, return_distances=False, return_indices=True))
    color = color[tuple(nearest)]
    cell = keep[:-1, :-1] & keep[1:, :-1] & keep[:-1, 1:] & keep[1:, 1:]
    row, column = np.nonzero(cell)
    width = keep.shape[1]
    a = row * width + column
    faces = np.concatenate([np.stack([a, a + width, a + 1], 1), np.stack([a + 1, a + width, a + width + 1], 1)])
    used, inverse = np.unique(faces, return_inverse=True)
    tone = color[row, column]
    return TorsoSheet(grid.reshape(-1, 3)[used], inverse.reshape(-1, 3), np.concatenate([tone, tone]))
