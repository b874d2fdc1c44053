"""A motion for one head model on another, by way of the 52 ARKit coefficients."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.heads.actions import action_weights
from avatar.heads.arkit import arkit_to_motion_parts
from avatar.heads.head import load_head
from avatar.heads.library import NAME

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.heads.head import Head
    from avatar.motion import Motion


def retarget(motion: Motion, source: Head, target: Head, *, betas: Float[Tensor, " S"]) -> Motion:
    """The motion on another head model: what ARKit can say of the face, the neck as it is, the eyes where they were.

    Jaw, gaze and lids follow ARKit's actions too, so that a wide open mouth stays one. Turns of the jaw to the side and
    expressions that ARKit has no action for are lost.

    Args:
        motion: A motion of `source`.
        source: The head model it was made for.
        target: The head model it is wanted for.
        betas: (S,) identity of the subject on `target`.

    Raises:
        InputError: One of the two has no ARKit actions.
    """
    for head in (source, target):
        if not head.arkit_names:
            raise InputError(
                f"The motion cannot be brought from {source.id} to {target.id}",
                expected="two head models with ARKit actions",
                found=f"{head.id} without",
                fix="use a motion that was tracked or made with this avatar's head",
            )
    parts = arkit_to_motion_parts(action_weights(motion, source), target)
    return replace(
        motion,
        betas=betas.cpu().numpy(),
        expression=parts.expression,
        jaw_pose=parts.jaw_pose,
        leye_pose=parts.leye_pose,
        reye_pose=parts.reye_pose,
        eyelids=parts.eyelids,
        transl=_transl_of(motion, source, target, betas),
        head_id=target.id,
        head_hash=target.hash,
        vertex_offsets=None,
    )


def motion_on(motion: Motion, head: Head, *, betas: Float[Tensor, " S"]) -> tuple[Motion, str | None]:
    """The motion for a head model, and a note where it had to be converted.

    Raises:
        InputError: It belongs to a head model that is not there, in another version, or without ARKit actions.
    """
    if motion.head_hash == head.hash:
        return motion, None
    source = head_of(motion)
    if source is None:
        raise InputError(
            "The motion belongs to another head model",
            expected=f"{head.id} ({head.hash[:12]}), or a head model that is installed",
            found=f"{motion.head_id} ({motion.head_hash[:12]})",
            fix="import that head model with `avatar heads import`, or use a motion made with this avatar's head",
        )
    converted = retarget(motion, source, head, betas=betas)
    note = f"The motion was made for {source.id}; it was converted to {head.id} through ARKit's coefficients."
    return converted, note


def with_identity(motion: Motion, head: Head, *, betas: Float[Tensor, " S"]) -> Motion:
    """The motion of another person with the same head model, whose eyes are where the first one's were."""
    transl = _transl_of(motion, head, head, betas)
    return replace(motion, betas=betas.cpu().numpy(), transl=transl, vertex_offsets=None)


def on_footage(motion: Motion, head: Head, *, betas: Float[Tensor, " S"]) -> Motion:
    """`with_identity`, as near to the camera at the origin as it takes for the face to be as large in the picture.

    Where the same person was tracked twice, identity and distance come out a little different together.
    """
    moved = with_identity(motion, head, betas=betas)
    faces = [
        head.landmark_positions(head(betas=b[None].to(head.v_template)))[0]
        for b in (torch.as_tensor(motion.betas), betas)
    ]
    before, after = (float((points - points.mean(0)).norm(dim=1).mean()) for points in faces)
    eyes, root = _eyes(head, betas)
    placed = moved.transl + Rotation.from_rotvec(motion.global_orient).as_matrix() @ (eyes - root) + root
    return replace(moved, transl=(moved.transl + (after / before - 1) * placed).astype(np.float32))


def head_of(motion: Motion) -> Head | None:
    """The head model that a motion was made for; None where it is not installed in that version."""
    try:
        # What a file calls its head model may be a name, and never a path.
        head = load_head(motion.head_id) if NAME.fullmatch(motion.head_id) else None
    except InputError:
        return None
    return head if head is not None and head.hash == motion.head_hash else None


def _transl_of(motion: Motion, source: Head, target: Head, betas: Float[Tensor, " S"]) -> Float[np.ndarray, "T 3"]:
    """Where the root goes so that another subject's eyes are where the motion has them."""
    turns = Rotation.from_rotvec(motion.global_orient).as_matrix()
    # Turned about its own root, each head carries its eyes elsewhere.
    before, after = (
        turns @ (between - root) + root
        for between, root in (_eyes(source, torch.as_tensor(motion.betas)), _eyes(target, betas))
    )
    return (motion.transl + before - after).astype(np.float32)


def _eyes(head: Head, betas: Float[Tensor, " S"]) -> tuple[np.ndarray, np.ndarray]:
    """Where a subject's eyes are at rest, in the middle between both, and the root joint; metres."""
    joints = head.joints(betas[None].to(head.v_template))[0].detach().cpu().double().numpy()
    return joints[3:].mean(0), joints[0]
