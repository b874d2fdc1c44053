"""Exports of the posed Gaussians of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avatar.io.ply import write_ply
from avatar.render.export.moments import posed

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion


def write_ply_moment(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The PLY of 3D Gaussian splatting."""
    gaussians = posed(stored, moment)
    write_ply(target, gaussians)
    return {"gaussians": len(gaussians.means)}
