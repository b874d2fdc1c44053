"""Triangle frames: how Gaussians ride on a deforming mesh.

Every triangle carries an orthonormal frame and a size (Qian et al., "GaussianAvatars", CVPR 2024, section 3.1). A
Gaussian is stored in the frame of one triangle and follows it rigidly, up to the triangle's change of size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class TriangleFrames(NamedTuple):
    """Frames of F triangles.

    Attributes:
        rotations: (F, 3, 3), columns: first edge, normal, their cross product; determinant +1.
        sizes: (F,) metres, the mean of the first edge's length and the height over it.
    """

    rotations: Float[Tensor, "F 3 3"]
    sizes: Float[Tensor, " F"]


def triangle_frames(corners: Float[Tensor, "F 3 3"]) -> TriangleFrames:
    """Frames of triangles given by their `corners` (F, corner, xyz) in metres; differentiable."""
    edge, side = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
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


def surface_points(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "N 3"], barycentric: Float[Tensor, "N 3"]
) -> Float[Tensor, "N 3"]:
    """Points on a mesh, one per row of `faces` (the corner indices of the point's triangle)."""
    return (vertices[faces] * barycentric[..., None]).sum(-2)
