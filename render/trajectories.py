"""Camera paths: around the head, towards it, through key-frames, and turned to the face; and the picture's framing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from avatar.cameras import Camera, intrinsics, look_at

if TYPE_CHECKING:
    from jaxtyping import Float

ORBIT_YAW, ORBIT_PITCH, ORBIT_SECONDS = 30.0, 8.0, 6.0
DOLLY_NEAREST, DOLLY_SECONDS = 0.6, 6.0
# A camera that is turned to the face follows where the head goes, not how it trembles.
FOLLOW_SECONDS = 0.25


@dataclass(frozen=True)
class CameraPath:
    """A camera's way through K key-frames.

    Attributes:
        time: (K,) seconds, strictly increasing.
        eye: (K, 3) positions, metres.
        target: (K, 3) points looked at, metres.
        up: (K, 3) what is up in the picture, of any length.
        fov: (K,) vertical fields of view, degrees.
        loop: Start again after the last key-frame, where the path is held else.
    """

    time: Float[np.ndarray, " K"]
    eye: Float[np.ndarray, "K 3"]
    target: Float[np.ndarray, "K 3"]
    up: Float[np.ndarray, "K 3"]
    fov: Float[np.ndarray, " K"]
    loop: bool = False

    def __len__(self) -> int:
        return len(self.time)

    def cameras(self, times: Float[np.ndarray, " T"], width: int, height: int) -> list[Camera]:
        """The cameras at `times` (seconds).

        Between key-frames runs the monotone cubic spline of Fritsch and Butland (SIAM J. Sci. Stat. Comput. 1984),
        which is smooth, stands still between equal key-frames and never swings past one.
        """
        first, last = self.time[0], self.time[-1]
        moments = np.asarray(times, np.float64)
        moments = first + (moments - first) % (last - first) if self.loop and last > first else moments
        lens = np.log(np.tan(np.radians(self.fov) / 2))
        rows = np.concatenate([self.eye, self.target, self.up, lens[:, None]], axis=1)
        at = (
            PchipInterpolator(self.time, rows)(moments.clip(first, last)) if len(self) > 1 else [rows[0]] * len(moments)
        )
        return [
            Camera(
                look_at(row[:3], row[3:6], row[6:9]),
                intrinsics(height / 2 / np.exp(row[9]), width, height),
                width,
                height,
            )
            for row in at
        ]


def camera_eye(camera: Camera) -> Float[np.ndarray, " 3"]:
    """Where a camera stands, metres."""
    return -camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]


def vertical_fov(camera: Camera) -> float:
    """A camera's vertical field of view, degrees."""
    return float(np.degrees(2 * np.arctan(camera.height / 2 / camera.K[1, 1])))


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
    phase = 2 * np.pi * np.asarray(times) / ORBIT_SECONDS
    yaws, pitches = np.radians(yaw) * np.sin(phase), np.radians(ORBIT_PITCH) * np.sin(phase / 2)
    radius = np.linalg.norm(camera_eye(camera) - center)
    directions = np.stack([np.sin(yaws) * np.cos(pitches), np.sin(pitches), np.cos(yaws) * np.cos(pitches)], axis=1)
    return [replace(camera, viewmat=look_at(center + radius * d, center)) for d in directions]


def around(camera: Camera, center: Float[np.ndarray, " 3"], *, yaw: float, pitch: float) -> Camera:
    """The camera turned about `center` from straight ahead, at its own distance.

    Args:
        camera: Gives distance and lens.
        center: (3,) what it looks at, metres.
        yaw: Degrees towards the +x side of the head.
        pitch: Degrees upwards.
    """
    a, b = np.radians([yaw, pitch])
    direction = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
    distance = float(np.linalg.norm(camera_eye(camera) - center))
    return replace(camera, viewmat=look_at(center + distance * direction, center))


def dolly(
    camera: Camera,
    center: Float[np.ndarray, " 3"],
    times: Float[np.ndarray, " T"],
    *,
    nearest: float = DOLLY_NEAREST,
) -> list[Camera]:
    """Moves the camera straight towards `center` and back again, softly.

    Args:
        camera: Where the move starts.
        center: (3,) metres.
        times: (T,) seconds.
        nearest: The smallest distance from `center`, as a part of the first one; above 1 the camera moves away.
    """
    eye = camera_eye(camera)
    near = (1 - np.cos(2 * np.pi * np.asarray(times) / DOLLY_SECONDS)) / 2
    away = 1 + (nearest - 1) * near
    return [replace(camera, viewmat=look_at(center + (eye - center) * part, center)) for part in away]


def follow(cameras: list[Camera], centers: Float[np.ndarray, "T 3"], times: Float[np.ndarray, " T"]) -> list[Camera]:
    """The cameras where they are, each turned to its centre (metres) with the tremble taken out of the turning."""
    step = float(np.diff(times).mean()) if len(times) > 1 else 1.0
    smooth = gaussian_filter1d(np.asarray(centers, float), FOLLOW_SECONDS / step, axis=0, mode="nearest")
    eyes = [camera_eye(camera) for camera in cameras]
    return [
        replace(camera, viewmat=look_at(eye, np.asarray(center)))
        for camera, eye, center in zip(cameras, eyes, smooth, strict=True)
    ]


def resized(camera: Camera, size: int) -> Camera:
    """The same view at another image size: the longer side becomes `size` pixels."""
    factor = size / max(camera.width, camera.height)
    K = camera.K.copy()
    K[:2] *= factor
    return replace(camera, K=K, width=round(camera.width * factor), height=round(camera.height * factor))


def framed(camera: Camera, width: int, height: int, *, fov: float | None = None) -> Camera:
    """A camera with another picture: the principal point in its middle, the vertical field of view kept, or `fov`."""
    half = np.radians(vertical_fov(camera) if fov is None else fov) / 2
    return replace(camera, K=intrinsics(height / 2 / np.tan(half), width, height), width=width, height=height)
