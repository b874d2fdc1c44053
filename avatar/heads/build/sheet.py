"""A contact sheet of a head: views, identities, every ARKit action, jaw, gaze, blinks and the mouth from near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import Camera, intrinsics, look_at
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.heads.head import Head
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.raycast import render
from avatar.synthetic.skin import HeadAppearance

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

PANEL, COLUMNS, SHAPES = 208, 10, 5


@dataclass(frozen=True)
class Close:
    """Where a panel looks: target (m), width shown (m) and the direction's azimuth and elevation (rad)."""

    target: tuple[float, float, float] = (0.0, 0.0, 0.02)
    width: float = 0.28
    azimuth: float = 0.0
    elevation: float = 0.0

    def camera(self) -> Camera:
        """The panel's camera, a metre away."""
        turn = np.cos(self.elevation)
        towards = [np.sin(self.azimuth) * turn, np.sin(self.elevation), np.cos(self.azimuth) * turn]
        target = np.asarray(self.target)
        return Camera(look_at(target + towards, target), intrinsics(PANEL / self.width, PANEL, PANEL), PANEL, PANEL)


FACE = Close()
EYE = Close((0.031, 0.03, 0.05), 0.055)
MOUTH = Close((0.0, -0.04, 0.07), 0.08)


def pose_from_arkit(head: Head, **weights: float) -> dict[str, Tensor]:
    """Arguments of `Head.forward` for named ARKit weights."""
    row = np.array([[weights.get(name, 0.0) for name in ARKIT_NAMES]], dtype=np.float32)
    motion = arkit_to_motion_parts(row, head)
    pose = np.zeros((1, 5, 3), dtype=np.float32)
    pose[:, 2], pose[:, 3], pose[:, 4] = motion.jaw_pose, motion.leye_pose, motion.reye_pose
    return {
        "expression": torch.from_numpy(motion.expression),
        "pose": torch.from_numpy(pose),
        "eyelids": torch.from_numpy(motion.eyelids),
    }


def write_sheet(path: Path, head: Head) -> None:
    """Draws the sheet into a PNG; takes about a minute."""
    appearance = HeadAppearance(head, LOOKS["light"])
    faces = head.faces.numpy()
    tiles: list[UInt8[np.ndarray, "h w 3"]] = []
    for label, arguments, close in panels(head):
        vertices = head(**arguments)[0].double().numpy()
        image, _ = render(vertices, faces, appearance=appearance, camera=close.camera())
        tile = np.ascontiguousarray((image[..., ::-1] * 255 + 0.5).astype(np.uint8))
        cv2.putText(tile, label, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[start : start + COLUMNS], axis=1) for start in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(path), np.concatenate(rows))


def panels(head: Head) -> Iterator[tuple[str, dict[str, Tensor], Close]]:
    """Label, arguments of `Head.forward` and view of every panel."""
    for name, azimuth in (("front", 0.0), ("three quarters", 0.7), ("side", 1.57), ("back", 3.14)):
        yield name, {}, Close((0.0, -0.04, 0.0), 0.42, azimuth)
    for index in range(SHAPES):
        for amount in (-2.0, 2.0):
            betas = torch.zeros(1, head.shapedirs.shape[-1])
            betas[0, index] = amount
            yield f"shape {index} {amount:+.0f} sd", {"betas": betas}, FACE
    for name in head.arkit_names:
        # mouthClose is defined over an open jaw only.
        others = {"jawOpen": 1.0} if name == "mouthClose" else {}
        yield name, pose_from_arkit(head, **{name: 1.0, **others}), FACE
    for amount in (0.25, 0.5, 1.0):
        yield f"jawOpen {amount}", pose_from_arkit(head, jawOpen=amount), FACE
    for look in ("Up", "Down", "In", "Out"):
        weights = {f"eyeLook{look}{side}": 1.0 for side in ("Left", "Right")}
        yield f"eyeLook{look}", pose_from_arkit(head, **weights), Close((0, 0.03, 0.05), 0.13)
    for amount in (0.0, 0.5, 1.0):
        yield f"eyeBlinkLeft {amount}", pose_from_arkit(head, eyeBlinkLeft=amount), EYE
    yield "eyeBlinkLeft 1 from 35 deg", pose_from_arkit(head, eyeBlinkLeft=1.0), Close(EYE.target, EYE.width, 0.6)
    for amount, azimuth in ((0.3, 0.0), (0.3, 0.52), (0.7, 0.0), (0.7, 0.52)):
        view = Close(MOUTH.target, MOUTH.width, azimuth)
        yield f"jawOpen {amount}, {np.degrees(azimuth):.0f} deg", pose_from_arkit(head, jawOpen=amount), view
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.15}
    for azimuth in (0.0, 0.52):
        view = Close(MOUTH.target, MOUTH.width, azimuth)
        yield f"smile, {np.degrees(azimuth):.0f} deg", pose_from_arkit(head, **smile), view
