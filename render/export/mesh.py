"""Exports of the subject's mesh: GLB with skin and morph targets, and OBJ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar import __version__
from avatar.heads.actions import action_weights
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.mesh_glb import Animation, SkinnedMesh, write_mesh_glb
from avatar.io.obj import write_obj
from avatar.render.export.surface import subject_mesh, vertex_normals

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

# The joints do these.
JOINT_ACTIONS = tuple(name for name in ARKIT_NAMES if name == "jawOpen" or name.startswith("eyeLook"))


def export_mesh(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The GLB, posed as at the moment or playing the motion."""
    mesh = subject_mesh(stored.gaussians)
    played = moment if motion is None else motion
    skinned = SkinnedMesh(
        rest=mesh.rest,
        normals=mesh.normals,
        uv=mesh.uv,
        colors=mesh.colors,
        faces=mesh.faces,
        weights=mesh.weights,
        joints=mesh.joints,
        targets=dict(zip(ARKIT_NAMES, mesh.actions, strict=True)),
    )
    write_mesh_glb(target, skinned, animation(played, stored.gaussians.head), generator=f"headsplat {__version__}")
    return {**_counted(mesh.rest, mesh.faces), "morph_targets": len(ARKIT_NAMES), "frames": len(motion or ())}


def export_obj(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> dict[str, Any]:
    """The OBJ of the posed mesh."""
    gaussians = stored.gaussians
    mesh = subject_mesh(gaussians)
    with torch.no_grad():
        vertices = gaussians.vertices(gaussians.poses(moment)[0]).numpy()[mesh.sources]
    write_obj(
        target,
        vertices,
        mesh.faces,
        uv=mesh.uv,
        normals=vertex_normals(vertices, np.concatenate(list(mesh.faces.values()))),
        colors=mesh.colors,
        comment=f"headsplat {__version__}; metres, +y up, +z out of the face",
    )
    return _counted(vertices, mesh.faces)


def animation(motion: Motion, head: Head) -> Animation:
    """A motion as joints and morph weights; jaw and eyes are turned by their joints, the rest is in the weights."""
    weights = action_weights(motion, head)
    weights[:, [ARKIT_NAMES.index(name) for name in JOINT_ACTIONS]] = 0
    return Animation(motion.time, motion.pose, motion.transl, weights)


def _counted(vertices: np.ndarray, faces: dict[str, np.ndarray]) -> dict[str, int]:
    return {"vertices": len(vertices), "triangles": sum(len(part) for part in faces.values())}
