"""transforms.json, the camera file of nerfstudio, with the extra keys of VHAP and GaussianAvatars."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.cameras import Camera
from avatar.config import read_json, write_json
from avatar.errors import FormatError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.io.take import TakeInfo

# nerfstudio's cameras are OpenGL's: +y up and looking along -z.
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class TransformsFrame:
    """One picture of a transforms file.

    Attributes:
        file_path: The image, relative to the file.
        transform_matrix: (4, 4) camera-to-world in OpenGL axes, metres.
        time: Seconds.
        timestep_index: Row of the take.
        camera_index: Always 0 in a monocular take.
        mask_path: The soft alpha, relative to the file.
        fg_mask_path: The same under VHAP's name.
        flame_param_path: The motion of all frames, relative to the file.
    """

    file_path: str
    transform_matrix: list[list[float]]
    time: float = 0.0
    timestep_index: int = 0
    camera_index: int = 0
    mask_path: str = ""
    fg_mask_path: str = ""
    flame_param_path: str = ""


@dataclass(frozen=True)
class Transforms:
    """A transforms file: one pinhole camera's intrinsics in pixels, and its pictures.

    Attributes:
        w: Width.
        h: Height.
        fl_x: Focal length along x; `fl_y` along y.
        cx: Principal point, 0 at the left edge of the left pixel; `cy` likewise from the top.
        camera_angle_x: Horizontal field of view in radians; `camera_angle_y` the vertical one.
        frames: The pictures.
        camera_model: ``OPENCV`` without distortion.
    """

    w: int
    h: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    camera_angle_x: float = 0.0
    camera_angle_y: float = 0.0
    frames: list[TransformsFrame] = field(default_factory=list)
    camera_model: str = "OPENCV"

    def cameras(self) -> list[Camera]:
        """The camera of each picture in OpenCV axes."""
        K = np.array([[self.fl_x, 0, self.cx], [0, self.fl_y, self.cy], [0, 0, 1]])
        return [
            Camera(np.linalg.inv(np.array(frame.transform_matrix) @ _OPENGL), K, self.w, self.h)
            for frame in self.frames
        ]


def write_transforms(
    path: Path, info: TakeInfo, *, times: Float[np.ndarray, " T"], indices: Int[np.ndarray, " N"]
) -> None:
    """Writes the transforms of some frames of a tracked take (`info.focal` is set)."""
    camera = Camera.front(info.focal, info.width, info.height)
    to_world = (np.linalg.inv(camera.viewmat) @ _OPENGL).tolist()
    frames = [
        TransformsFrame(
            file_path=f"images/{index:05d}.png",
            transform_matrix=to_world,
            time=float(times[index]),
            timestep_index=int(index),
            mask_path=f"masks/{index:05d}.png",
            fg_mask_path=f"masks/{index:05d}.png",
            flame_param_path="motion.npz",
        )
        for index in indices
    ]
    (fx, _, cx), (_, fy, cy) = camera.K[:2].tolist()
    wide, high = 2 * math.atan(info.width / 2 / fx), 2 * math.atan(info.height / 2 / fy)
    write_json(path, Transforms(info.width, info.height, fx, fy, cx, cy, wide, high, frames))


def read_transforms(path: Path) -> Transforms:
    """Reads a transforms file of one pinhole camera; keys it does not know are ignored.

    Raises:
        FormatError: It does not fit, or a matrix is not a finite, invertible (4, 4).
    """
    stored = read_json(Path(path), Transforms)
    for frame in stored.frames:
        rows = frame.transform_matrix
        square = len(rows) == 4 and all(len(row) == 4 for row in rows)
        if not square or not np.isfinite(rows).all() or abs(np.linalg.det(rows)) < 1e-9:
            raise FormatError(
                f"{path} cannot be read", expected="transform_matrix of 4 x 4", found=f"another in {frame.file_path}"
            )
    return stored
