"""Camera paths as files: a short list of key-frames written by hand, and nerfstudio's ``camera_path.json``.

nerfstudio's cameras have OpenGL axes (+x right, +y up, looking along -z) and vertical fields of view in degrees; its
matrices are camera-to-world, row by row. The world is the recording camera's space in metres (docs/conventions.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from avatar.cameras import FRONT_VIEW, Camera
from avatar.config import write_json
from avatar.errors import FormatError, InputError
from avatar.io._files import writing
from avatar.render.trajectories import CameraPath, camera_eye, vertical_fov

if TYPE_CHECKING:
    from jaxtyping import Float

EXAMPLE = '[{"time": 0, "eye": [0, 0, 0]}, {"time": 2, "eye": [0.2, 0, 0]}]'
FIX = "correct the file, or save a path in `avatar view`"
SIDES = (16, 8192)
FOV_RANGE = (1.0, 150.0)
FOV_TEXT = "{:g} to {:g} degrees".format(*FOV_RANGE)


class CameraKey(msgspec.Struct):
    """One key of a camera file written by hand.

    Attributes:
        time: Seconds.
        eye: Position of the camera, metres, in the recording camera's space.
        target: The point it looks at; the head's centre where it is left out.
        focal: Focal length in pixels of the picture that is rendered; the recording's where it is left out.
        fov: Vertical field of view in degrees, in place of `focal`.
    """

    time: float
    eye: tuple[float, float, float]
    target: tuple[float, float, float] | None = None
    focal: float | None = None
    fov: float | None = None


class _Frame(msgspec.Struct):
    camera_to_world: tuple[float, ...]
    fov: float


class _Keyframe(msgspec.Struct):
    matrix: tuple[float, ...]
    fov: float | None = None
    override_transition_enabled: bool | None = None
    override_transition_sec: float | None = None


class _Nerfstudio(msgspec.Struct):
    """What of a ``camera_path.json`` is read; the rest is left alone."""

    camera_path: list[_Frame] = []
    keyframes: list[_Keyframe] = []
    camera_type: str = "perspective"
    default_fov: float = 50.0
    default_transition_sec: float = 2.0
    fps: float = 24.0
    render_width: int | None = None
    render_height: int | None = None
    is_cycle: bool = False


@dataclass(frozen=True)
class CameraFile:
    """A camera path as read.

    Attributes:
        path: The key-frames.
        size: Width and height of the picture in pixels, where the file names them.
    """

    path: CameraPath
    size: tuple[int, int] | None = None


def read_camera_file(file: Path, camera: Camera, center: Float[np.ndarray, " 3"]) -> CameraFile:
    """Reads key-frames written by hand, or nerfstudio's ``camera_path.json``.

    Args:
        file: The JSON file.
        camera: The view that fills in what keys leave out.
        center: (3,) the head's centre, metres; looked at where a key names no target.

    Raises:
        InputError: There is no such file, or a key shows nothing.
        FormatError: It is neither of the two.
    """
    try:
        content: Any = msgspec.json.decode(file.read_bytes())
        if isinstance(content, dict) and ("camera_path" in content or "keyframes" in content):
            return _from_nerfstudio(file, msgspec.convert(content, _Nerfstudio), center)
        keys = msgspec.convert(content, list[CameraKey])
    except OSError as error:
        raise InputError(
            f"The camera file {file} cannot be read",
            expected="front, orbit, dolly or a JSON file",
            found=error.strerror or str(error),
            fix="check the path",
        ) from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FormatError(
            f"The camera file {file} cannot be used",
            expected=f"nerfstudio's camera_path.json, or a list such as {EXAMPLE}",
            found=str(error),
            fix=FIX,
        ) from error
    return CameraFile(_from_keys(file, keys, camera, center))


def write_camera_file(
    file: Path, cameras: list[Camera], *, fps: float, keys: list[Camera] | None = None, loop: bool = False
) -> None:
    """Writes cameras as nerfstudio's ``camera_path.json``, one a frame.

    Args:
        file: Where to.
        cameras: One for each frame; their principal points must lie in the middle, for the format has none.
        fps: Frames a second.
        keys: The key-frames they run through; the first and the last camera where they are left out.
        loop: The path starts again at its end.

    Raises:
        InputError: There are no cameras, or the file cannot be written.
    """
    if not cameras:
        raise InputError(f"{file} was not written", expected="at least one camera", found="none")
    keys = [cameras[0], cameras[-1]] if keys is None else keys
    transition = len(cameras) / fps / max(1, len(keys) - 1)
    content = {
        "camera_type": "perspective",
        "render_height": cameras[0].height,
        "render_width": cameras[0].width,
        "fps": fps,
        "seconds": len(cameras) / fps,
        "is_cycle": loop,
        "smoothness_value": 0.0,
        "default_fov": vertical_fov(cameras[0]),
        "default_transition_sec": transition,
        "keyframes": [
            {"matrix": _to_world(key), "fov": vertical_fov(key), "aspect": key.width / key.height} for key in keys
        ],
        "camera_path": [
            {"camera_to_world": _to_world(c), "fov": vertical_fov(c), "aspect": c.width / c.height} for c in cameras
        ],
    }
    writing(file, lambda path: write_json(path, content))


def path_of(cameras: list[Camera], times: Float[np.ndarray, " K"], center: Float[np.ndarray, " 3"]) -> CameraPath:
    """The path through cameras at `times`; each looks as far as `center` (3,) is away, so that turns stay around it."""
    eyes = np.stack([camera_eye(camera) for camera in cameras])
    axes = np.stack([camera.viewmat[:3, :3] for camera in cameras])
    distance = np.linalg.norm(eyes - center, axis=1).clip(0.05, 10)
    return CameraPath(
        time=np.asarray(times, np.float64),
        eye=eyes,
        target=eyes + axes[:, 2] * distance[:, None],
        up=-axes[:, 1],
        fov=np.array([vertical_fov(camera) for camera in cameras]),
    )


def _to_world(camera: Camera) -> list[float]:
    # FRONT_VIEW turns OpenCV's axes into OpenGL's.
    return (np.linalg.inv(camera.viewmat) @ FRONT_VIEW).ravel().tolist()


def _from_nerfstudio(file: Path, content: _Nerfstudio, center: np.ndarray) -> CameraFile:
    if content.camera_type.lower() != "perspective":
        raise FormatError(
            f"The camera file {file} cannot be used",
            expected="camera_type perspective",
            found=content.camera_type,
            fix="for VR180 give --stereo 180 with a perspective path",
        )
    if content.camera_path:
        rows = [(frame.camera_to_world, frame.fov) for frame in content.camera_path]
        times = np.arange(len(rows)) / content.fps if content.fps > 0 else np.zeros(0)
    else:
        rows = [(key.matrix, key.fov or content.default_fov) for key in content.keyframes]
        waits = [
            key.override_transition_sec
            if key.override_transition_enabled and key.override_transition_sec
            else content.default_transition_sec
            for key in content.keyframes
        ]
        times = np.concatenate([[0.0], np.cumsum(waits[1:])])
    size = None
    if content.render_width is not None and content.render_height is not None:
        size = content.render_width, content.render_height
    usable = rows and len(times) == len(rows) and bool((np.diff(times) > 0).all())
    if not usable or (size and not all(SIDES[0] <= side <= SIDES[1] for side in size)):
        raise FormatError(
            f"The camera file {file} cannot be used",
            expected=f"at least one camera, times that grow and sides of {SIDES[0]} to {SIDES[1]} pixels",
            found=f"{len(rows)} cameras at {content.fps:g} frames/s"
            + (f", {size[0]}x{size[1]} pixels" if size else ""),
            fix=FIX,
        )
    cameras = [_nerfstudio_camera(file, index, *row) for index, row in enumerate(rows)]
    path = path_of(cameras, times, center)
    return CameraFile(CameraPath(path.time, path.eye, path.target, path.up, path.fov, content.is_cycle), size)


def _nerfstudio_camera(file: Path, index: int, matrix: tuple[float, ...], fov: float) -> Camera:
    values = np.array(matrix, np.float64)
    rotation = values.reshape(4, 4)[:3, :3] if values.size == 16 else np.zeros((3, 3))
    length = np.cbrt(np.linalg.det(rotation))
    fits = np.isfinite(values).all() and length > 1e-6 and FOV_RANGE[0] <= fov <= FOV_RANGE[1]
    if not fits or np.abs(rotation @ rotation.T / length**2 - np.eye(3)).max() > 1e-2:
        raise FormatError(
            f"The camera file {file} has a camera that shows nothing",
            expected=f"a rotation and a position in 16 numbers, and a fov of {FOV_TEXT}",
            found=f"camera {index} with {values.size} numbers and fov {fov:g}",
            fix=FIX,
        )
    to_world = values.reshape(4, 4).copy()
    to_world[:3, :3] /= length
    to_world[3] = 0, 0, 0, 1
    viewmat = np.linalg.inv(to_world @ FRONT_VIEW)
    focal = 0.5 / np.tan(np.radians(fov) / 2)
    return Camera(viewmat, np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]), 1, 1)


def _from_keys(file: Path, keys: list[CameraKey], camera: Camera, center: np.ndarray) -> CameraPath:
    keys = sorted(keys, key=lambda key: key.time)
    if not keys:
        raise InputError(
            f"The camera file {file} is empty", expected=f"key-frames such as {EXAMPLE}", found="none", fix=FIX
        )
    for key, after in zip(keys, [*keys[1:], None], strict=True):
        away = np.subtract(key.target or center, key.eye)
        fits = np.isfinite([key.time, *away]).all() and np.hypot(away[0], away[2]) > 1e-6
        fits = fits and (key.focal is None or 0 < key.focal < np.inf)
        if not (fits and (key.fov is None or FOV_RANGE[0] <= key.fov <= FOV_RANGE[1])):
            raise InputError(
                f"The camera file {file} has a key at {key.time:g} s that shows nothing",
                expected=f"a positive focal length, or a fov of {FOV_TEXT}, "
                "and an eye that is not straight above, below or at its target",
                found=f"eye {key.eye}, target {key.target or tuple(float(v) for v in center)}, "
                f"focal {key.focal}, fov {key.fov}",
                fix=FIX,
            )
        if after is not None and after.time == key.time:
            raise InputError(
                f"The camera file {file} has two keys at {key.time:g} s",
                expected="a time of its own for each key",
                found=f"{sum(other.time == key.time for other in keys)} keys",
                fix=FIX,
            )
    focals = [key.focal or camera.K[1, 1] for key in keys]
    fovs = [key.fov or np.degrees(2 * np.arctan(camera.height / 2 / f)) for key, f in zip(keys, focals, strict=True)]
    return CameraPath(
        time=np.array([key.time for key in keys], np.float64),
        eye=np.array([key.eye for key in keys], np.float64),
        target=np.array([key.target or center for key in keys], np.float64),
        up=np.tile([0.0, 1.0, 0.0], (len(keys), 1)),
        fov=np.array(fovs, np.float64),
    )
