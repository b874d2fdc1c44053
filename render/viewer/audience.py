"""The browsers that look at a viewer: their windows, their first views, and the way pictures reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.render.trajectories import vertical_fov
from avatar.render.viewer import page
from avatar.render.viewer.pictures import Window, window_of
from avatar.render.viewer.stream import PictureStream

if TYPE_CHECKING:
    from collections.abc import Hashable

    import viser
    from jaxtyping import UInt8

    from avatar.cameras import Camera

JPEG_QUALITY = 88
# A camera nearer to the head's middle would be inside it, metres.
NEAREST_ORBIT = 0.22
FARTHEST_ORBIT = 5.0
# A camera so near to the recording's has not been moved by hand, metres.
UNMOVED = 1e-3


class Audience:
    """Greets browsers, and shows each its pictures.

    Args:
        host: Address that the viewer listens at.
    """

    def __init__(self, host: str) -> None:
        self.stream = PictureStream(host)
        self._shown: dict[int, Hashable] = {}
        self._covered: dict[int, bool] = {}
        self._known: dict[int, float] = {}

    def welcome(self, client: viser.ClientHandle) -> tuple[bool, bool]:
        """Sets up a browser that is new; says whether it was, and whether it needs its first view (again).

        A window may take its shape only after it has opened, when the panel takes its place, and a phone may be turned.
        """
        number, aspect = client.client_id, max(client.camera.image_width / max(1, client.camera.image_height), 1e-3)
        known = self._known.get(number, 0.0)
        new = known == 0.0
        if new:
            client.camera.min_orbit_distance, client.camera.max_orbit_distance = NEAREST_ORBIT, FARTHEST_ORBIT
            page.greet(client)
            page.watch(client, self.stream.port, self.stream.open(number))
        reshaped = not new and abs(aspect / known - 1) > 0.05
        if new or reshaped:
            self._known[number] = aspect
        unmoved = float(np.linalg.norm(client.camera.position)) < UNMOVED
        return new, new or (reshaped and unmoved)

    def lacks(self, client: viser.ClientHandle, picture: Hashable) -> bool:
        """Whether a browser does not have a picture yet, by all that tells it from others; it counts as sent then."""
        if self._shown.get(client.client_id) == picture:
            return False
        self._shown[client.client_id] = picture
        return True

    def send(self, client: viser.ClientHandle, picture: UInt8[np.ndarray, "H W 3"], *, behind: bool) -> None:
        """Shows a browser a picture: in front of its scene, or `behind` what the scene has."""
        number = client.client_id
        covered = not behind and self.stream.is_watched(number)
        if covered:
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            self.stream.show(number, cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes())
        else:
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=JPEG_QUALITY)
        if covered != self.is_covered(number):
            self._covered[number] = covered
            page.cover(client, covered)
            client.flush()

    def is_covered(self, number: int) -> bool:
        """Whether a browser's scene is behind its pictures."""
        return self._covered.get(number, False)

    def forget(self, number: int) -> None:
        """Lets go of a browser that has left."""
        for known in (self._shown, self._covered, self._known):
            known.pop(number, None)
        self.stream.close(number)


def seen_window(client: viser.ClientHandle) -> Window | None:
    """A browser's view; None while its window has no area."""
    camera = client.camera
    if camera.image_height < 1 or camera.image_width < 1:
        return None
    return Window(tuple(camera.wxyz), tuple(camera.position), camera.fov, camera.image_width / camera.image_height)


def place(client: viser.ClientHandle, *, target: np.ndarray, fov: float) -> None:
    """Puts a browser's camera where the recording's was, looking at `target` with a vertical `fov` in radians."""
    with client.atomic():
        client.camera.position, client.camera.look_at = np.zeros(3), target
        client.camera.up_direction = np.array([0.0, 1.0, 0.0])
        client.camera.fov = fov


def fly(client: viser.ClientHandle, window: Window, camera: Camera, *, move: bool) -> Window:
    """A browser's window at a camera; with `move` the browser's own camera goes along."""
    wxyz, position = window_of(camera)
    flown = Window(tuple(wxyz), tuple(position), float(np.radians(vertical_fov(camera))), window.aspect)
    if move:
        with client.atomic():
            client.camera.wxyz, client.camera.position, client.camera.fov = wxyz, position, flown.fov
    return flown
