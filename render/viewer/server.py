"""The viewer: one loop that poses the avatar and shows it to every browser."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.cameras import Camera
from avatar.render.head_alone import head_alone
from avatar.render.playback import PosedAvatar
from avatar.render.shots import head_centers
from avatar.render.trajectories import vertical_fov
from avatar.render.viewer.camera_keys import CameraKeys
from avatar.render.viewer.direction import said_direction
from avatar.render.viewer.listening import address, quiet, start_server
from avatar.render.viewer.live import LiveInput
from avatar.render.viewer.pictures import Backdrop, Window, draw_window
from avatar.render.viewer.puppet import LiveFace, Puppet
from avatar.render.viewer.recorder import Moment, Recorder
from avatar.render.viewer.state import Drawing, ViewerState
from avatar.render.viewer.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import viser
    from jaxtyping import UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.avatar import StoredAvatar
    from avatar.render.viewer.programme import Programme

RATE = 30.0
# One core is left to the browser, which is often on the same machine.
THREADS = max(1, (os.cpu_count() or 1) - 1)
# The panel's own updates, a second: more would be felt in a browser that is busy drawing.
PANEL_RATE = 5.0
# A program that drives the avatar and is silent for so long has gone.
LIVE_SECONDS = 1.0
# How much of the window a head alone leaves free at first, as a part of its size.
HEAD_ALONE_MARGIN = 0.2
# How much of the recording's width a window shows at least.
LEAST_WIDTH = 0.6
NO_GPU = "Without a graphics card a browser is too slow for splats: pictures are shown."
# Pixels across the background behind splats.
BEHIND_SPLATS = 256


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


class Viewer:
    """An avatar in the browser.

    Args:
        stored: The avatar.
        programme: What it plays first.
        settings: How the viewer runs.
        speak: Makes a programme of a sound file or of a text; None for an avatar that cannot speak.

    Raises:
        InputError: viser is not installed, or the port is taken.
    """

    def __init__(
        self,
        stored: StoredAvatar,
        programme: Programme,
        settings: ViewerSettings | None = None,
        *,
        speak: Callable[[Path | str], Programme] | None = None,
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
        self._posed: tuple[tuple[float, int], PosedAvatar] | None = None
        self._drawn: list[float] = []
        self.shown = 0
        self._live_time, self._panel_time = 0.0, 0.0
        self._live_input: LiveInput | None = None
        self._splat_stamp: tuple[float, int] | None = None
        self._stopped = threading.Event()
        self.server = start_server(settings.host, settings.port)
        self._build()
        if settings.playing:
            self.state.timeline.play(time.perf_counter())

    def _build(self) -> None:
        # These need viser, which is there once the server is.
        from avatar.render.viewer import audience
        from avatar.render.viewer.panel import Panel
        from avatar.render.viewer.sound import Sound
        from avatar.render.viewer.splats import Splats

        server = self.server
        server.scene.set_up_direction("+y")
        server.scene.world_axes.visible = False
        server.initial_camera.position, server.initial_camera.look_at = np.zeros(3), self._ahead
        server.initial_camera.up = (0.0, 1.0, 0.0)
        server.initial_camera.fov = float(np.radians(vertical_fov(self.home)))
        self._seats, self.audience = audience, audience.Audience(self.settings.host)
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
        return address(self.server)

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
        self.audience.stream.stop()
        with quiet():
            self.server.stop()

    def step(self, now: float) -> None:
        """Shows one moment to every browser that does not have it yet."""
        state, clients = self.state, self.server.get_clients()
        if now - self._panel_time > 1 / PANEL_RATE:
            self._panel_time = now
            self._tell_panel(now, clients)
        if not clients:
            return
        with state.lock:
            moment = state.timeline.at(now)
            stamp = (moment, state.version)
            programme, drawing = state.programme, state.drawing
            cast = self.cast(state.head_alone)
            if self._posed is None or self._posed[0] != stamp:
                pose = state.puppet.pose(programme.at(moment))
                self._posed = stamp, PosedAvatar(cast, pose, threads=THREADS)
            posed, flight, live = self._posed[1], self._flown(now), state.puppet.live is not None
        for client in clients.values():
            self._welcome(client)
        # A face from outside does not say what is played.
        self.sound.follow(state.timeline, moment, now, muted=live)
        ways = {number: self._way(number, drawing) for number in clients}
        shown = self._show_splats(posed, stamp, wanted="splats" in ways.values())
        for number, client in clients.items():
            way = ways[number]
            window = self._seats.seen_window(client)
            if window is None:
                continue
            if flight is not None:
                window = self._seats.fly(client, window, flight, move=way == "splats")
            heard = state.timeline.playing and self.sound.on and not live
            if self.recorder.client == number:
                seen = (now, cast, posed.pose, window, state.background, programme, moment, state.beside, heard)
                self.recorder.see(Moment(*seen))
            if way == "splats":
                # What is behind splats changes with the window's shape and the choice alone.
                if self.audience.lacks(client, (state.background, window.aspect, way)):
                    self.audience.send(client, self._behind(window), behind=True)
            elif self.audience.lacks(client, (stamp, window, way, self.audience.stream.is_watched(number))):
                picture = draw_window(
                    posed,
                    window,
                    state.side,
                    backdrop=self.backdrop,
                    background=state.background,
                    beside=programme.beside(moment) if state.beside else None,
                    threads=THREADS,
                )
                self.audience.send(client, picture, behind=False)
                shown = True
        if shown:
            self.shown += 1
            self._drawn = [*self._drawn[-120:], now]

    def _tell_panel(self, now: float, clients: dict[int, viser.ClientHandle]) -> None:
        state = self.state
        with state.lock:
            moment = state.timeline.at(now)
            if state.puppet.live is not None and now - self._live_time > LIVE_SECONDS:
                state.puppet.live, state.live_source = None, ""
                state.touch()
        self.panel.show_time(moment)
        self.panel.show_source(state.live_source)
        self.panel.show_rate(self.pictures_per_second if clients else 0.0)
        lacking = any(self._way(number, state.drawing) != state.drawing for number in clients)
        self.panel.show_lack(NO_GPU if lacking else "")
        # The panel is everybody's: where several look, there is no one direction to tell.
        window = self._seats.seen_window(*clients.values()) if len(clients) == 1 else None
        if window is not None and self._posed is not None:
            stored = self.stored
            pose = self._posed[1].pose
            self.panel.show_direction(said_direction(stored.gaussians, pose, window, stored.info.view_cone))

    def _way(self, number: int, chosen: Drawing) -> Drawing:
        """How a browser is shown the avatar: one without a graphics card would draw a picture of splats in a second."""
        return "pictures" if self.audience.stream.lacks_gpu(number) else chosen

    def _show_splats(self, posed: PosedAvatar, stamp: tuple[float, int], *, wanted: bool) -> bool:
        if not wanted:
            self._splats.hide()
            self._splat_stamp = None
            return False
        if stamp == self._splat_stamp:
            return False
        self._splat_stamp = stamp
        self._splats.show(posed.world)
        return True

    def _behind(self, window: Window) -> UInt8[np.ndarray, "H W 3"]:
        """The background alone."""
        width, height = BEHIND_SPLATS, max(16, round(BEHIND_SPLATS / window.aspect))
        colours = self.backdrop.image(self.state.background, width, height)
        return (np.broadcast_to(colours, (height, width, 3)) * 255 + 0.5).astype(np.uint8)

    def _flown(self, now: float) -> Camera | None:
        """The camera of the path that is being flown, until its end."""
        if self.state.flight is None:
            return None
        path, start = self.state.flight
        if now - start > path.time[-1] - path.time[0] and not path.loop:
            self.state.flight = None
            return None
        return path.cameras(np.array([path.time[0] + now - start]), 2, 2)[0]

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
        self._seats.place(client, target=middle, fov=float(2 * np.arctan(half)))

    def _welcome(self, client: viser.ClientHandle) -> None:
        new, unplaced = self.audience.welcome(client)
        if unplaced:
            self.come_home(client)
        if new:
            self.sound.greet(client)

    def _forget(self, number: int) -> None:
        self.audience.forget(number)
        if self.recorder.client == number:
            self.recorder.stop()
            self.panel.show_recording(False)
