"""Key-frames of a camera path, set in the viewer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import InputError
from avatar.render.camera_files import path_of, read_camera_file, write_camera_file

if TYPE_CHECKING:
    from avatar.cameras import Camera
    from avatar.render.trajectories import CameraPath

FILE_RATE = 30.0


@dataclass
class CameraKeys:
    """Cameras at equal times, around the head.

    Attributes:
        center: (3,) the head's middle, metres.
        cameras: The key-frames.
        seconds: From one to the next.
        loop: Back to the first at the end.
    """

    center: np.ndarray
    cameras: list[Camera] = field(default_factory=list)
    seconds: float = 2.0
    loop: bool = False

    def path(self) -> CameraPath:
        """The way through them; raises InputError for less than two."""
        if len(self.cameras) < 2:
            raise InputError(
                "There is no camera path yet",
                expected="at least two key-frames",
                found=str(len(self.cameras)),
                fix="turn the view and press Add key-frame, twice",
            )
        cameras = [*self.cameras, self.cameras[0]] if self.loop else self.cameras
        path = path_of(cameras, self.seconds * np.arange(len(cameras)), self.center)
        return path

    def file(self, width: int, height: int) -> bytes:
        """Nerfstudio's ``camera_path.json`` for `avatar render --camera`."""
        path = self.path()
        count = round((path.time[-1] - path.time[0]) * FILE_RATE) + (0 if self.loop else 1)
        cameras = path.cameras(np.arange(count) / FILE_RATE, width, height)
        keys = path.cameras(path.time, width, height)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "camera_path.json"
            write_camera_file(file, cameras, fps=FILE_RATE, keys=keys, loop=self.loop)
            return file.read_bytes()

    def load(self, content: bytes, view: Camera) -> None:
        """Takes the key-frames of a camera file; raises InputError or FormatError for one that cannot be used."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "camera_path.json"
            file.write_bytes(content)
            path = read_camera_file(file, view, self.center).path
        # A file has a camera for every frame; a few of them carry the path, and can be edited.
        steps = len(path) if len(path) <= 8 else max(2, round((path.time[-1] - path.time[0]) / self.seconds) + 1)
        times = np.linspace(path.time[0], path.time[-1], steps)
        self.cameras = path.cameras(times, view.width, view.height)
        if steps > 1:
            self.seconds = float(times[1] - times[0])
