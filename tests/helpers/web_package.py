"""An independent reader of the web player's package by the Python package's own rig: what a browser must agree with."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.cameras import Camera
from avatar.fields.rig import RiggedGaussians, place_gaussians, triangle_frames
from avatar.gaussians import Gaussians
from avatar.heads import rotation_matrices
from avatar.heads.lbs import joint_transforms, skin
from avatar.io.avatar import StoredAvatar

TYPES = {"u8": "u1", "i8": "i1", "u16": "<u2", "i16": "<i2", "f32": "<f4"}
LEVELS = {"u8": 255.0, "u16": 65535.0}


class WebPackage:
    """A folder that `export_web` wrote."""

    def __init__(self, folder: Path) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "avatar.json").read_text())
        data = gzip.decompress((folder / "avatar.bin").read_bytes())
        assert len(data) == self.manifest["data"]["bytes"]
        self.arrays = {}
        for name, entry in self.manifest["arrays"].items():
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(data, TYPES[entry["type"]], count, entry["offset"]).reshape(entry["shape"])
            self.arrays[name] = torch.as_tensor(values.astype(np.float32))
        track = self.manifest["track"]
        halves = np.frombuffer((folder / track["file"]).read_bytes(), "<f2").reshape(-1, track["columns"])
        self.rows = halves.astype(np.float32) + np.array(self.manifest["neutral"], np.float32)

    def scaled(self, name: str) -> torch.Tensor:
        low, high = self.arrays[f"{name}_range"]
        return low + self.arrays[name] / LEVELS[self.manifest["arrays"][name]["type"]] * (high - low)

    def world(self, row: np.ndarray, gaze: list[float] | None = None) -> Gaussians:
        """The Gaussians in world space at 52 coefficients and 21 numbers of pose; a gaze turns the eyes instead."""
        manifest, arrays = self.manifest, self.arrays
        joints, weights = self._joints(row)
        expression, features = weights, weights
        if "actions_to_directions" in arrays:
            expression = arrays["actions_to_directions"] @ weights + torch.as_tensor(row[73:])
            features = arrays["directions_to_features"] @ expression
        elif not len(weights):
            expression = features = torch.as_tensor(row[73:])
        head, torso = self.scaled("vertices").split(
            [manifest["head_vertices"], len(arrays["vertices"]) - manifest["head_vertices"]]
        )
        posed_joints = joints.clone()
        if gaze is not None:
            posed_joints[3:] = torch.as_tensor([*gaze, 0.0])
        turns = rotation_matrices(posed_joints)[None]
        correctives = arrays["pose_to_correctives"] @ (turns[0, 1:] - torch.eye(3)).flatten()
        coefficients = torch.cat([expression, joints.new_tensor(row[8:10]), correctives])
        shift, shoulders = joints.new_tensor(row[67:70]), joints.new_tensor(row[70:73])
        rest_joints = arrays["joints"][None]
        skinning = arrays["weights"] / arrays["weights"].sum(1, keepdim=True)
        moved = (head + self._moves() @ coefficients)[None]
        posed = skin(moved, skinning, *joint_transforms(turns, rest_joints))[0] + shift
        root = rest_joints[0, 0]
        carried = (torso - root) @ turns[0, 0].T + root + shift + shoulders
        return place_gaussians(self._rigged(), torch.cat([posed, carried]), self._residual(joints, features, row))

    def _joints(self, row: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        manifest = self.manifest
        weight = dict(zip(manifest["coefficients"], torch.as_tensor(row), strict=False))
        joints = torch.as_tensor(row[52:67]).reshape(5, 3).clone()
        joints[2, 0] += manifest["jaw_open_angle"] * weight["jawOpen"]
        up, down, inwards, outwards = manifest["eye_look_angles"]
        for joint, side, sign in ((3, "Left", -1), (4, "Right", 1)):
            joints[joint, 0] += down * weight[f"eyeLookDown{side}"] - up * weight[f"eyeLookUp{side}"]
            joints[joint, 1] += sign * (inwards * weight[f"eyeLookIn{side}"] - outwards * weight[f"eyeLookOut{side}"])
        return joints, torch.as_tensor([float(weight[name]) for name in manifest["actions"]])

    def _moves(self) -> torch.Tensor:
        counts = [int(count) for count in self.arrays["move_counts"]]
        moves = torch.zeros(self.manifest["head_vertices"], 3, len(counts))
        parts = zip(self.arrays["move_vertices"].long().split(counts), self.arrays["moves"].split(counts), strict=True)
        for direction, (vertices, values) in enumerate(parts):
            moves[vertices, :, direction] = values * self.arrays["move_scales"][direction]
        return moves

    def _residual(self, joints: torch.Tensor, features: torch.Tensor, row: np.ndarray) -> torch.Tensor:
        manifest, arrays = self.manifest, self.arrays
        gains = manifest["gains"]
        rest = [gains["joint"] * joints[2], gains["joint"] * joints[3], torch.as_tensor(row[8:10])]
        rest += [gains["neck"] * joints[0], gains["neck"] * joints[1]]
        condition = (torch.cat([features, *rest]) - arrays["condition_mean"]) @ arrays["condition_basis"]
        condition = condition.clamp(-manifest["limit"], manifest["limit"])
        packed = arrays["residuals"].to(torch.uint8)
        levels = torch.stack([packed & 15, packed >> 4], -1).flatten(2)[..., : manifest["gaussians"]].float() - 8
        steps = arrays["residual_steps"][arrays["unit_kinds"].long()]
        return torch.einsum("kcn,nkc,k->nc", levels, steps, condition)

    def _rigged(self) -> RiggedGaussians:
        arrays = self.arrays
        corners = torch.repeat_interleave(arrays["faces"].int(), arrays["face_counts"].long(), dim=0)
        two = arrays["barycentric"].T / 255
        colors = arrays["colors"].T.clamp(0.4, 254.6) / 255
        return RiggedGaussians(
            corners=corners,
            barycentric=torch.cat([two, 1 - two.sum(1, keepdim=True)], 1),
            rest_sizes=triangle_frames(self.scaled("vertices")[corners.long()]).sizes.clamp_min(1e-5),
            offsets=arrays["offsets"].T * arrays["offset_step"],
            log_scales=self.scaled("log_scales"),
            quats=torch.nn.functional.normalize(arrays["quats"].T, dim=1),
            opacity_logits=self.scaled("opacity_logits")[:, 0],
            color_logits=torch.logit(colors),
            units=arrays["units"][arrays["unit_kinds"].long()],
        )


def camera_of(stored: StoredAvatar, size: int) -> Camera:
    return Camera.front(stored.info.focal * size / stored.info.width, size, size)


def camera_entry(camera: Camera) -> dict[str, Any]:
    """The same camera as the player's scripts take it."""
    K = camera.K
    lens = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    return {"view": camera.viewmat.ravel().tolist(), **lens, "width": camera.width, "height": camera.height}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def premultiplied(pixels: np.ndarray) -> np.ndarray:
    """Colours of RGBA bytes with straight alpha."""
    values = pixels.astype(np.float32) / 255
    return values[..., :3] * values[..., 3:]
