"""Exports of the subject's mesh: GLB with skin and morph targets, OBJ, and USD, which holds the splats as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar import __version__
from avatar.heads.actions import action_weights
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.mesh_glb import Animation, write_mesh_glb
from avatar.io.obj import write_obj
from avatar.io.usd import require_usd, write_usd
from avatar.render.export.surface import subject_mesh, vertex_normals
from avatar.render.motions import posed

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.io.mesh_glb import SkinnedMesh
    from avatar.motion import Motion

GENERATOR = f"headsplat {__version__}"
# The joints do these.
JOINT_ACTIONS = tuple(name for name in ARKIT_NAMES if name == "jawOpen" or name.startswith("eyeLook"))


def export_mesh(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The GLB, posed as at the moment or playing the motion."""
    mesh = subject_mesh(stored.gaussians).mesh
    played = animation(moment if motion is None else motion, stored.gaussians.head)
    head = stored.gaussians.head
    copyright = f"head model {head.id}: {head.licence}"
    write_mesh_glb(target, mesh, played, generator=GENERATOR, copyright=copyright)
    return {**_counted(mesh), "morph_targets": len(ARKIT_NAMES), "frames": len(motion or ())}


def export_usd(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The OpenUSD stage: the splats of the moment, and the mesh that plays the motion."""
    require_usd()
    mesh, gaussians = subject_mesh(stored.gaussians).mesh, posed(stored, moment)
    played = animation(moment if motion is None else motion, stored.gaussians.head)
    write_usd(target, gaussians, mesh, played, comment=GENERATOR)
    return {"gaussians": len(gaussians.means), **_counted(mesh), "frames": len(motion or ())}


def export_obj(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The OBJ of the posed mesh."""
    gaussians = stored.gaussians
    subject = subject_mesh(gaussians)
    mesh = subject.mesh
    with torch.no_grad():
        vertices = gaussians.vertices(gaussians.poses(moment)[0]).numpy()[subject.sources]
    write_obj(
        target,
        vertices,
        mesh.faces,
        uv=mesh.uv,
        normals=vertex_normals(vertices, np.concatenate(list(mesh.faces.values()))),
        colors=mesh.colors,
        comment=f"{GENERATOR}; metres, +y up, +z out of the face",
    )
    return _counted(mesh)


def animation(motion: Motion, head: Head) -> Animation:
    """A motion as joints and morph weights; jaw and eyes are turned by their joints, the rest is in the weights."""
    weights = action_weights(motion, head)
    weights[:, [ARKIT_NAMES.index(name) for name in JOINT_ACTIONS]] = 0
    return Animation(motion.time, motion.pose, motion.transl, weights)


def _counted(mesh: SkinnedMesh) -> dict[str, int]:
    return {"vertices": len(mesh.rest), "triangles": sum(len(part) for part in mesh.faces.values())}
