"""Mesh operations whose new vertices are linear in the old ones, so that every basis maps through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Cuts closer to a corner than this share of an edge move the corner instead, which leaves no slivers.
SNAP = 0.3


def triangles(quads: Int[np.ndarray, "Q 4 *rest"]) -> Int[np.ndarray, "F 3 *rest"]:
    """Two triangles of every quad."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def stack(blocks: list[sp.csr_matrix]) -> sp.csr_matrix:
    """Blocks of rows, one below the other."""
    return sp.csr_matrix(sp.vstack(blocks))


def row_count(rows: sp.csr_matrix) -> int:
    """Rows of a sparse matrix."""
    return len(rows.indptr) - 1


def select(ids: Int[np.ndarray, " n"], count: int) -> sp.csr_matrix:
    """(n, count) matrix that picks rows."""
    return sp.csr_matrix((np.ones(len(ids)), (np.arange(len(ids)), ids)), (len(ids), count))


def clip(
    faces: Int[np.ndarray, "F 3"], uv: Float[np.ndarray, "F 3 2"], field: Float[np.ndarray, " N"]
) -> tuple[sp.csr_matrix, Int[np.ndarray, "f 3"], Float[np.ndarray, "f 3 2"]]:
    """Cuts a triangle mesh along the zero line of a vertex field and keeps where the field is positive.

    Args:
        faces: (F, 3) triangles over N vertices.
        uv: (F, 3, 2) texture coordinates of their corners.
        field: (N,) negative outside.

    Returns:
        The (n, N) matrix that makes the new vertices, the new triangles and their texture coordinates. Old vertices
        come first in their old order, cut ones after them.
    """
    field = field.copy()
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    moved: dict[int, tuple[int, float]] = {}
    for a, b in edges[field[edges[:, 0]] * field[edges[:, 1]] < 0]:
        share = field[a] / (field[a] - field[b])
        near, far, share = (a, b, share) if share < 0.5 else (b, a, 1 - share)
        if share < SNAP and (near not in moved or share < moved[near][1]):
            moved[int(near)] = int(far), float(share)
    field[list(moved)] = 0
    cuts: dict[tuple[int, int], tuple[float, int]] = {}
    out_faces: list[list[int]] = []
    out_uv: list[np.ndarray] = []
    for face, corners in zip(faces[(field[faces] > 0).any(axis=1)], uv[(field[faces] > 0).any(axis=1)], strict=True):
        polygon: list[int] = []
        texture: list[np.ndarray] = []
        for k in range(3):
            a, b = int(face[k]), int(face[(k + 1) % 3])
            if field[a] >= 0:
                polygon.append(a)
                texture.append(corners[k])
            if field[a] * field[b] < 0:
                share = field[a] / (field[a] - field[b])
                first, second = min(a, b), max(a, b)
                where = share if a == first else 1 - share
                cut = cuts.setdefault((first, second), (where, len(field) + len(cuts)))
                polygon.append(cut[1])
                texture.append(corners[k] * (1 - share) + corners[(k + 1) % 3] * share)
        for k in range(1, len(polygon) - 1):
            out_faces.append([polygon[0], polygon[k], polygon[k + 1]])
            out_uv.append(np.stack([texture[0], texture[k], texture[k + 1]]))
    kept = np.array(out_faces)
    identity = sp.lil_matrix((len(field), len(field)))
    identity.setdiag(1)
    for near, (far, share) in moved.items():
        identity[near, near], identity[near, far] = 1 - share, share
    fresh = sp.lil_matrix((len(cuts), len(field)))
    for row, ((a, b), (share, _)) in enumerate(cuts.items()):
        fresh[row, a], fresh[row, b] = 1 - share, share
    used, local = np.unique(kept, return_inverse=True)
    rows = stack([sp.csr_matrix(identity), sp.csr_matrix(fresh)])[used]
    return sp.csr_matrix(rows), local.reshape(kept.shape), np.array(out_uv)


