"""A skinned head with morph targets as a ``.glb`` (Khronos, "glTF 2.0 Specification", sections 3.7 and 3.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.heads.layout import JOINTS, PARENTS
from avatar.io.glb import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GlbBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int

INFLUENCES = 4
UNLIT = "KHR_materials_unlit"


@dataclass(frozen=True)
class SkinnedMesh:
    """What a glTF of a skinned mesh holds.

    Attributes:
        rest: (V, 3) metres, in the rest pose.
        normals: (V, 3).
        uv: (V, 2) texture coordinates, v upwards.
        colors: (V, 3) sRGB in [0, 1].
        faces: (F, 3) triangles of each part, by name.
        weights: (V, 5) of the joints.
        joints: (5, 3) rest positions, metres.
        targets: (V, 3) displacements of each morph target, by name.
    """

    rest: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    uv: Float[np.ndarray, "V 2"]
    colors: Float[np.ndarray, "V 3"]
    faces: dict[str, Int[np.ndarray, "F 3"]]
    weights: Float[np.ndarray, "V 5"]
    joints: Float[np.ndarray, "5 3"]
    targets: dict[str, Float[np.ndarray, "V 3"]]


@dataclass(frozen=True)
class Animation:
    """How the mesh moves.

    Attributes:
        time: (T,) seconds, increasing.
        pose: (T, 5, 3) axis-angle of the joints, radians.
        transl: (T, 3) metres.
        weights: (T, A) of the morph targets.
    """

    time: Float[np.ndarray, " T"]
    pose: Float[np.ndarray, "T 5 3"]
    transl: Float[np.ndarray, "T 3"]
    weights: Float[np.ndarray, "T A"]


def write_mesh_glb(path: Path, mesh: SkinnedMesh, animation: Animation, *, generator: str, copyright: str = "") -> None:
    """Writes the mesh, shown as at the animation's first moment, and played where the animation has more than one."""
    glb = GlbBuilder(generator, copyright=copyright)
    attributes, targets = _vertices(glb, mesh)
    primitives = [
        {
            "attributes": attributes,
            "indices": glb.accessor(faces.astype("<u4").reshape(-1), target=ELEMENT_ARRAY_BUFFER),
            "material": number,
            "targets": targets,
        }
        for number, faces in enumerate(mesh.faces.values())
    ]
    # Node 0 is the mesh, the joints follow.
    nodes: list[dict[str, Any]] = [{"name": "head", "mesh": 0, "skin": 0}]
    rotations = [Rotation.from_rotvec(animation.pose[:, joint]).as_quat() for joint in range(len(JOINTS))]
    places = _places(mesh, animation)
    for joint, name in enumerate(JOINTS):
        children = [1 + child for child, parent in enumerate(PARENTS) if parent == joint]
        node = {"name": name, "translation": places[joint][0].tolist(), "rotation": rotations[joint][0].tolist()}
        nodes.append(node | ({"children": children} if children else {}))
    bind = np.tile(np.eye(4, dtype="<f4"), (len(JOINTS), 1, 1))
    bind[:, 3, :3] = -mesh.joints
    skin = {
        "joints": [1 + joint for joint in range(len(JOINTS))],
        "skeleton": 1,
        "inverseBindMatrices": glb.accessor(bind.reshape(-1, 16), target=None),
    }
    shape = {
        "name": "head",
        "primitives": primitives,
        "weights": animation.weights[0].tolist(),
        "extras": {"targetNames": list(mesh.targets)},
    }
    glb.json |= {
        "extensionsUsed": [UNLIT],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": nodes,
        "meshes": [shape],
        "skins": [skin],
        # The colours were seen in a picture and have its light in them.
        "materials": [
            {
                "name": name,
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9},
                "extensions": {UNLIT: {}},
                "doubleSided": True,
            }
            for name in mesh.faces
        ],
    }
    if len(animation.time) > 1:
        glb.json["animations"] = [_animated(glb, animation, rotations, places[0])]
    glb.write(path)


def _vertices(glb: GlbBuilder, mesh: SkinnedMesh) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Accessors of the attributes and of the morph targets, which all parts share."""
    order = np.argsort(-mesh.weights, axis=1, kind="stable")[:, :INFLUENCES]
    kept = np.take_along_axis(mesh.weights, order, 1)
    kept = kept / kept.sum(1, keepdims=True)
    # A joint without weight has to be number 0.
    order = np.where(kept > 0, order, 0)
    uv = np.column_stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]])
    color = np.round(linear(mesh.colors) * 65535)
    color = np.column_stack([color, np.full(len(color), 65535)]).astype("<u2")
    attributes = {
        "POSITION": glb.accessor(mesh.rest.astype("<f4"), bounds=True, target=ARRAY_BUFFER),
        "NORMAL": glb.accessor(mesh.normals.astype("<f4"), target=ARRAY_BUFFER),
        "TEXCOORD_0": glb.accessor(uv.astype("<f4"), target=ARRAY_BUFFER),
        "COLOR_0": glb.accessor(color, normalized=True, target=ARRAY_BUFFER),
        "JOINTS_0": glb.accessor(order.astype("u1"), target=ARRAY_BUFFER),
        "WEIGHTS_0": glb.accessor(kept.astype("<f4"), target=ARRAY_BUFFER),
    }
    return attributes, [{"POSITION": glb.moved(moved)} for moved in mesh.targets.values()]


def _places(mesh: SkinnedMesh, animation: Animation) -> list[np.ndarray]:
    """(T, 3) translation of each joint's node from its parent's."""
    still = np.zeros_like(animation.transl)
    return [
        mesh.joints[joint] + animation.transl if parent < 0 else mesh.joints[joint] - mesh.joints[parent] + still
        for joint, parent in enumerate(PARENTS)
    ]


def _animated(glb: GlbBuilder, animation: Animation, rotations: list[np.ndarray], root: np.ndarray) -> dict[str, Any]:
    time = glb.accessor((animation.time - animation.time[0]).astype("<f4"), bounds=True, target=None)
    tracks = [(1 + joint, "rotation", _continuous(turns)) for joint, turns in enumerate(rotations)]
    tracks += [(1, "translation", root), (0, "weights", animation.weights.reshape(-1))]
    samplers, channels = [], []
    for number, (node, path, values) in enumerate(tracks):
        output = glb.accessor(np.ascontiguousarray(values, "<f4"), target=None)
        samplers.append({"input": time, "output": output, "interpolation": "LINEAR"})
        channels.append({"sampler": number, "target": {"node": node, "path": path}})
    return {"name": "motion", "samplers": samplers, "channels": channels}


def _continuous(quats: Float[np.ndarray, "T 4"]) -> Float[np.ndarray, "T 4"]:
    """The same rotations with signs that never jump, so that readers that mix components go the short way."""
    flips = np.sign(np.sum(quats[1:] * quats[:-1], axis=1))
    signs = np.cumprod(np.concatenate([[1.0], np.where(flips < 0, -1.0, 1.0)]))
    return quats * signs[:, None]


def linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB-encoded values in [0, 1] (IEC 61966-2-1); glTF's vertex colours are linear."""
    srgb = np.clip(srgb, 0, 1)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
