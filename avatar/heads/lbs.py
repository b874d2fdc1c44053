"""Linear blend skinning of a five-joint head (root, neck, jaw, left eye, right eye); stateless and differentiable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from avatar.heads.layout import PARENTS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def rotation_matrices(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula; smooth, with exact first and second derivatives at the zero rotation.

    Args:
        axis_angle: (..., 3) axis times angle, radians.

    Returns:
        (..., 3, 3) rotation matrices.
    """
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = squared < 1e-8
    # The square root's gradient is infinite at zero, so the branch that `where` discards must stay away from zero too.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)[..., None]
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)[..., None]
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + cosine * (cross @ cross)


def blend(directions: Float[Tensor, "V 3 K"], coefficients: Float[Tensor, "B k"]) -> Float[Tensor, "B V 3"]:
    """Sum of the first k directions times their coefficients, as one matrix product.

    Args:
        directions: (V, 3, K) displacements in metres per unit.
        coefficients: (B, k) with k <= K.

    Returns:
        (B, V, 3) displacements in metres.
    """
    used = directions[..., : coefficients.shape[-1]].flatten(0, 1)
    return (coefficients @ used.T).unflatten(-1, (-1, 3))


def joint_transforms(
    rotations: Float[Tensor, "B 5 3 3"], joints: Float[Tensor, "B 5 3"]
) -> tuple[Float[Tensor, "B 5 3 3"], Float[Tensor, "B 5 3"]]:
    """What each joint does to a point of the rest pose: x -> R x + t, along the kinematic tree.

    Args:
        rotations: (B, 5, 3, 3) local rotations.
        joints: (B, 5, 3) rest positions, metres.

    Returns:
        World rotations (B, 5, 3, 3) and translations (B, 5, 3).
    """
    world: list[Tensor] = []
    shift: list[Tensor] = []
    for index, parent in enumerate(PARENTS):
        local, joint = rotations[:, index], joints[:, index]
        turn = local if parent < 0 else world[parent] @ local
        posed = joint if parent < 0 else (world[parent] @ joint[..., None])[..., 0] + shift[parent]
        world.append(turn)
        shift.append(posed - (turn @ joint[..., None])[..., 0])
    return torch.stack(world, dim=1), torch.stack(shift, dim=1)


def skin(
    vertices: Float[Tensor, "B V 3"],
    weights: Float[Tensor, "V 5"],
    rotations: Float[Tensor, "B 5 3 3"],
    translations: Float[Tensor, "B 5 3"],
) -> Float[Tensor, "B V 3"]:
    """Moves each vertex by the weighted mean of the joints' transforms (`joint_transforms`)."""
    affine = torch.cat([rotations, translations[..., None]], dim=-1).flatten(-2)
    blended = (weights @ affine).unflatten(-1, (3, 4))
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3]


def lbs(
    v_shaped: Float[Tensor, "B V 3"],
    joints: Float[Tensor, "B 5 3"],
    *,
    pose: Float[Tensor, "B 5 3"],
    posedirs: Float[Tensor, "V 3 36"],
    weights: Float[Tensor, "V 5"],
    offsets: Float[Tensor, "B V 3"] | None = None,
) -> Float[Tensor, "B V 3"]:
    """Poses a head, after Loper et al., "SMPL", 2015, with the joints of Li et al., "FLAME", 2017.

    Any batch of one is shared by the others: one identity by many poses, or one pose by many identities.

    Args:
        v_shaped: (B, V, 3) the identity at rest, metres.
        joints: (B, 5, 3) its joints, metres.
        pose: (B, 5, 3) axis-angle of root, neck, jaw, left eye and right eye, radians.
        posedirs: (V, 3, 36) correctives, linear in R - I of the last four joints, row-major.
        weights: (V, 5) skinning weights.
        offsets: (B, V, 3) displacements of expressions and lids, metres.

    Returns:
        (B, V, 3) posed vertices, metres.
    """
    rotations = rotation_matrices(pose)
    eye = torch.eye(3, dtype=pose.dtype, device=pose.device)
    corrected = v_shaped + blend(posedirs, (rotations[:, 1:] - eye).flatten(1))
    if offsets is not None:
        corrected = corrected + offsets
    batch = max(len(rotations), len(joints))
    world, shift = joint_transforms(rotations.expand(batch, -1, -1, -1), joints.expand(batch, -1, -1))
    return skin(corrected, weights, world, shift)
