"""Where a motion looks: the eyes turned to points in space, for a while or all the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.editing.curves import seconds_of
from avatar.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.editing.face import FaceMap
    from avatar.motion import Motion

# Recordings show eyes that look ahead; turned further than this to the side and up or down they look painted.
REACH = (0.3, 0.15)
# Eyes jump: a saccade of ten degrees takes about this long (Bahill, Clark and Stark 1975).
SACCADE_SECONDS = 0.05
Target = tuple[float, float, float] | Literal["camera", "own"]


@dataclass(frozen=True)
class GazeKey:
    """From one time on, look there.

    Attributes:
        time: Seconds from the motion's first moment.
        at: A point in the world in metres, ``camera``, or ``own`` for the motion's own gaze.
    """

    time: float
    at: Target


def look(
    motion: Motion,
    face: FaceMap,
    keys: Sequence[GazeKey],
    *,
    camera: Float[np.ndarray, "#T 3"] | None = None,
    straight: Float[np.ndarray, " 2"] | None = None,
) -> Motion:
    """The motion with eyes that look where the keys say; the head, the lids and all else stay as they are.

    Both eyes turn alike, no further than `REACH`. Before the first key the eyes do what the motion says.

    Args:
        motion: Any motion.
        face: The map of its head model.
        keys: Where to look from when on, in any order.
        camera: Where the camera is, metres; that of the recording, which is the origin, when None.
        straight: Pitch (downwards) and yaw (to the subject's left) in radians of this subject's eyes where they look
            straight ahead; zero when None.

    Raises:
        InputError: A key cannot be used.
    """
    if not len(motion) or not keys:
        return motion
    ordered = sorted(keys, key=lambda key: key.time)
    if not all(np.isfinite(key.time) for key in ordered) or len({key.time for key in ordered}) < len(ordered):
        raise InputError("The gaze cannot be used", expected="one target a time", found="a time twice, or none")
    seconds = seconds_of(motion)
    own = np.stack([motion.leye_pose[:, :2], motion.reye_pose[:, :2]]).astype(np.float64)
    middle, turned = eyes_place(motion, face)
    result, touched = own.copy(), np.zeros(len(motion), bool)
    for index, key in enumerate(ordered):
        # A jump begins with its key; the very first key of all has nothing to jump from.
        begun = np.full(len(seconds), float(seconds[0] >= key.time)) if index == 0 and key.time <= 0 else None
        share = ((seconds - key.time) / SACCADE_SECONDS).clip(0, 1) if begun is None else begun
        if key.at == "own":
            there = own
        else:
            point = (np.zeros((1, 3)) if camera is None else camera) if key.at == "camera" else np.array([key.at])
            there = np.broadcast_to(eye_turns(point - middle, turned, straight), own.shape)
        result = result + share[:, None] * (there - result)
        touched |= share > 0
    rows = {}
    for name, value in zip(("leye_pose", "reye_pose"), result, strict=True):
        changed = getattr(motion, name).copy()
        changed[touched, :2], changed[touched, 2] = value[touched], 0
        rows[name] = changed.astype(np.float32)
    return replace(motion, **rows)


def eyes_place(motion: Motion, face: FaceMap) -> tuple[Float[np.ndarray, "T 3"], Rotation]:
    """Where the middle between the eyes is, metres, and how the head is turned, at each moment."""
    joints = face.head.joints(torch.as_tensor(face.betas, dtype=torch.float32)[None])[0].detach().cpu().double().numpy()
    root, neck = (Rotation.from_rotvec(getattr(motion, name)) for name in ("global_orient", "neck_pose"))
    turned = root * neck
    middle = joints[0] + root.apply(joints[1] - joints[0]) + turned.apply(joints[3:].mean(0) - joints[1])
    return middle + motion.transl, turned


def eye_turns(
    away: Float[np.ndarray, "T 3"], turned: Rotation, straight: Float[np.ndarray, " 2"] | None = None
) -> Float[np.ndarray, "T 2"]:
    """Pitch and yaw of eyes in a turned head that look along directions in the world, within `REACH` of straight."""
    x, y, z = turned.inv().apply(away).T
    turns = np.stack([-np.arctan2(y, np.hypot(x, z)), np.arctan2(x, z)], axis=1)
    # What is behind the head has no side that is nearer; the eyes wait at the end of their reach.
    return turns.clip([-REACH[1], -REACH[0]], [REACH[1], REACH[0]]) + (0 if straight is None else straight)
