"""From where a browser looks at the head, in words, and whether the avatar holds up there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.render.shots import head_centers
from avatar.view_cone import said_angles, view_angles

if TYPE_CHECKING:
    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.render.viewer.pictures import Window
    from avatar.view_cone import ViewCone

# Angles are said in steps of so many degrees: a talking head never stands still.
STEP = 5


def said_direction(gaussians: GaussianHead, pose: Pose, window: Window, cone: ViewCone | None) -> str:
    """A line for the panel, in Markdown."""
    joints = pose.joints.cpu().numpy()
    angles = view_angles(np.array([window.position]), head_centers(gaussians, [pose]), joints[:, 0], joints[:, 1])[0]
    place = said_angles(*angles, step=STEP)
    said = f"Seen from {place}" if place else "Seen from the front"
    if cone is None:
        return said
    if cone.beyond(angles) > 0:
        return f"⚠️ {said}: **past what the recording shows well** ({cone})"
    return f"✔ {said}: the recording shows this side well"
