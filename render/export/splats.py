"""Exports of the posed Gaussians of one moment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from avatar import __version__
from avatar.io.compressed_ply import write_compressed_ply
from avatar.io.gltf_splats import write_gltf_splats
from avatar.io.ply import write_ply
from avatar.io.splat import write_splat
from avatar.io.spz import write_spz
from avatar.render.motions import posed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from avatar.gaussians import Gaussians
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

GENERATOR = f"headsplat {__version__}"


def _export_still(
    write: Callable[[Path, Gaussians], None],
    stored: StoredAvatar,
    target: Path,
    *,
    moment: Motion,
    motion: Motion | None,
) -> dict[str, Any]:
    gaussians = posed(stored, moment)
    write(target, gaussians)
    return {"gaussians": len(gaussians.means)}


export_ply = partial(_export_still, write_ply)
export_compressed_ply = partial(_export_still, write_compressed_ply)
export_splat = partial(_export_still, write_splat)
export_spz = partial(_export_still, partial(write_spz, version=3))
export_spz4 = partial(_export_still, partial(write_spz, version=4))
export_gltf = partial(_export_still, partial(write_gltf_splats, generator=GENERATOR))
