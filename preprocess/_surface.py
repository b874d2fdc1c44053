"""Smooth offsets of a mesh: its cotangent Laplacian, and the directions in which its surface swells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import factorized

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SMALLEST_COTANGENT = 0.01


def laplacian(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[sparse.csr_matrix, Float[np.ndarray, " V"]]:
    """The cotangent stiffness matrix (V, V), positive semi-definite, and the vertices' areas (V,), square metres.

    Args:
        points: (V, 3) vertices, metres.
        faces: (F, 3) triangles.

    Returns:
        Stiffness and areas (Pinkall and Polthier, "Computing discrete minimal surfaces and their conjugates", 1993).
        Cotangents of obtuse corners are held above zero, so that no vertex leaves the hull of its neighbours.
    """
    count = len(points)
    stiffness = sparse.csr_matrix((count, count))
    for first, second, apex in ((1, 2, 0), (2, 0, 1), (0, 1, 2)):
        a, b, c = (points[faces[:, k]] for k in (first, second, apex))
        sine = np.linalg.norm(np.cross(a - c, b - c), axis=1)
        weight = np.maximum(((a - c) * (b - c)).sum(1) / np.maximum(sine, 1e-12), SMALLEST_COTANGENT) / 2
        row, column = faces[:, first], faces[:, second]
        stiffness = stiffness + sparse.coo_matrix(
            (
                np.concatenate([weight, weight, -weight, -weight]),
                (np.concatenate([row, column, row, column]), np.concatenate([row, column, column, row])),
            ),
            (count, count),
        )
    corners = points[faces]
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    areas = np.bincount(faces.ravel(), np.repeat(doubled / 6, 3), minlength=count)
    return stiffness.tocsr(), np.maximum(areas, 1e-9)


def swelling_directions(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], length: float
) -> Float[np.ndarray, "V 3"]:
    """Unit normals of the surface without its detail finer than `length` metres: an ear's are those of the skull."""
    stiffness, areas = laplacian(points, faces)
    smoothing = factorized((sparse.diags(areas) + length**2 * stiffness).tocsc())
    corners = points[faces]
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(faces.ravel(), np.repeat(doubled[:, k], 3), len(points)) for k in range(3)], 1)
    smooth = np.stack([smoothing(np.ascontiguousarray(column)) for column in normals.T], 1)
    return smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)


def triangle_samples(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], spacing: float
) -> tuple[Int[np.ndarray, " s"], Float[np.ndarray, "s 3"], Float[np.ndarray, " s"]]:
    """Even points on triangles: about one in each square of side `spacing` metres, at least one on each triangle.

    Returns:
        Their triangles (s,), the weights of the corners (s, 3), and the square metres that each stands for (s,).
    """
    corners = points[faces]
    sizes = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    cuts = np.maximum(1, np.round(np.sqrt(sizes) / spacing)).astype(int)
    found = []
    for cut in np.unique(cuts):
        which = np.flatnonzero(cuts == cut)
        # Middles of the cut^2 smaller triangles, those that point the same way and those between.
        first, second = (index.ravel() for index in np.meshgrid(np.arange(cut), np.arange(cut), indexing="ij"))
        upright = np.stack([first, second], 1)[first + second < cut] + 1 / 3
        between = np.stack([first, second], 1)[first + second < cut - 1] + 2 / 3
        shares = np.concatenate([upright, between]) / cut
        weights = np.column_stack([1 - shares.sum(1), shares])
        found.append(
            (
                np.repeat(which, len(weights)),
                np.tile(weights, (len(which), 1)),
                np.repeat(sizes[which] / cut**2, cut**2),
            )
        )
    triangles, barycentric, areas = (np.concatenate(part) for part in zip(*found, strict=True))
    return triangles, barycentric, areas
