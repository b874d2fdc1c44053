"""Tracks of the web player: a motion as ARKit coefficients and a pose, a row for each frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.arkit import ARKIT_NAMES, write_eye
from avatar.heads.lbs import joint_transforms, rotation_matrices

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

# After the coefficients: what they do not say, as joints' axis-angles (radians) and shifts (metres). Jaw and eyes are
# turned by this on top of what the coefficients ask for.
POSE_COLUMNS = ("root", "neck", "jaw", "left_eye", "right_eye", "translation", "torso")
COLUMNS = len(ARKIT_NAMES) + 3 * len(POSE_COLUMNS)


def is_spanned(head: Head) -> bool:
    """Whether ARKit's actions say all that the head's expression basis can."""
    return head.arkit_to_psi.numel() > 0 and head.arkit_to_psi.shape[0] == head.arkit_to_psi.shape[1]


def track_rows(motion: Motion, head: Head) -> Float[np.ndarray, "T C"]:
    """A motion as rows of 52 coefficients and 21 numbers of pose, with the expression after them where they lose it.

    Unlike `motion_parts_to_arkit` this loses nothing: coefficients may be negative or above one.
    """
    rows = np.zeros((len(motion), COLUMNS), np.float64)
    place = {name: index for index, name in enumerate(ARKIT_NAMES)}
    if is_spanned(head):
        weights = motion.expression @ head.psi_to_arkit.detach().cpu().numpy().T
        rows[:, [place[name] for name in head.arkit_names]] = weights
    rows[:, [place["eyeBlinkLeft"], place["eyeBlinkRight"]]] = motion.eyelids
    pose = np.stack([*motion.pose.swapaxes(0, 1), motion.transl, motion.torso], axis=1).astype(np.float64)
    rows[:, place["jawOpen"]] = pose[:, 2, 0] / head.jaw_open_angle
    pose[:, 2, 0] = 0
    for joint, side in ((3, "Left"), (4, "Right")):
        write_eye(rows, side, pose[:, joint], head)
        pose[:, joint, :2] = 0
    rows[:, len(ARKIT_NAMES) :] = pose.reshape(len(motion), -1)
    return rows if is_spanned(head) else np.concatenate([rows, motion.expression], axis=1)


def between_the_eyes(stored: StoredAvatar, moment: Motion) -> Float[np.ndarray, " 3"]:
    """The point between the eyes' centres at the first moment, metres."""
    gaussians = stored.gaussians
    pose = gaussians.poses(moment[:1])[0]
    joints = gaussians.head.joints(gaussians.betas[None])
    turns, shifts = joint_transforms(rotation_matrices(pose.joints), joints)
    eyes = (turns[0, 3:] @ joints[0, 3:, :, None])[..., 0] + shifts[0, 3:] + pose.transl
    return eyes.mean(0).numpy()
