"""The viewer's server: one loop that poses the avatar and shows it to every browser."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
import time
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from avatar.cameras import Camera
from avatar.errors import InputError
from avatar.render.playback import PosedAvatar
from avatar.render.shots import head_centers
from avatar.render.trajectories import vertical_fov
from avatar.render.viewer.camera_keys import CameraKeys
from avatar.render.viewer.head_alone import head_alone
from avatar.render.viewer.live import LiveInput
from avatar.render.viewer.pictures import Backdrop, Window, draw_window, window_of
from avatar.render.viewer.puppet import LiveFace, Puppet
from avatar.render.viewer.recorder import Moment, Recorder
from avatar.render.viewer.state import Drawing, ViewerState
from avatar.render.viewer.stream import PictureStream
from avatar.render.viewer.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import viser

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.avatar import StoredAvatar
    from avatar.render.viewer.programme import Programme

RATE = 30.0
# One core is left to the browser, which is often on the same machine.
THREADS = max(1, (os.cpu_count() or 1) - 1)
JPEG_QUALITY = 88
# The panel's own updates, a second: more would be felt in a browser that is busy drawing.
PANEL_RATE = 5.0
# A camera nearer to the head's middle would be inside it, metres.
NEAREST_ORBIT = 0.22
FARTHEST_ORBIT = 5.0
# A program that drives the avatar and is silent for so long has gone.
LIVE_SECONDS = 1.0
# How long a window is taken to be new.
SETTLING_SECONDS = 8.0
# How much of the window a head alone leaves free at first, as a part of its size.
HEAD_ALONE_MARGIN = 0.2
# How much of the recording's width a window shows at least.
LEAST_WIDTH = 0.6


@dataclass(frozen=True)
class ViewerSettings:
    """How a viewer runs.

    Attributes:
        host: Address to listen at; the default can be reached from this machine only.
        port: Port to listen at.
        drawing: ``pictures`` rendered here, or ``splats`` drawn in the browser.
        side: Size of pictures: that of a square of the same area, pixels.
        beside: Show the recording beside the avatar, where there is one.
        playing: Play from the start.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    drawing: Drawing = "pictures"
    side: int = 512
    beside: bool = False
    playing: bool = True


class _Shown(NamedTuple):
    """What a browser has: another one is another picture."""

    stamp: tuple[float, int]
    window: Window
    drawing: Drawing


