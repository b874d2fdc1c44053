"""Triangle frames: how Gaussians ride on a deforming mesh.

Every triangle carries an orthonormal frame and a size (Qian et al., "GaussianAvatars", CVPR 2024, section 3.1). A
Gaussian is stored in the frame of one triangle and follows it rigidly, up to the triangle's change of size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from avatar.gaussians import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


# A triangle that opens like an accordion (lip corners, lids) must not blow its Gaussians up with it.
STRETCH_RANGE = (0.3, 3.0)


@dataclass(frozen=True)
class RiggedGaussians:
    """N Gaussians in the frames of their triangles.

    Attributes:
        corners: (N, 3) int32 vertices of each Gaussian's triangle.
        barycentric: (N, 3) its anchor within the triangle.
        rest_sizes: (N,) the triangle's size at rest, metres.
        offsets: (N, 3) centre from the anchor in the triangle's frame, metres at rest.
        log_scales: (N, 3) log of the standard deviations along the own axes, metres at rest.
        quats: (N, 4) rotation in the triangle's frame, wxyz, of any length.
        opacity_logits: (N,) logit of the opacity.
        color_logits: (N, 3) logits of the sRGB colour.
        units: (N, 10) what one unit of a residual adds to position (3), log-scales (3), opacity logit and colour
            logits (3).
    """

    corners: Int[Tensor, "N 3"]
    barycentric: Float[Tensor, "N 3"]
    rest_sizes: Float[Tensor, " N"]
    offsets: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    opacity_logits: Float[Tensor, " N"]
    color_logits: Float[Tensor, "N 3"]
    units: Float[Tensor, "N 10"]


class TriangleFrames(NamedTuple):
    """Frames of F triangles.

    Attributes:
        rotations: (..., F, 3, 3), columns: first edge, normal, their cross product; determinant +1.
        sizes: (..., F) metres, the mean of the first edge's length and the height over it.
    """

    rotations: Float[Tensor, "*batch F 3 3"]
    sizes: Float[Tensor, "*batch F"]


def triangle_frames(corners: Float[Tensor, "*batch F 3 3"]) -> TriangleFrames:
    """Frames of triangles given by their `corners` (..., F, corner, xyz) in metres; differentiable."""
    first, second, third = corners.unbind(-2)
    edge, side = second - first, third - first
    along = F.normalize(edge, dim=-1, eps=1e-12)
    normal = F.normalize(torch.linalg.cross(along, side), dim=-1, eps=1e-12)
    across = torch.linalg.cross(along, normal)
    height = (across * side).sum(-1).abs()
    return TriangleFrames(torch.stack([along, normal, across], dim=-1), (edge.norm(dim=-1) + height) / 2)


def rotmat_to_quat(rotations: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """Unit quaternions wxyz of rotation matrices (Shepperd, J. Guidance and Control 1978); differentiable."""
    m = rotations.flatten(-2)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m.unbind(-1)
    # Four times the outer product of the quaternion with itself: each row is a scaled copy of it.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m12 + m21], -1),
            torch.stack([m10 - m01, m20 + m02, m21 + m12, 1 - m00 - m11 + m22], -1),
        ],
        dim=-2,
    )
    largest = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    return F.normalize(row, dim=-1)


def quat_multiply(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Hamilton product of quaternions wxyz: the rotation `b` followed by `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quat_rotate(quats: Float[Tensor, "*n 4"], vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Vectors turned by unit quaternions wxyz."""
    w, axis = quats[..., :1], quats[..., 1:]
    twice = 2 * torch.linalg.cross(axis, vectors)
    return vectors + w * twice + torch.linalg.cross(axis, twice)


def place_gaussians(
    rigged: RiggedGaussians, vertices: Float[Tensor, "*batch V 3"], residual: Float[Tensor, "*batch N 10"] | None = None
) -> Gaussians:
    """Gaussians in world space, differentiable: the readable form of what `avatar.render.rasterize_rigged` fuses.

    Args:
        rigged: The Gaussians in their triangles' frames.
        vertices: (..., V, 3) the posed mesh, metres.
        residual: (..., N, 10) added to the local parameters, in units of ``rigged.units``.
    """
    corners = vertices[..., rigged.corners, :]
    frames = triangle_frames(corners)
    stretch = (frames.sizes / rigged.rest_sizes).clamp(*STRETCH_RANGE)[..., None]
    offsets, log_scales = rigged.offsets, rigged.log_scales
    opacity_logits, color_logits = rigged.opacity_logits, rigged.color_logits
    if residual is not None:
        added = residual * rigged.units
        offsets, log_scales = offsets + added[..., :3], log_scales + added[..., 3:6]
        opacity_logits, color_logits = opacity_logits + added[..., 6], color_logits + added[..., 7:]
    anchors = (corners * rigged.barycentric[..., None]).sum(-2)
    return Gaussians(
        means=anchors + stretch * (frames.rotations * offsets[..., None, :]).sum(-1),
        quats=quat_multiply(rotmat_to_quat(frames.rotations), rigged.quats),
        scales=stretch * log_scales.exp(),
        opacities=opacity_logits.sigmoid(),
        colors=color_logits.sigmoid(),
    )