def largest_component(faces: Int[np.ndarray, "F 3"]) -> np.ndarray:
    """(F,) mask of the triangles in the largest connected piece."""
    count = int(faces.max()) + 1
    links = sp.coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), (count, count))
    _, label = sp.csgraph.connected_components(links, directed=False)
    return label[faces[:, 0]] == np.bincount(label[faces[:, 0]]).argmax()


def subdivide(
    rows: sp.csr_matrix, quads: Int[np.ndarray, "Q 4"], uv: Float[np.ndarray, "Q 4 2"]
) -> tuple[sp.csr_matrix, Int[np.ndarray, "q 4"], Float[np.ndarray, "q 4 2"]]:
    """One step of Catmull and Clark, 1978, on the quads over the vertices that `rows` (n, N) makes.

    Boundaries become cubic B-splines; texture coordinates are split linearly.
    """
    count, total = row_count(rows), len(quads)
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, edge_of = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(total, 4)
    to_face = sp.csr_matrix((np.full(4 * total, 0.25), (np.repeat(np.arange(total), 4), quads.ravel())), (total, count))
    of_edge = sp.csr_matrix(
        (np.ones(4 * total), (edge_of.ravel(), np.repeat(np.arange(total), 4))), (len(edges), total)
    )
    faces_per_edge = np.asarray(of_edge.sum(axis=1)).ravel()
    midpoint = sp.csr_matrix(
        (np.full(2 * len(edges), 0.5), (np.repeat(np.arange(len(edges)), 2), edges.ravel())), (len(edges), count)
    )
    inner = faces_per_edge == 2
    around = sp.diags(1 / faces_per_edge) @ of_edge @ to_face
    to_edge = sp.diags(np.where(inner, 0.5, 1.0)) @ midpoint + sp.diags(np.where(inner, 0.5, 0.0)) @ around
    on_edge = sp.csr_matrix((midpoint.T > 0).astype(np.float64))
    on_face = sp.csr_matrix((to_face.T > 0).astype(np.float64))
    border = on_edge @ sp.diags((~inner).astype(np.float64))
    borders = np.asarray(border.sum(axis=1)).ravel()
    valence = np.asarray(on_edge.sum(axis=1)).ravel()
    smooth = (
        sp.diags(1 / valence) @ sp.diags(1 / np.asarray(on_face.sum(axis=1)).ravel()) @ on_face @ to_face
        + sp.diags(2 / valence**2) @ on_edge @ midpoint
        + sp.diags((valence - 3) / valence)
    )
    crease = 0.5 * sp.eye(count) + 0.25 * border @ midpoint
    corner = (borders != 0) & (borders != 2)
    to_vertex = (
        sp.diags((borders == 0).astype(np.float64)) @ smooth
        + sp.diags((borders == 2).astype(np.float64)) @ crease
        + sp.diags(corner.astype(np.float64))
    )
    following, before = edge_of, np.roll(edge_of, 1, axis=1)
    centre = np.repeat(count + len(edges) + np.arange(total)[:, None], 4, axis=1)
    new_quads = np.stack([quads, count + following, centre, count + before], axis=-1).reshape(-1, 4)
    middle = (uv + np.roll(uv, -1, axis=1)) / 2
    centre_uv = np.repeat(uv.mean(axis=1, keepdims=True), 4, axis=1)
    new_uv = np.stack([uv, middle, centre_uv, np.roll(middle, 1, axis=1)], axis=2).reshape(-1, 4, 2)
    return sp.csr_matrix(sp.vstack([to_vertex, to_edge, to_face]) @ rows), new_quads, new_uv


def vertex_areas(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, " V"]:
    """A third of the area of the triangles around every vertex, square metres."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), len(vertices))


def neighbour_mean(faces: Int[np.ndarray, "F 3"], count: int) -> sp.csr_matrix:
    """(count, count) matrix that averages the vertices sharing an edge with each; lone vertices keep themselves."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    sides = np.unique(np.sort(sides, axis=1), axis=0)
    links = sp.coo_matrix((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), (count, count))
    links = sp.csr_matrix(links + links.T)
    degree = np.asarray(links.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags(1 / np.maximum(degree, 1)) @ links + sp.diags((degree == 0).astype(np.float64)))
