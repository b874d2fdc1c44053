"""The head of one person: a model with the identity of a motion baked in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from avatar.heads.head import Head
    from avatar.motion import Motion


def subject_head(head: Head, motion: Motion) -> Head:
    """The head with a motion's identity: its coefficients and, where it has them, its vertex offsets.

    Args:
        head: The head model of the motion.
        motion: Whose `betas` and `vertex_offsets` to bake in.

    Raises:
        InputError: The offsets are not of this head model.
    """
    device = head.device
    offsets = motion.vertex_offsets
    return head.with_identity(
        torch.as_tensor(motion.betas, dtype=torch.float32, device=device),
        None if offsets is None else torch.as_tensor(offsets, dtype=torch.float32, device=device),
    )
