"""Sound in the browser, kept with the timeline."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from avatar.render.viewer import page

if TYPE_CHECKING:
    import viser

    from avatar.render.viewer.timeline import Timeline

RATE = 24000
# Sound that is further off is set right: less is not noticed, and setting it can be heard.
TOLERANCE = 0.12
CHECK_SECONDS = 2.0


class Sound:
    """Plays a programme's sound in every browser.

    Args:
        server: The viewer's server.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self.on = True
        self._source = ""
        self._jumps, self._checked, self._muted = -1, 0.0, False

    def load(self, sound: tuple[np.ndarray, int] | None) -> None:
        """Takes another sound, or none."""
        self._source = "" if sound is None else data_url(*sound)
        for client in self._server.get_clients().values():
            self.greet(client)

    def greet(self, client: viser.ClientHandle) -> None:
        """Sends the sound to a browser."""
        page.load_sound(client, self._source)
        self._jumps = -1

    def follow(self, timeline: Timeline, time: float, now: float, *, muted: bool = False) -> None:
        """Sets the sound where the timeline is: at every jump, and every few seconds if it has strayed."""
        jumped = timeline.jumps != self._jumps or muted != self._muted
        self._muted = muted
        if not jumped and not (timeline.playing and now - self._checked > CHECK_SECONDS):
            return
        self._jumps, self._checked = timeline.jumps, now
        tolerance = 0.03 if jumped else TOLERANCE
        for client in self._server.get_clients().values():
            page.sync_sound(client, time, timeline.playing and self.on and not muted, tolerance)

    def switch(self, on: bool) -> None:
        """Turns the sound on or off."""
        self.on, self._jumps = on, -1


def data_url(samples: np.ndarray, rate: int) -> str:
    """Sound as a WAV that a page holds in itself: every browser plays it, and jumps in it, without another request."""
    mono = samples if samples.ndim == 1 else samples.mean(1)
    stream = io.BytesIO()
    soundfile.write(stream, soxr.resample(mono.clip(-1, 1), rate, RATE), RATE, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(stream.getvalue()).decode()
