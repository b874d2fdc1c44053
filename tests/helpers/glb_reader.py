"""A skinned glTF, put together after glTF's own rules over what pygltflib reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

TYPES = {5126: ("<f4", 4), 5125: ("<u4", 4), 5123: ("<u2", 2), 5121: ("u1", 1)}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Reader:
    """glTF's own rules over pygltflib: accessors dense and sparse, the nodes' transforms, skinning."""

    def __init__(self, path: Path) -> None:
        loaded = GLTF2.load_binary(str(path))
        assert loaded is not None
        self.gltf, self.blob = loaded, loaded.binary_blob()

    def view(self, number: int, component: int, count: int, width: int) -> np.ndarray:
        view = self.gltf.bufferViews[number]
        dtype, size = TYPES[component]
        data = self.blob[view.byteOffset : view.byteOffset + view.byteLength]
        assert len(data) == count * width * size
        return np.frombuffer(data, dtype).reshape(count, width)

    def array(self, number: int) -> np.ndarray:
        entry = self.gltf.accessors[number]
        width = WIDTHS[entry.type]
        if entry.bufferView is None:
            values = np.zeros((entry.count, width), "<f4")
        else:
            values = self.view(entry.bufferView, entry.componentType, entry.count, width).copy()
        if entry.sparse is not None:
            count, at = entry.sparse.count, entry.sparse.indices
            rows = self.view(at.bufferView, at.componentType, count, 1)[:, 0]
            values[rows] = self.view(entry.sparse.values.bufferView, entry.componentType, count, width)
        if entry.min:
            assert np.allclose(values.min(0), entry.min) and np.allclose(values.max(0), entry.max)
        return values

    def skinned(self, *, weights: np.ndarray, locals_: list[np.ndarray]) -> np.ndarray:
        """Vertices for weights of the morph targets and local matrices of the joints."""
        primitive, skin = self.gltf.meshes[0].primitives[0], self.gltf.skins[0]
        vertices = self.array(primitive.attributes.POSITION).astype(float)
        for weight, target in zip(weights, primitive.targets, strict=True):
            if weight:
                vertices = vertices + weight * self.array(target["POSITION"])
        world: dict[int, np.ndarray] = {}

        def visit(node: int, above: np.ndarray) -> None:
            world[node] = above @ locals_[skin.joints.index(node)]
            for child in self.gltf.nodes[node].children or []:
                visit(child, world[node])

        visit(skin.skeleton, np.eye(4))
        bind = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = np.array([world[joint] for joint in skin.joints]) @ bind
        chosen, shares = self.array(primitive.attributes.JOINTS_0), self.array(primitive.attributes.WEIGHTS_0)
        assert np.allclose(shares.sum(1), 1, atol=1e-5)
        blended = (shares[..., None, None] * matrices[chosen]).sum(1)
        return (blended[:, :3, :3] @ vertices[..., None])[..., 0] + blended[:, :3, 3]

    def still(self) -> np.ndarray:
        """As the nodes and the mesh stand in the file."""
        nodes = [self.gltf.nodes[joint] for joint in self.gltf.skins[0].joints]
        places = [local(node.translation, node.rotation) for node in nodes]
        return self.skinned(weights=np.array(self.gltf.meshes[0].weights), locals_=places)

    def played(self, frame: int) -> np.ndarray:
        """As the animation has it at one of its key frames."""
        (animation,) = self.gltf.animations
        joints = self.gltf.skins[0].joints
        nodes = [self.gltf.nodes[joint] for joint in joints]
        places, turns = [n.translation for n in nodes], [n.rotation for n in nodes]
        weights = np.zeros(52)
        for channel in animation.channels:
            values = self.array(animation.samplers[channel.sampler].output)
            if channel.target.path == "weights":
                weights = values.reshape(-1, 52)[frame]
            else:
                kind = places if channel.target.path == "translation" else turns
                kind[joints.index(channel.target.node)] = values[frame]
        return self.skinned(weights=weights, locals_=[local(p, t) for p, t in zip(places, turns, strict=True)])


def local(translation: list[float], rotation: list[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(rotation).as_matrix()
    matrix[:3, 3] = translation
    return matrix
