"""Pictures as a browser shows them: its camera, its shape of window, the background, the truth beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.cameras import Camera, intrinsics
from avatar.render.compose import compose, covering
from avatar.render.playback import background_image

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from avatar.render.playback import PosedAvatar

# Narrower and wider windows than these are shown in part.
ASPECTS = (0.3, 4.0)


class Window(NamedTuple):
    """A browser's view.

    Attributes:
        wxyz: Camera-to-world rotation of a camera with OpenCV axes.
        position: Where it stands, metres.
        fov: Vertical field of view, radians.
        aspect: Width over height of the window.
    """

    wxyz: tuple[float, ...]
    position: tuple[float, ...]
    fov: float
    aspect: float

    def camera(self, width: int, height: int) -> Camera:
        """The view as a picture of that size."""
        w, x, y, z = self.wxyz
        rotation = Rotation.from_quat([x, y, z, w]).as_matrix().T
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ np.asarray(self.position)
        return Camera(viewmat, intrinsics(height / 2 / np.tan(self.fov / 2), width, height), width, height)


class Beside(NamedTuple):
    """What stands beside the avatar.

    Attributes:
        picture: The recording; None where nothing is known of that moment.
        fov: The recording's vertical field of view, radians.
    """

    picture: UInt8[np.ndarray, "H W 3"] | None
    fov: float


def window_of(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (wxyz, camera-to-world) and position of a camera, as a browser takes them."""
    x, y, z, w = Rotation.from_matrix(camera.viewmat[:3, :3].T).as_quat()
    return np.array([w, x, y, z]), -camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]


def picture_size(side: int, aspect: float) -> tuple[int, int]:
    """Width and height of a picture of `side` x `side` pixels' area in the window's shape, both even."""
    shape = float(np.clip(aspect, *ASPECTS)) ** 0.5
    return max(16, round(side * shape / 2) * 2), max(16, round(side / shape / 2) * 2)


class Backdrop:
    """Backgrounds of any size, kept while the size and the choice stay.

    Args:
        plate: The recording's own background.
    """

    def __init__(self, plate: UInt8[np.ndarray, "H W 3"]) -> None:
        self._plate = plate
        self._kept: dict[tuple[str, int, int], np.ndarray] = {}

    def image(self, name: str, width: int, height: int) -> Float[np.ndarray, "#H #W 3"]:
        """A background of `background_image`; the plate covers the picture and keeps its shape."""
        key = (name, width, height)
        if key not in self._kept:
            if len(self._kept) > 16:
                self._kept.clear()
            if name == "plate":
                self._kept[key] = covering(self._plate, width, height).astype(np.float32) / 255
            else:
                colour = background_image(name, self._plate, Camera(np.eye(4), np.eye(3), width, height))
                assert colour is not None
                self._kept[key] = colour
        return self._kept[key]


def scaled(
    image: UInt8[np.ndarray, "H W 3"], width: int, height: int, behind: Float[np.ndarray, "#H #W 3"], *, scale: float
) -> UInt8[np.ndarray, "h w 3"]:
    """The middle of an image in the middle of a colour, at a scale between that of the whole and of a full picture."""
    rows, columns = image.shape[:2]
    scale = float(np.clip(scale, min(width / columns, height / rows), max(width / columns, height / rows)))
    across, down = min(width, max(1, round(columns * scale))), min(height, max(1, round(rows * scale)))
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = (behind.reshape(-1, 3).mean(0) * 255 + 0.5).astype(np.uint8)
    left, top = (width - across) // 2, (height - down) // 2
    canvas[top : top + down, left : left + across] = covering(image, across, down)
    return canvas


def draw_window(
    posed: PosedAvatar,
    window: Window,
    side: int,
    *,
    backdrop: Backdrop,
    background: str,
    beside: Beside | None = None,
    threads: int | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """What a browser sees.

    Args:
        posed: The avatar at its moment.
        window: Where from.
        side: The picture has the area of a square of that side, pixels.
        backdrop: Where backgrounds come from.
        background: Which one.
        beside: The recording, in half of the window: the left one, or the upper one where the window is upright. It is
            as large as the avatar, as far as the half is filled.
        threads: Threads of the rasteriser; all processors when None.
    """
    width, height = picture_size(side, window.aspect)
    upright = window.aspect < 1
    if beside:
        width, height = (width, height // 2) if upright else (width // 2, height)
    drawn = posed.draw(window.camera(width, height))
    behind = backdrop.image(background, width, height)
    picture = compose(drawn.image, drawn.alpha, behind, threads=threads)
    if beside is None:
        return picture
    if beside.picture is None:
        shown = np.full_like(picture, 128)
    else:
        scale = height / len(beside.picture) * np.tan(beside.fov / 2) / np.tan(window.fov / 2)
        shown = scaled(beside.picture, width, height, behind, scale=float(scale))
    return np.concatenate([shown, picture], axis=0 if upright else 1)
