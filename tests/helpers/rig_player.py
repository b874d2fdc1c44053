"""A player of the rigged package, written after its README alone and in numpy, as a stranger would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.spatial.transform import Rotation
from splat_parity import from_columns

from avatar.gaussians import Gaussians


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def rotation(turn: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(turn))
    if angle == 0:
        return np.eye(3)
    x, y, z = turn / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def matrices(quats: np.ndarray) -> np.ndarray:
    w, x, y, z = unit(quats).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


class RigPlayer:
    def __init__(self, folder: Path) -> None:
        self.manifest = json.loads((folder / "rig.json").read_text())
        stored = load_file(folder / "rig.safetensors")
        assert {name: list(value.shape) for name, value in stored.items()} == {
            name: entry["shape"] for name, entry in self.manifest["tensors"].items()
        }
        self.rig = {k: v.astype(np.float64) if v.dtype.kind == "f" else v.astype(int) for k, v in stored.items()}

    def face(self, weights: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expression, turns of the five joints and lids of ARKit's weights."""
        chosen = [weights.get(name, 0.0) for name in self.manifest["arkit_names"]]
        pose = np.zeros((5, 3))
        for action, turns in self.manifest["arkit_joints"].items():
            for joint, turn in turns.items():
                pose[self.manifest["joints"].index(joint)] += np.array(turn) * weights.get(action, 0.0)
        lids = np.array([weights.get("eyeBlinkLeft", 0.0), weights.get("eyeBlinkRight", 0.0)])
        return self.rig["arkit_to_expression"] @ chosen, pose, lids

    def mesh(self, e: np.ndarray, pose: np.ndarray, lids: np.ndarray, t: np.ndarray, s: np.ndarray) -> np.ndarray:
        rig, head = self.rig, self.manifest["vertices"][0]
        R = np.array([rotation(turn) for turn in pose])
        shaped = rig["rest"][:head] + rig["expression_basis"] @ e + rig["eyelid_basis"] @ lids
        shaped += rig["pose_basis"] @ (R[1:] - np.eye(3)).ravel()
        posed, world = np.zeros_like(shaped), []
        for joint, parent in enumerate(self.manifest["parents"]):
            centre = rig["rest_joints"][joint]
            turn, move = R[joint], centre - R[joint] @ centre
            if parent >= 0:
                above, shift = world[parent]
                turn, move = above @ turn, above @ move + shift
            world.append((turn, move))
            posed += rig["weights"][:, joint : joint + 1] * (shaped @ turn.T + move)
        root = rig["rest_joints"][0]
        torso = (rig["rest"][head:] - root) @ R[0].T + root + t + s
        return np.concatenate([posed + t, torso])

    def splats(self, e: np.ndarray, pose: np.ndarray, lids: np.ndarray, t: np.ndarray, s: np.ndarray) -> Gaussians:
        rig, limit = self.rig, self.manifest["condition_limit"]
        x = np.concatenate([e, pose[2], pose[3], lids, pose[0], pose[1]])
        c = np.clip(x @ rig["condition_gain"] + rig["condition_bias"], -limit, limit)
        d = rig["components"] @ c * rig["component_units"]
        a, b, third = self.mesh(e, pose, lids, t, s)[rig["faces"][rig["triangles"]]].transpose(1, 0, 2)
        u = unit(b - a)
        n = unit(np.cross(u, third - a))
        v = np.cross(u, n)
        frame = np.stack([u, n, v], axis=-1)
        size = (np.linalg.norm(b - a, axis=1) + np.abs((v * (third - a)).sum(1))) / 2
        k = np.clip(size / rig["rest_sizes"], *self.manifest["stretch_range"])[:, None]
        anchor = (np.stack([a, b, third], axis=1) * rig["barycentric"][..., None]).sum(1)
        axes = frame @ matrices(rig["quats"])
        return from_columns(
            anchor + k * (frame @ (rig["offsets"] + d[:, :3])[..., None])[..., 0],
            quaternions(axes),
            k * np.exp(rig["log_scales"] + d[:, 3:6]),
            sigmoid(rig["opacity_logits"] + d[:, 6]),
            sigmoid(rig["color_logits"] + d[:, 7:]),
        )


def quaternions(matrices: np.ndarray) -> np.ndarray:
    return np.roll(Rotation.from_matrix(matrices).as_quat(), 1, axis=1)
