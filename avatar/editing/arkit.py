"""Motions to and from tracks of ARKit's coefficients, which every head model understands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.editing.keys import head_angles, head_rotation
from avatar.heads.actions import action_weights
from avatar.heads.arkit import arkit_to_motion_parts
from avatar.io.arkit_track import ArkitTrack

if TYPE_CHECKING:
    from avatar.heads import Head
    from avatar.motion import Motion


def motion_of(track: ArkitTrack, head: Head, rest: Motion) -> Motion:
    """A track on a head: its face is the track's, its neck turns about where the subject rests.

    Args:
        track: At least one moment.
        head: The head model.
        rest: A motion of the subject on that head model, whose mean pose is where the head rests.
    """
    count = len(track.time)
    parts = arkit_to_motion_parts(track.weights.astype(np.float32), head)
    neck = _mean(rest.neck_pose) * head_rotation(track.turns)
    still = {
        "global_orient": _mean(rest.global_orient).as_rotvec(),
        "transl": rest.transl.mean(0),
        "torso": rest.torso.mean(0),
    }
    return replace(
        rest,
        time=np.asarray(track.time, np.float64),
        expression=parts.expression,
        jaw_pose=parts.jaw_pose,
        leye_pose=parts.leye_pose,
        reye_pose=parts.reye_pose,
        eyelids=parts.eyelids,
        neck_pose=neck.as_rotvec().astype(np.float32),
        **{name: np.repeat(value[None], count, axis=0).astype(np.float32) for name, value in still.items()},
    )


def track_of(motion: Motion, head: Head) -> ArkitTrack:
    """What ARKit can say of a motion: the face, and the head's turns about their mean; its place is left out.

    Raises:
        InputError: The head model says nothing of ARKit's actions, or the motion is not of this head model.
    """
    turns = Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)
    weights = action_weights(motion, head).astype(np.float64)
    return ArkitTrack(np.asarray(motion.time, np.float64), weights, head_angles(turns.mean().inv() * turns))


def _mean(rotations: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(rotations).mean()
