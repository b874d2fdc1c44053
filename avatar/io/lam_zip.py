"""The zip that LAM's web renderer plays (He et al., "LAM: Large Avatar Model", 2025).

The renderer, npm's gaussian-splat-renderer-for-lam 0.0.8, is what shows the layout: it reads one folder with
``skin.glb``, ``offset.ply``, ``animation.glb`` and ``vertex_order.json``. A splat's centre is the vertex of its number
in ``skin.glb``, moved by the morph targets that ARKit's names call, plus its place in ``offset.ply``; then the bone
``head`` carries it. Scales, rotations, opacities and colours, these as they are and not as harmonics, are those of
``offset.ply`` and stay. Axes are a head's, and the camera stands at the height of a person's eyes.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.io._splats import log_scales, opacity_logits, unit_quats
from avatar.io.glb import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GlbBuilder
from avatar.io.ply import ply_table

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.gaussians import Gaussians

# Its camera stands 1.8 m high, a metre away, and looks down by 10 degrees.
HEIGHT = 1.66
BONES = ("hip", "head")
# What the renderer takes the clips of `animation.glb` for, by their order.
CLIPS = {"hello": 2, "idle": 1, "speak": 6, "think": 3}
CLIP_SECONDS = 4.0


def write_lam_zip(
    path: Path, gaussians: Gaussians, moved: dict[str, Float[np.ndarray, "N 3"]], *, neck: Float[np.ndarray, " 3"]
) -> None:
    """Writes the zip.

    Args:
        path: Ends in .zip; the renderer takes the avatar's name from it.
        gaussians: The neutral avatar at the origin, in a head's axes.
        moved: Where each ARKit action moves the centres, metres, by name.
        neck: What the bone ``head`` turns about, metres.
    """
    place = np.array([0.0, HEIGHT, 0.0])
    folder = path.stem
    with tempfile.TemporaryDirectory() as beside, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # The renderer looks for an entry that is a folder.
        archive.writestr(zipfile.ZipInfo(f"{folder}/"), b"")
        glb = Path(beside, "x.glb")
        _write_skin(glb, gaussians.means.numpy() + place, moved, neck=neck + place)
        archive.write(glb, f"{folder}/skin.glb")
        _write_clips(glb, neck=neck + place)
        archive.write(glb, f"{folder}/animation.glb")
        archive.writestr(f"{folder}/offset.ply", offsets_ply(gaussians))
        archive.writestr(f"{folder}/vertex_order.json", json.dumps(list(range(len(gaussians.means)))))


def offsets_ply(gaussians: Gaussians) -> bytes:
    """The PLY of 3D Gaussian splatting with plain colours, a head's axes, and no places, which are in the mesh."""
    nothing = torch.zeros_like(gaussians.means)
    columns = [nothing, nothing, gaussians.colors, opacity_logits(gaussians)[:, None], log_scales(gaussians)]
    return ply_table(torch.cat([*columns, unit_quats(gaussians)], dim=1), comment="axes: +y up, +z out of the face")


def _write_skin(path: Path, means: np.ndarray, moved: dict[str, np.ndarray], *, neck: np.ndarray) -> None:
    """One vertex a splat; the single triangle makes readers take it for a mesh."""
    glb = GlbBuilder("headsplat")
    joints = np.zeros((len(means), 4), "u1")
    joints[:, 0] = BONES.index("head")
    weights = np.zeros((len(means), 4), "<f4")
    weights[:, 0] = 1
    primitive = {
        "attributes": {
            "POSITION": glb.accessor(means.astype("<f4"), bounds=True, target=ARRAY_BUFFER),
            "JOINTS_0": glb.accessor(joints, target=ARRAY_BUFFER),
            "WEIGHTS_0": glb.accessor(weights, target=ARRAY_BUFFER),
        },
        "indices": glb.accessor(np.arange(3, dtype="<u4"), target=ELEMENT_ARRAY_BUFFER),
        "targets": [{"POSITION": glb.moved(values)} for values in moved.values()],
    }
    bind = np.tile(np.eye(4, dtype="<f4"), (len(BONES), 1, 1))
    bind[BONES.index("head"), 3, :3] = -neck
    skin = {"joints": [1, 2], "inverseBindMatrices": glb.accessor(bind.reshape(-1, 16), target=None)}
    glb.json |= _scene(neck, [{"name": "avatar", "mesh": 0, "skin": 0}]) | {
        "meshes": [{"primitives": [primitive], "extras": {"targetNames": list(moved)}}],
        "skins": [skin],
    }
    glb.write(path)


def _write_clips(path: Path, *, neck: np.ndarray) -> None:
    """As many clips as the renderer has states for, all of them standing still."""
    glb = GlbBuilder("headsplat")
    time = glb.accessor(np.array([0, CLIP_SECONDS], "<f4"), bounds=True, target=None)
    still = glb.accessor(np.array([[0, 0, 0, 1]] * 2, "<f4"), target=None)
    sampler = {"input": time, "output": still, "interpolation": "LINEAR"}
    channel = {"sampler": 0, "target": {"node": 2, "path": "rotation"}}
    names = [f"{state}{number}" for state, count in CLIPS.items() for number in range(count)]
    glb.json |= _scene(neck, [{"name": "avatar"}]) | {
        "animations": [{"name": name, "samplers": [sampler], "channels": [channel]} for name in names]
    }
    glb.write(path)


def _scene(neck: np.ndarray, first: list[dict[str, Any]]) -> dict[str, Any]:
    """The nodes of both files: the avatar, then its bones."""
    bones = [{"name": "hip", "children": [2]}, {"name": "head", "translation": neck.tolist()}]
    return {"scene": 0, "scenes": [{"nodes": [0, 1]}], "nodes": [*first, *bones]}
