"""Which moment of which motion an export shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.errors import InputError
from avatar.motion import Motion

if TYPE_CHECKING:
    from avatar.fields.gaussian_head import GaussianHead
    from avatar.gaussians import Gaussians
    from avatar.io.avatar import StoredAvatar

# Times are typed with few digits; half a millisecond past the last frame is still the last frame.
SLACK = 5e-4
OWN_MOTION = Path("take", "motion.npz")


def neutral_motion(gaussians: GaussianHead) -> Motion:
    """One moment of the subject at rest at the origin: all coefficients and rotations zero."""
    head = gaussians.head
    still = np.zeros((1, 3), np.float32)
    return Motion(
        time=np.zeros(1),
        betas=gaussians.betas.cpu().numpy(),
        expression=np.zeros((1, head.exprdirs.shape[-1]), np.float32),
        global_orient=still,
        neck_pose=still,
        jaw_pose=still,
        leye_pose=still,
        reye_pose=still,
        eyelids=np.zeros((1, 2), np.float32),
        transl=still,
        head_id=head.id,
        head_hash=head.hash,
    )


def file_motion(path: Path) -> Motion:
    """A motion file that has a moment; raises InputError or FormatError for anything else."""
    try:
        motion = Motion.load(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"There is no motion file {path}", expected="an npz of a motion", found="nothing", fix="check the path"
        ) from error
    if not len(motion):
        raise InputError(
            f"{path} is empty", expected="at least one moment", found="none", fix="choose another --motion"
        )
    return motion


def own_motion(avatar: Path) -> Motion:
    """The motion of the recording that an avatar was made from; raises InputError where it does not lie beside it."""
    path = avatar / OWN_MOTION
    if not path.is_file():
        raise InputError(
            "A time was given without a motion",
            expected=f"--motion FILE, or an avatar folder that still has its {OWN_MOTION.as_posix()}",
            found=f"only {avatar}",
            fix="add --motion, or leave --time out for the neutral pose",
        )
    return file_motion(path)


def single_moment(motion: Motion, time: float) -> Motion:
    """One moment of a motion; raises InputError for a time outside it.

    Args:
        motion: At least one moment.
        time: Seconds in the motion's own time.
    """
    first, last = float(motion.time[0]), float(motion.time[-1])
    if not first - SLACK <= time <= last + SLACK:
        raise InputError(
            "The motion does not reach that --time",
            expected=f"{first:.3f} to {last:.3f} s",
            found=f"{time} s",
            fix="choose a time within the motion",
        )
    return motion.resample(np.array([time]))


def posed(stored: StoredAvatar, moment: Motion) -> Gaussians:
    """The avatar's Gaussians in world space at the only moment of a motion."""
    gaussians = stored.gaussians
    with torch.no_grad():
        return gaussians(gaussians.poses(moment)[0])
