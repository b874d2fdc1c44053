"""The subject as a mesh: the head of one person and the torso below it, coloured by the Gaussians upon them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.heads.actions import action_displacements
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.mesh_glb import SkinnedMesh

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.heads import Head

TORSO = "torso"
# Vertices no Gaussian lies near take the mean of this many that have one.
NEIGHBOURS = 4
# Gaussians that hardly show say nothing of the surface's colour.
LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class SubjectMesh:
    """A subject's mesh, with its actions as morph targets; vertices are repeated where the texture coordinates part.

    Attributes:
        mesh: The mesh; the torso has no texture coordinates and keeps zero.
        sources: (V,) each vertex's number among the avatar's own, `GaussianHead.vertices`.
    """

    mesh: SkinnedMesh
    sources: Int[np.ndarray, " V"]


def subject_head(gaussians: GaussianHead) -> Head:
    """The head model with the avatar's identity baked in."""
    return gaussians.head.with_identity(gaussians.betas, gaussians.vertex_offsets)


def subject_mesh(gaussians: GaussianHead) -> SubjectMesh:
    """The mesh an avatar rides on; raises InputError for a head model without ARKit actions."""
    head = subject_head(gaussians)
    count, torso = len(head.v_template), len(gaussians.torso_vertices)
    rest = torch.cat([head.v_template, gaussians.torso_vertices]).numpy()
    faces = torch.cat([head.faces, gaussians.torso_faces]).numpy()
    corner_uv = np.concatenate([head.uv.numpy(), np.zeros((len(gaussians.torso_faces), 3, 2), np.float32)])
    sources, uv, cut = split_at_seams(faces, corner_uv)
    weights = np.zeros((count + torso, 5), np.float32)
    weights[:count], weights[count:, 0] = head.weights.numpy(), 1
    actions = np.pad(action_displacements(head), ((0, 0), (0, torso), (0, 0)))
    mesh = SkinnedMesh(
        rest=rest[sources],
        normals=vertex_normals(rest, faces)[sources],
        uv=uv,
        colors=vertex_colors(gaussians, rest, faces)[sources],
        faces=by_part(head, faces, cut),
        weights=weights[sources],
        joints=head.joints()[0].numpy(),
        targets=dict(zip(ARKIT_NAMES, actions[:, sources], strict=True)),
    )
    return SubjectMesh(mesh, sources)


def split_at_seams(
    faces: Int[np.ndarray, "F 3"], corner_uv: Float[np.ndarray, "F 3 2"]
) -> tuple[Int[np.ndarray, " V"], Float[np.ndarray, "V 2"], Int[np.ndarray, "F 3"]]:
    """One vertex for each pair of a vertex and a texture coordinate.

    Returns:
        The old vertex and the texture coordinate of each new one, and the triangles over the new ones.
    """
    grid = np.round(corner_uv.reshape(-1, 2) * 2**16).astype(np.int64)
    keys = np.column_stack([faces.reshape(-1), grid])
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return faces.reshape(-1)[first], corner_uv.reshape(-1, 2)[first], place.reshape(faces.shape)


def by_part(head: Head, faces: Int[np.ndarray, "F 3"], cut: Int[np.ndarray, "F 3"]) -> dict[str, np.ndarray]:
    """The triangles of each part that has any; all of the head where the model names no parts."""
    first = faces[:, 0]
    ranges = head.parts or {"head": (0, len(head.v_template))}
    ranges = ranges | {TORSO: (len(head.v_template), int(faces.max()) + 1)}
    parts = {name: cut[(first >= start) & (first < stop)] for name, (start, stop) in ranges.items()}
    return {name: part for name, part in parts.items() if len(part)}


def vertex_normals(rest: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Normals of the vertices, the triangles around each weighted by their areas."""
    corners = rest[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(rest)
    for corner in faces.T:
        np.add.at(normals, corner, across)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0, normals / np.maximum(lengths, 1e-20), [0, 0, 1]).astype(np.float32)


def vertex_colors(
    gaussians: GaussianHead, rest: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """The mean colour of the Gaussians on the triangles around each vertex, by how much they show there."""
    with torch.no_grad():
        colors = gaussians.color_logits.sigmoid().numpy().astype(np.float64)
        areas = gaussians.log_scales.sort(-1).values[:, 1:].sum(-1).exp()
        shown = (gaussians.opacity_logits.sigmoid() * areas).numpy().astype(np.float64)
    weights = (shown / max(shown.mean(), 1e-20))[:, None] * gaussians.barycentric.numpy()
    corners = faces[gaussians.triangles.numpy()]
    total, mixed = np.zeros(len(rest)), np.zeros((len(rest), 3))
    np.add.at(total, corners, weights)
    np.add.at(mixed, corners, weights[..., None] * colors[:, None])
    seen = total > LEAST_WEIGHT
    if not seen.any():
        return np.full_like(rest, 0.5)
    result = mixed / np.maximum(total, 1e-20)[:, None]
    near = np.asarray(KDTree(rest[seen]).query(rest[~seen], k=min(NEIGHBOURS, int(seen.sum())))[1])
    result[~seen] = result[seen][near.reshape(int((~seen).sum()), -1)].mean(1)
    return result.astype(np.float32)
