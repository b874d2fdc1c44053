"""A motion carried from one head model to another, through ARKit's 52 actions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.actions import action_weights
from avatar.heads.arkit import arkit_to_motion_parts

if TYPE_CHECKING:
    from avatar.heads.head import Head
    from avatar.motion import Motion


def retarget(motion: Motion, source: Head, target: Head) -> Motion:
    """The motion on another head model: the face through ARKit, the head's place and the shoulders as they are.

    The identity stays behind. Turns of the jaw beyond opening, and expressions ARKit has no word for, are lost.

    Args:
        motion: A motion of `source`.
        source: Its head model.
        target: The head model wanted.

    Raises:
        InputError: One of the models says nothing of ARKit's actions.
    """
    parts = arkit_to_motion_parts(action_weights(motion, source), target)
    return replace(
        motion,
        betas=np.zeros(0, np.float32),
        expression=parts.expression,
        jaw_pose=parts.jaw_pose,
        leye_pose=parts.leye_pose,
        reye_pose=parts.reye_pose,
        eyelids=parts.eyelids,
        head_id=target.id,
        head_hash=target.hash,
        vertex_offsets=None,
    )