class Viewer:
    """An avatar in the browser.

    Args:
        stored: The avatar.
        programme: What it plays first.
        settings: How the viewer runs.
        speak: Makes a programme of a sound file; None for an avatar that cannot speak.

    Raises:
        InputError: viser is not installed, or the port is taken.
    """

    def __init__(
        self,
        stored: StoredAvatar,
        programme: Programme,
        settings: ViewerSettings | None = None,
        *,
        speak: Callable[[Path], Programme] | None = None,
    ) -> None:
        settings = ViewerSettings() if settings is None else settings
        self.stored, self.settings, self.speak = stored, settings, speak
        info, gaussians = stored.info, stored.gaussians
        self.home = Camera.front(info.focal, info.width, info.height)
        self.backdrop, self.recorder = Backdrop(stored.plate), Recorder()
        center = head_centers(gaussians, gaussians.poses(programme.motion[:1]))[0]
        self.state = ViewerState(
            programme,
            Timeline(programme.duration),
            Puppet(gaussians, programme.motion),
            CameraKeys(center),
            drawing=settings.drawing,
            beside=settings.beside and programme.take is not None,
            side=settings.side,
        )
        self._casts: dict[bool, GaussianHead] = {False: gaussians}
        self._shown: dict[int, _Shown] = {}
        self._covered: dict[int, bool] = {}
        self._greeted: dict[int, tuple[float, float]] = {}
        self._drawn: list[float] = []
        self.shown = 0
        self._live_time = 0.0
        self._live_input: LiveInput | None = None
        self._splat_stamp: tuple[float, int] | None = None
        self._panel_time = 0.0
        self._stopped = threading.Event()
        self.server = _start_server(settings.host, settings.port)
        self._build()
        if settings.playing:
            self.state.timeline.play(time.perf_counter())

    def _build(self) -> None:
        # Both need viser, which is loaded when a viewer starts.
        from avatar.render.viewer import page
        from avatar.render.viewer.panel import Panel
        from avatar.render.viewer.sound import Sound
        from avatar.render.viewer.splats import Splats

        server = self.server
        server.scene.set_up_direction("+y")
        server.scene.world_axes.visible = False
        server.initial_camera.position, server.initial_camera.look_at = np.zeros(3), self._ahead
        server.initial_camera.up = (0.0, 1.0, 0.0)
        server.initial_camera.fov = float(np.radians(vertical_fov(self.home)))
        self._page, self._stream = page, PictureStream(self.settings.host)
        self.sound, self._splats = Sound(server), Splats(server)
        # The checker takes this module, reached by two names, for two.
        viewer: Any = self
        self.panel = Panel(viewer)
        self.sound.load(self.state.programme.sound)
        server.on_client_disconnect(lambda client: self._forget(client.client_id))

    @property
    def _ahead(self) -> np.ndarray:
        """The point that the recording's camera looks at, as far away as the head: what views turn around."""
        return np.array([0.0, 0.0, self.state.keys.center[2]])

    @cached_property
    def _head_box(self) -> tuple[np.ndarray, float, float]:
        """The middle of the head without its shoulders at the first moment, its width and its height; metres."""
        cast = self.cast(True)
        pose = cast.poses(self.state.programme.motion[:1])[0]
        points = PosedAvatar(cast, pose).points.cpu().numpy()
        low, high = points.min(0), points.max(0)
        width, height, _ = high - low
        return (low + high) / 2, float(width), float(height)

    @property
    def address(self) -> str:
        """Where a browser finds the viewer."""
        host = self.server.get_host()
        return f"http://{'localhost' if host in ('0.0.0.0', '::', '127.0.0.1') else host}:{self.server.get_port()}"

    @property
    def pictures_per_second(self) -> float:
        """How many moments were shown a second, over the last two."""
        drawn = [moment for moment in self._drawn if time.perf_counter() - moment < 2]
        return (len(drawn) - 1) / (drawn[-1] - drawn[0]) if len(drawn) > 1 and drawn[-1] > drawn[0] else 0.0

    def run(self) -> None:
        """Shows the avatar until `stop` is called or the process is interrupted."""
        due = time.perf_counter()
        while not self._stopped.is_set():
            self.step(time.perf_counter())
            due = max(due + 1 / RATE, time.perf_counter() - 1 / RATE)
            self._stopped.wait(max(0.0, due - time.perf_counter()))

    def stop(self) -> None:
        """Closes the server; browsers see that it is gone."""
        self._stopped.set()
        if self._live_input is not None:
            self._live_input.stop()
        self._stream.stop()
        with _quiet():
            self.server.stop()

    def step(self, now: float) -> None:
        """Shows one moment to every browser that does not have it yet."""
        state, clients = self.state, self.server.get_clients()
        if now - self._panel_time > 1 / PANEL_RATE:
            self._panel_time = now
            with state.lock:
                moment = state.timeline.at(now)
                if state.puppet.live is not None and now - self._live_time > LIVE_SECONDS:
                    state.puppet.live, state.live_source = None, ""
                    state.touch()
            self.panel.show_time(moment)
            self.panel.show_source(state.live_source)
            self.panel.show_rate(self.pictures_per_second if clients else 0.0)
        if not clients:
            return
        with state.lock:
            moment = state.timeline.at(now)
            stamp = (moment, state.version)
            programme, drawing, alone = state.programme, state.drawing, state.head_alone
            pose = state.puppet.pose(programme.at(moment))
            flight = self._flown(now)
        for number, client in clients.items():
            self._welcome(number, client, now)
        # A face from outside does not say what is played.
        self.sound.follow(state.timeline, moment, now, muted=state.puppet.live is not None)
        cast = self.cast(alone)
        posed = PosedAvatar(cast, pose, threads=THREADS)
        shown = self._show_splats(posed, stamp, drawing)
        for number, client in clients.items():
            window = _window(client)
            if window is None:
                continue
            if flight is not None:
                window = self._fly(client, window, flight, move=drawing == "splats")
            wanted = _Shown(stamp, window, drawing)
            if drawing == "splats":
                # The background behind splats changes with the window's shape and the choice alone.
                wanted = _Shown((0.0, state.version), window._replace(wxyz=(), position=(), fov=0.0), drawing)
            if self._shown.get(number) == wanted:
                continue
            self._shown[number] = wanted
            self._send(client, posed, window, programme, moment, drawing)
            shown = True
            if self.recorder.client == number:
                heard = state.timeline.playing and self.sound.on and state.puppet.live is None
                seen = Moment(now, cast, pose, window, state.background, programme, moment, state.beside, heard)
                self.recorder.see(seen)
        if shown:
            self.shown += 1
            self._drawn = [*self._drawn[-120:], now]

    def _show_splats(self, posed: PosedAvatar, stamp: tuple[float, int], drawing: Drawing) -> bool:
        if drawing != "splats":
            self._splats.hide()
            self._splat_stamp = None
            return False
        if stamp == self._splat_stamp:
            return False
        self._splat_stamp = stamp
        self._splats.show(posed.world)
        return True

    def _send(
        self,
        client: viser.ClientHandle,
        posed: PosedAvatar,
        window: Window,
        programme: Programme,
        moment: float,
        drawing: Drawing,
    ) -> None:
        state = self.state
        if drawing == "splats":
            width, height = 256, max(16, round(256 / window.aspect))
            behind = self.backdrop.image(state.background, width, height)
            solid = np.broadcast_to(behind, (height, width, 3) if behind.size > 3 else (4, 4, 3))
            picture = (solid * 255 + 0.5).astype(np.uint8)
        else:
            picture = draw_window(
                posed,
                window,
                state.side,
                backdrop=self.backdrop,
                background=state.background,
                beside=state.beside,
                truth=programme.truth(moment) if state.beside else None,
                threads=THREADS,
            )
        number = client.client_id
        covered = drawing == "pictures" and self._stream.is_watched(number)
        if covered:
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            self._stream.show(number, cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes())
        else:
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=JPEG_QUALITY)
        if covered != self._covered.get(number, False):
            self._covered[number] = covered
            self._page.cover(client, covered)
            client.flush()

    def _flown(self, now: float) -> Camera | None:
        """The camera of the path that is being flown, until its end."""
        if self.state.flight is None:
            return None
        path, start = self.state.flight
        if now - start > path.time[-1] - path.time[0] and not path.loop:
            self.state.flight = None
            return None
        return path.cameras(np.array([path.time[0] + now - start]), 2, 2)[0]

    def _fly(self, client: viser.ClientHandle, window: Window, camera: Camera, *, move: bool) -> Window:
        wxyz, position = window_of(camera)
        flown = Window(tuple(wxyz), tuple(position), float(np.radians(vertical_fov(camera))), window.aspect)
        if move:
            with client.atomic():
                client.camera.wxyz, client.camera.position, client.camera.fov = wxyz, position, flown.fov
        return flown

    def cast(self, alone: bool) -> GaussianHead:
        """The Gaussians that are drawn: all of them, or those of the head alone."""
        if alone not in self._casts:
            self._casts[alone] = head_alone(self.stored.gaussians)
        return self._casts[alone]

    def drive(self, face: LiveFace, source: str) -> None:
        """Moves the avatar as another program says, until it has been silent for a moment."""
        state = self.state
        with state.lock:
            state.puppet.live, state.live_source, self._live_time = face, source, time.perf_counter()
            state.touch()

    def listen(self, *, livelink: int | None, websocket: int | None) -> LiveInput:
        """Lets other programs drive the avatar; `stop` ends that too.

        Raises:
            InputError: A port is taken.
        """
        self._live_input = LiveInput(self.settings.host, self.drive, livelink=livelink, websocket=websocket)
        return self._live_input

    def play(self, programme: Programme) -> None:
        """Plays another programme from its start."""
        state = self.state
        with state.lock:
            state.programme = programme
            state.puppet.rest(programme.motion)
            state.beside = state.beside and programme.take is not None
            state.timeline.restart(programme.duration, time.perf_counter())
            state.timeline.play(time.perf_counter())
            state.touch()
        self.sound.load(programme.sound)
        self.panel.show_programme(programme)

    def come_home(self, client: viser.ClientHandle) -> None:
        """Puts a browser's camera where the recording's was, a little further away in an upright window."""
        aspect = client.camera.aspect
        if self.state.beside:
            aspect *= 0.5 if aspect >= 1 else 2.0
        if self.state.head_alone:
            middle, width, height = self._head_box
            half = (1 + HEAD_ALONE_MARGIN) / 2 * max(height, width / aspect) / np.linalg.norm(middle)
        else:
            # Beyond the recording's own picture the avatar ends: only windows too narrow for a head show more.
            narrow = max(1.0, LEAST_WIDTH * self.home.width / self.home.height / aspect)
            middle, half = self._ahead, np.tan(np.radians(vertical_fov(self.home)) / 2) * narrow
        with client.atomic():
            client.camera.position, client.camera.look_at = np.zeros(3), middle
            client.camera.up_direction = np.array([0.0, 1.0, 0.0])
            client.camera.fov = float(2 * np.arctan(half))

    def _welcome(self, number: int, client: viser.ClientHandle, now: float) -> None:
        """Sets up a new browser; one whose window takes its shape only then gets its first view again."""
        aspect = client.camera.image_width / max(1, client.camera.image_height)
        since, known = self._greeted.get(number, (now, 0.0))
        if known == 0.0:
            self._greet(client)
        elif now - since < SETTLING_SECONDS and abs(aspect / known - 1) > 0.05:
            self.come_home(client)
        else:
            return
        self._greeted[number] = (since, max(aspect, 1e-3))

    def _greet(self, client: viser.ClientHandle) -> None:
        client.camera.min_orbit_distance, client.camera.max_orbit_distance = NEAREST_ORBIT, FARTHEST_ORBIT
        self.come_home(client)
        self._page.greet(client)
        self._page.watch(client, self._stream.port, self._stream.open(client.client_id))
        self.sound.greet(client)

    def _forget(self, number: int) -> None:
        self._shown.pop(number, None)
        self._covered.pop(number, None)
        self._greeted.pop(number, None)
        self._stream.close(number)
        if self.recorder.client == number:
            self.recorder.stop()


def _window(client: viser.ClientHandle) -> Window | None:
    """A browser's view; None until it has said it, or while its window has no area."""
    camera = client.camera
    if camera.image_height < 1 or camera.image_width < 1:
        return None
    return Window(tuple(camera.wxyz), tuple(camera.position), camera.fov, camera.image_width / camera.image_height)


def _start_server(host: str, port: int) -> viser.ViserServer:
    try:
        import viser
    except ImportError as error:
        raise InputError(
            "The viewer cannot start",
            expected="viser 1.1 or newer",
            found=str(error),
            fix="pip install 'headsplat[view]'",
        ) from error
    # viser would take the next free port without a word.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"The viewer cannot listen at {host}:{port}",
                expected="a free port of this machine",
                found=getattr(error, "strerror", None) or str(error),
                fix=f"choose another with --port {port + 1 if 0 < port < 65535 else 8080}, or close what uses it",
            ) from error
    # A browser that leaves in the middle of a message is nothing to report.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")
    with _quiet():
        return viser.ViserServer(host=host, port=port, label="Avatar", verbose=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps viser's own banner to itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
