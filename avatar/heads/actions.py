"""ARKit's 52 actions as displacements of a head's vertices, which is what other programs drive a face with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.errors import InputError
from avatar.heads.arkit import ARKIT_NAMES, ArkitMotion, arkit_to_motion_parts, motion_parts_to_arkit

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads.head import Head
    from avatar.motion import Motion


def action_displacements(head: Head) -> Float[np.ndarray, "52 V 3"]:
    """Where each action alone moves the vertices from rest, metres, in the order of `ARKIT_NAMES`.

    Jaw, eyes and lids are posed as `arkit_to_motion_parts` does, so that jawOpen and eyeLook are the ends of arcs.

    Raises:
        InputError: The head model says nothing of ARKit's actions.
    """
    _check(head)
    parts = arkit_to_motion_parts(np.eye(len(ARKIT_NAMES), dtype=np.float32), head)
    pose = np.zeros((len(ARKIT_NAMES), 5, 3), np.float32)
    pose[:, 2], pose[:, 3], pose[:, 4] = parts.jaw_pose, parts.leye_pose, parts.reye_pose
    given = {"expression": parts.expression, "pose": pose, "eyelids": parts.eyelids}
    with torch.no_grad():
        moved = head(**{name: torch.as_tensor(value) for name, value in given.items()})
        return (moved - head.v_template).numpy()


def action_weights(motion: Motion, head: Head) -> Float[np.ndarray, "T 52"]:
    """A motion's ARKit weights in the order of `ARKIT_NAMES`; what ARKit cannot say is left out.

    Raises:
        InputError: The head model says nothing of ARKit's actions, or the motion is not of this head model.
    """
    _check(head)
    parts = ArkitMotion(motion.expression, motion.jaw_pose, motion.leye_pose, motion.reye_pose, motion.eyelids)
    return motion_parts_to_arkit(parts, head)


def _check(head: Head) -> None:
    if not head.arkit_names:
        raise InputError(
            f"The head {head.id} cannot be driven by ARKit's actions",
            expected="a head model with ARKit actions in its expression basis",
            found="none",
            fix="import the head model again with: avatar heads import",
        )
