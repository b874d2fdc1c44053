"""What a capture report's page shows of the recording itself: thumbnails, and a piece of the tracked video."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.io.video import VideoWriter, read_frames
from avatar.reporting import gallery, video
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from avatar.io.take import Take

OVERLAY = "tracking.mp4"
THUMBNAILS, THUMBNAIL_SIDE = 8, 200
# What of the tracked video is inside the page: enough to judge it, small enough to be mailed.
EXCERPT_SECONDS, EXCERPT_SIDE, EXCERPT_CRF = 10.0, 320, 30


def thumbnails(take: Take) -> str:
    """Used frames spread over the clip, each with its time."""
    used = np.flatnonzero(take.used)
    chosen = evenly_spread(used, THUMBNAILS)
    time = take.times
    return gallery((_small(take.image(int(index)), THUMBNAIL_SIDE), _clock(float(time[index]))) for index in chosen)


def _small(image: np.ndarray, side: int) -> np.ndarray:
    factor = min(1.0, side / max(image.shape[:2]))
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 10), 600)
    return f"{minutes}:{rest / 10:04.1f}"


def excerpt(take: Take, error: np.ndarray) -> str:
    """A small copy of the tracked video around its worst frame, and a link to the whole of it."""
    time = take.times
    worst = float(time[int(np.nanargmax(error))]) if np.isfinite(error).any() else 0.0
    start = float(np.clip(worst - EXCERPT_SECONDS / 2, 0, max(float(time[-1]) - EXCERPT_SECONDS, 0)))
    rate = Fraction(*take.info.fps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "excerpt.mp4"
        # The overlay has a frame for every row of the take, at the average rate.
        first, last = np.searchsorted(time, [start, start + EXCERPT_SECONDS])
        with VideoWriter(path, fps=rate, width=EXCERPT_SIDE, height=EXCERPT_SIDE, crf=EXCERPT_CRF) as writer:
            for index, frame in enumerate(read_frames(take.path / OVERLAY)):
                if index >= last:
                    break
                if index >= first:
                    writer.write(cv2.resize(frame.image, (EXCERPT_SIDE, EXCERPT_SIDE), interpolation=cv2.INTER_AREA))
        data = path.read_bytes()
    stop = min(start + EXCERPT_SECONDS, float(time[-1]))
    caption = f"The tracked head over the picture, {_clock(start)} to {_clock(stop)}"
    whole = f'<p class=note>The whole clip, in the folder of this page: <a href="{OVERLAY}">{OVERLAY}</a></p>'
    return video(data, caption) + whole
