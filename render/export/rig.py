"""Exports of the whole avatar to be played elsewhere, and of its head model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avatar import __version__
from avatar.io.flame_npz import write_flame_npz
from avatar.io.rig_package import write_rig_package
from avatar.render.export.surface import subject_head

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion


def export_rig(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The rigged package, with the motion where one was asked for."""
    gaussians = stored.gaussians
    write_rig_package(
        target,
        gaussians,
        subject_head(gaussians),
        motion=motion,
        consent=stored.info.consent,
        generator=f"headsplat {__version__}",
    )
    return {"gaussians": len(gaussians), "frames": len(motion or ())}


def export_flame(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The subject's head in FLAME's layout."""
    subject = subject_head(stored.gaussians)
    write_flame_npz(target, subject)
    return {"vertices": len(subject.v_template), "expressions": subject.exprdirs.shape[-1]}
