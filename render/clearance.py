"""Cameras that stand inside a head, which would show its inner side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Hair stands off the mesh, and a camera within it shows single Gaussians.
CLEARANCE = 0.02


def is_inside(
    point: Float[np.ndarray, " 3"], vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> bool:
    """Whether a point is inside a mesh or nearer than `CLEARANCE` to one of its vertices.

    Inside is where the generalised winding number is above one half (Jacobson et al., "Robust inside-outside
    segmentation using generalized winding numbers", SIGGRAPH 2013), so that the mesh may be open at the neck.

    Args:
        point: (3,) metres.
        vertices: (V, 3) metres.
        faces: (F, 3) triangles, counter-clockwise from outside.
    """
    away = vertices - point
    distances = np.linalg.norm(away, axis=1)
    if distances.min() < CLEARANCE:
        return True
    if ((away > 0).all(0) | (away < 0).all(0)).any():
        return False
    a, b, c = (away[faces[:, i]] for i in range(3))
    la, lb, lc = (distances[faces[:, i]] for i in range(3))
    # The solid angle of a triangle: Van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 1983.
    volume = (a * np.cross(b, c)).sum(1)
    size = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return bool(np.arctan2(volume, size).sum() / (2 * np.pi) > 0.5)
