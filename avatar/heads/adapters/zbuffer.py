"""One mesh seen by one camera, in plain numpy: what is where in the picture, and what a pixel's ray meets first."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.synthetic.raycast import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.cameras import Camera

NEAR = 0.05
# A point this far behind the surface that the picture shows still counts as seen, metres.
TOLERANCE = 1.5e-3


class Hits(NamedTuple):
    """What n pixels show: faces (n,), -1 for none, and the weights (n, 3) of their corners."""

    faces: Int[np.ndarray, " n"]
    barycentric: Float[np.ndarray, "n 3"]


class CameraScene:
    """A mesh before a camera; answers what `avatar.synthetic.raycast.Scene` answers, for this camera's rays only.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex indices.
        camera: The camera that every ray starts from.
    """

    def __init__(self, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], camera: Camera) -> None:
        self.vertices, self.faces, self.camera = np.asarray(vertices, np.float64), faces, camera
        seen = self.vertices @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        safe = np.maximum(seen[:, 2:], NEAR)
        self._pixels = (seen @ camera.K.T)[:, :2] / safe
        self._depths = safe[:, 0]
        self._drawn = (seen[faces, 2] > NEAR).all(axis=1)

    @cached_property
    def normals(self) -> Float[np.ndarray, "V 3"]:
        """Unit vertex normals, weighted by area."""
        return vertex_normals(self.vertices, self.faces)

    def intersect(
        self, origins: Float[np.ndarray, "r 3"], directions: Float[np.ndarray, "r 3"]
    ) -> tuple[Int[np.ndarray, " r"], Float[np.ndarray, "r 3"]]:
        """The first face along each ray from the camera (-1 for none) and the weights of the hit's corners."""
        pixels = self._project(np.asarray(origins, np.float64) + directions)
        corner = self._pixels[self.faces]
        low, high = corner.min(axis=1), corner.max(axis=1)
        inside = (pixels[:, None] >= low[None]).all(axis=2) & (pixels[:, None] <= high[None]).all(axis=2)
        ray, face = np.nonzero(inside & self._drawn)
        return self._nearest(pixels[ray], face, ray, len(pixels))

    def occluded(
        self, origins: Float[np.ndarray, "r 3"], directions: Float[np.ndarray, "r 3"], *, limit: float = 10.0
    ) -> Bool[np.ndarray, " r"]:
        """Whether the picture shows something before each point; outside the picture nothing is."""
        del directions, limit
        height, width = self.depth.shape
        view = np.asarray(origins, np.float64) @ self.camera.viewmat[:3, :3].T + self.camera.viewmat[:3, 3]
        column, row = np.floor(self._project(origins)).astype(int).T
        within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        shown = self.depth[row.clip(0, height - 1), column.clip(0, width - 1)]
        return within & (shown < view[:, 2] - TOLERANCE)

    @cached_property
    def depth(self) -> Float[np.ndarray, "H W"]:
        """Distance along the view of what each pixel's centre shows, infinite where it shows nothing."""
        faces, barycentric = self.image
        corners = self.faces[np.maximum(faces, 0)]
        flat = (barycentric * self._depths[corners]).sum(axis=1)
        return np.where(faces >= 0, flat, np.inf).reshape(self.camera.height, self.camera.width)

    @cached_property
    def image(self) -> Hits:
        """What every pixel's centre shows, in row-major order."""
        width, height = self.camera.width, self.camera.height
        drawn = np.flatnonzero(self._drawn)
        corner = self._pixels[self.faces[drawn]]
        # The first and last pixel centres within the triangle's box, which lie at half pixels.
        low = np.ceil(corner.min(axis=1) - 0.5).clip(0, [width, height]).astype(int)
        high = np.floor(corner.max(axis=1) - 0.5).clip(-1, [width - 1, height - 1]).astype(int)
        size = np.maximum(high - low + 1, 0)
        counts = size.prod(axis=1)
        which = np.repeat(np.arange(len(drawn)), counts)
        step = np.arange(len(which)) - np.repeat(counts.cumsum() - counts, counts)
        x, y = low[which, 0] + step % size[which, 0], low[which, 1] + step // size[which, 0]
        return Hits(*self._nearest(np.stack([x, y], 1) + 0.5, drawn[which], y * width + x, width * height))

    def _project(self, points: np.ndarray) -> np.ndarray:
        view = np.asarray(points, np.float64) @ self.camera.viewmat[:3, :3].T + self.camera.viewmat[:3, 3]
        return (view @ self.camera.K.T)[:, :2] / np.maximum(view[:, 2:], 1e-9)

    def _nearest(
        self, pixels: np.ndarray, faces: np.ndarray, target: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of the candidates (pixel, face) for each target, the nearest whose triangle holds the pixel."""
        corners = self.faces[faces]
        a, b, c = (self._pixels[corners[:, k]] for k in range(3))
        areas = np.stack(
            [_cross(b - pixels, c - pixels), _cross(c - pixels, a - pixels), _cross(a - pixels, b - pixels)]
        )
        total = areas.sum(axis=0)
        flat = areas / np.where(np.abs(total) < 1e-12, np.inf, total)
        kept = np.flatnonzero((flat >= 0).all(axis=0) & (total != 0))
        # Shares in the picture become shares on the triangle by dividing by the corners' depths.
        shares = flat[:, kept].T / self._depths[corners[kept]]
        depth = 1 / shares.sum(axis=1)
        shares *= depth[:, None]
        order = np.lexsort((depth, target[kept]))
        goal, first = np.unique(target[kept][order], return_index=True)
        best = order[first]
        found, barycentric = np.full(count, -1), np.zeros((count, 3))
        found[goal], barycentric[goal] = faces[kept[best]], shares[best]
        return found, barycentric


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
