"""Camera paths: the recording's own camera, an orbit around the head, or a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from avatar.cameras import Camera, intrinsics, look_at
from avatar.config import read_json
from avatar.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

ORBIT_YAW, ORBIT_PITCH, ORBIT_SECONDS = 30.0, 8.0, 6.0


class CameraKey(msgspec.Struct):
    """One key of a camera file.

    Attributes:
        time: Seconds.
        eye: Position of the camera, metres, in the recording camera's space.
        target: The point it looks at; the head's centre where it is left out.
        focal: Focal length in pixels; the recording's where it is left out.
    """

    time: float
    eye: tuple[float, float, float]
    target: tuple[float, float, float] | None = None
    focal: float | None = None


def orbit(
    camera: Camera, center: Float[np.ndarray, " 3"], times: Float[np.ndarray, " T"], *, yaw: float = ORBIT_YAW
) -> list[Camera]:
    """Swings the camera around `center` and back, as a pendulum, with a slight rise and fall.

    Args:
        camera: Where the swing starts.
        center: (3,) metres.
        times: (T,) seconds.
        yaw: Largest angle to either side, degrees.
    """
    eye = -camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]
    phase = 2 * np.pi * np.asarray(times) / ORBIT_SECONDS
    yaws, pitches = np.radians(yaw) * np.sin(phase), np.radians(ORBIT_PITCH) * np.sin(phase / 2)
    radius = np.linalg.norm(eye - center)
    directions = np.stack([np.sin(yaws) * np.cos(pitches), np.sin(pitches), np.cos(yaws) * np.cos(pitches)], axis=1)
    return [replace(camera, viewmat=look_at(center + radius * d, center)) for d in directions]


def from_file(path: Path, camera: Camera, center: Float[np.ndarray, " 3"], times: np.ndarray) -> list[Camera]:
    """A path through the keys of a JSON file (a list of ``CameraKey``), linear between them and held at both ends."""
    try:
        keys = sorted(msgspec.convert(read_json(path, list), list[CameraKey]), key=lambda key: key.time)
    except (OSError, msgspec.ValidationError) as error:
        raise InputError(
            f"The camera file {path} cannot be used",
            expected='a JSON list such as [{"time": 0, "eye": [0, 0, 0]}, {"time": 2, "eye": [0.2, 0, 0]}]',
            found=str(error),
        ) from error
    if not keys:
        raise InputError(f"The camera file {path} is empty", expected="at least one key with time and eye")
    for key in keys:
        away = np.subtract(key.target or center, key.eye)
        if (key.focal is not None and key.focal <= 0) or np.hypot(away[0], away[2]) < 1e-6:
            raise InputError(
                f"The camera file {path} has a key at {key.time:g} s that shows nothing",
                expected="a positive focal length and an eye that is not straight above, below or at its target",
                found=f"eye {key.eye}, target {key.target or tuple(float(v) for v in center)}, focal {key.focal}",
            )
    moments = np.array([key.time for key in keys])
    rows = np.array([[*key.eye, *(key.target or center), key.focal or camera.K[0, 0]] for key in keys])
    path_rows = np.stack([np.interp(times, moments, column) for column in rows.T], axis=1)
    return [
        replace(camera, viewmat=look_at(row[:3], row[3:6]), K=intrinsics(row[6], camera.width, camera.height))
        for row in path_rows
    ]


def resized(camera: Camera, size: int) -> Camera:
    """The same view at another image size: the longer side becomes `size` pixels."""
    factor = size / max(camera.width, camera.height)
    K = camera.K.copy()
    K[:2] *= factor
    return replace(camera, K=K, width=round(camera.width * factor), height=round(camera.height * factor))
