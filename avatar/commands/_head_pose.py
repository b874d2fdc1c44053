"""What `--pose` says: how the head moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from avatar.commands._console import say
from avatar.commands._edits import ENDINGS, driving_motion, file_track
from avatar.editing import FaceMap, neutral_of, transfer
from avatar.errors import InputError
from avatar.render import motions
from avatar.speech.life import Pose
from avatar.speech.life_model import HEAD_JOINTS, LifeModel

if TYPE_CHECKING:
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

# Metres over which the shoulders gently reach their bound.
SOFTNESS = 0.001
ROWS = (*HEAD_JOINTS, "transl", "torso")


def chosen_pose(stored: StoredAvatar, pose: str) -> Pose | Motion:
    """`natural`, `still`, or the head motion in a file, as this avatar's own.

    A motion of somebody else moves the head from where the avatar's rests, as `--video` does.

    Raises:
        InputError: It is none of these, or there is no such file.
        FormatError: The file is no motion.
    """
    if pose in get_args(Pose):
        return pose  # type: ignore[return-value]
    path = Path(pose)
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            "The option --pose cannot be used",
            expected=f"natural, still, or a motion file that ends in one of {', '.join(ENDINGS)}",
            found=pose,
            fix="leave it out for the person's own head motion",
        )
    motion, note = driving_motion(path, stored)
    if note:
        say(note)
    if file_track(path) is None and not _same_person(stored, motions.file_motion(path)):
        face, rest = FaceMap(stored.head, motion.betas), motions.ease_motion(stored)
        motion = with_filmed_shoulders(stored, transfer(motion, neutral_of(motion, face), rest))
    return motion


def with_filmed_shoulders(stored: StoredAvatar, motion: Motion) -> Motion:
    """Somebody else's movement with shoulders that rise no higher than in the avatar's recording.

    Above that the picture would show what no frame has of the clothes; the head comes down with them, since neck and
    collar stay together.
    """
    highest = LifeModel.from_tensors(stored.life).highest
    height = (motion.transl[:, 1] + motion.torso[:, 1]).astype(np.float64)
    held = highest - SOFTNESS * np.logaddexp(0, (highest - height) / SOFTNESS)
    transl = motion.transl.copy()
    transl[:, 1] += (held - height).astype(np.float32)
    return replace(motion, transl=transl)


def posed_as(stored: StoredAvatar, motion: Motion, pose: Pose | Motion) -> Motion:
    """A motion whose head moves as `pose` says; its own movement for `natural`."""
    if pose == "natural":
        return motion
    rest = motions.ease_motion(stored) if pose == "still" else pose
    assert not isinstance(rest, str)
    shown = rest.back_and_forth(motion.time - motion.time[0])
    return replace(motion, **{name: getattr(shown, name) for name in ROWS})


def _same_person(stored: StoredAvatar, motion: Motion) -> bool:
    own = stored.gaussians.betas.cpu().numpy()
    if motion.head_hash != stored.head.hash or motion.betas.shape != own.shape:
        return False
    return np.allclose(motion.betas, own, atol=1e-4)
