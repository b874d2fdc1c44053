"""The export for LAM's web renderer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.io.lam_zip import write_lam_zip
from avatar.render.motions import neutral_motion, posed

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion


def export_lam(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The zip: neutral splats, and where each ARKit action moves their centres."""
    head, still = stored.gaussians.head, neutral_motion(stored.gaussians)
    neutral = posed(stored, still)
    parts = arkit_to_motion_parts(np.eye(len(ARKIT_NAMES), dtype=np.float32), head)
    moved = {}
    for index, name in enumerate(ARKIT_NAMES):
        alone = {key: value[index : index + 1] for key, value in vars(parts).items()}
        moved[name] = (posed(stored, replace(still, **alone)).means - neutral.means).numpy()
    write_lam_zip(target, neutral, moved, neck=head.joints()[0, 1].numpy())
    return {"gaussians": len(neutral.means), "morph_targets": len(moved)}
