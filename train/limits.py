"""The range within which the take shows the head: what lies beyond was never filmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from avatar.io.take import Take


def seen_limits(take: Take) -> dict[str, tuple[float, float]]:
    """Yaw, pitch and roll of the head against the camera over the training frames, degrees, 1st to 99th percentile.

    Turns about the axes: yaw is positive to the subject's left and pitch downwards, other than a view cone's, which is
    positive above.
    """
    motion = take.motion()[take.split()["train"]]
    rotation = Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)
    angles = rotation.as_euler("YXZ", degrees=True)
    low, high = np.percentile(angles, [1, 99], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(("yaw", "pitch", "roll"), low, high, strict=True)}
