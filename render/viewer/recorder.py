"""What was seen, as a video: rendered again after it was seen, with every picture in its place."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.errors import InputError
from avatar.io.video import VideoWriter
from avatar.render.playback import PosedAvatar
from avatar.render.viewer.pictures import draw_window, picture_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.render.viewer.pictures import Backdrop, Window
    from avatar.render.viewer.programme import Programme

LONGEST_SECONDS = 600.0
# Sound that was further off than this belongs to another piece of the timeline.
SEAM = 0.15


class Moment(NamedTuple):
    """One moment as it was seen: the avatar, from where, before what, at which time of which programme."""

    now: float
    gaussians: GaussianHead
    pose: Pose
    window: Window
    background: str
    programme: Programme
    time: float
    beside: bool
    heard: bool


@dataclass
class Recorder:
    """Keeps what one browser sees.

    Attributes:
        moments: What was seen so far.
        client: The browser that is followed; None while nothing is recorded.
    """

    moments: list[Moment] = field(default_factory=list)
    client: int | None = None

    def start(self, client: int) -> None:
        """Begins with nothing."""
        self.moments, self.client = [], client

    def see(self, moment: Moment) -> None:
        """Keeps a moment, up to `LONGEST_SECONDS`."""
        if not self.moments or moment.now - self.moments[0].now < LONGEST_SECONDS:
            self.moments.append(moment)

    def stop(self) -> list[Moment]:
        """Ends, and gives what was seen."""
        seen, self.moments, self.client = self.moments, [], None
        return seen


def video_of(
    moments: list[Moment],
    *,
    side: int,
    fps: Fraction,
    backdrop: Backdrop,
    progress: Callable[[float], None] | None = None,
) -> bytes:
    """An MP4 of moments, at an even rate, with the first one's sound; the window keeps the shape it had first.

    Raises:
        InputError: Nothing was seen.
    """
    if not moments:
        raise InputError(
            "Nothing was recorded",
            expected="at least one picture",
            found="none",
            fix="start again, and stop after a moment",
        )
    start = moments[0].now
    count = max(1, round((moments[-1].now - start) * fps))
    times = np.array([moment.now - start for moment in moments])
    aspect = moments[0].window.aspect
    width, height = picture_size(side, aspect)
    sound = moments[0].programme.sound
    heard = None if sound is None else sound_of(moments, sound, count / float(fps))
    audio = None if sound is None or heard is None else (heard, sound[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.mp4"
        with VideoWriter(path, fps=fps, width=width, height=height, audio=audio) as video:
            for index in range(count):
                moment = moments[max(0, int(np.searchsorted(times, index / float(fps), side="right")) - 1)]
                video.write(picture_of(moment, side, backdrop=backdrop, aspect=aspect))
                if progress:
                    progress((index + 1) / count)
        return path.read_bytes()


def picture_of(moment: Moment, side: int, *, backdrop: Backdrop, aspect: float | None = None) -> np.ndarray:
    """A moment drawn again, in the shape of its window or in another."""
    window = moment.window if aspect is None else moment.window._replace(aspect=aspect)
    return draw_window(
        PosedAvatar(moment.gaussians, moment.pose),
        window,
        side,
        backdrop=backdrop,
        background=moment.background,
        beside=moment.programme.beside(moment.time) if moment.beside else None,
    )


def sound_of(moments: list[Moment], sound: tuple[np.ndarray, int], seconds: float) -> np.ndarray | None:
    """The sound that went with moments, in whole pieces; None where nothing was heard."""
    samples, rate = sound
    result = np.zeros((round(seconds * rate), *samples.shape[1:]), np.float32)
    start, piece, any_heard = moments[0].now, None, False
    for moment, after in zip(moments, [*moments[1:], None], strict=True):
        if not moment.heard:
            piece = None
            continue
        if piece is None or abs(moment.time - moment.now - piece) > SEAM:
            piece = moment.time - moment.now
        first = round((moment.now - start) * rate)
        last = len(result) if after is None else round((after.now - start) * rate)
        source = round((moment.now + piece) * rate) + np.arange(last - first)
        inside = (source >= 0) & (source < len(samples)) & (first + np.arange(last - first) < len(result))
        result[first + np.flatnonzero(inside)] = samples[source[inside]]
        any_heard = True
    return result if any_heard else None
