"""A clip's pictures in any order or at any times, at a memory that does not grow with the clip."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from avatar.errors import FormatError
from avatar.io._colour import to_rgb
from avatar.io.video import open_media, orientation_of, square_size, timed_frames, upright, video_stream
from avatar.motion import bounced

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from jaxtyping import Float, Int, UInt8

# Backwards a clip is shown in stretches: each is decoded forwards, and held as the decoder stores it.
STRETCH_BYTES = 256 * 2**20
# Decoding may begin at so many key-frames before a picture until it begins at the first one.
TRIED = 2
# Containers round a picture's time to this, seconds: Matroska and WebM count milliseconds.
ROUNDING = 1e-3


def picture_times(path: Path, until: float) -> Float[np.ndarray, " N"]:
    """Seconds of a video's pictures since its first one, up to the first that comes at `until` or later.

    Raises:
        InputError: The file is missing or unreadable.
        FormatError: It is no video, or not one picture of it can be decoded.
    """
    path, start, times = Path(path), Fraction(0), []
    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        for moment, _ in timed_frames(container, stream):
            start = start if times else moment
            times.append(float(moment - start))
            if times[-1] >= until:
                break
    if not times:
        raise _nothing_in(path)
    return np.array(times)


def numbers_at(
    times: Float[np.ndarray, " N"], moments: Float[np.ndarray, " M"], *, hold: bool = False
) -> Int[np.ndarray, " M"]:
    """Which of a video's pictures are shown at moments, each from its own time on until the next one's.

    Beyond its last picture a video goes back and forth, slower where it turns around, or that picture is held.

    Args:
        times: Of its pictures, seconds from 0 on, rising.
        moments: Seconds from 0 on, rising.
        hold: Whether the last picture is held.
    """
    places = moments if hold or times[-1] <= 0 else bounced(moments, float(times[-1]))
    return np.searchsorted(times - ROUNDING, places, side="right") - 1


def pictures_at(
    path: Path, numbers: Int[np.ndarray, " N"], *, cover: tuple[int, int] | None = None
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The upright sRGB pictures of a video with these numbers, counted as `read_frames` does, one after the other.

    Forwards each is decoded once, backwards from the key-frame before each stretch of them; where a file cannot be
    entered there, from its beginning. Where a damaged file lacks a picture comes the next one, or the last there is.

    Args:
        path: The video file.
        numbers: Of the pictures.
        cover: Width and height that a picture has to cover: larger ones are shrunk as far as they still do, which of
            large footage costs a fraction of the full conversion.

    Raises:
        InputError: The file is missing or unreadable.
        FormatError: It is no video, or not one picture of it can be decoded.
    """
    clip = _Clip(Path(path), cover)
    for run in _runs(numbers):
        if run[0] <= run[-1]:
            yield from map(clip.picture, clip.frames_at(run))
            continue
        for start in range(0, len(run), clip.stretch):
            frames = list(clip.frames_at(run[start : start + clip.stretch][::-1]))
            while frames:
                yield clip.picture(frames.pop())


def _runs(numbers: Int[np.ndarray, " N"]) -> Iterator[Int[np.ndarray, " M"]]:
    """The numbers cut where they turn around, into parts that nowhere fall or nowhere rise."""
    steps = np.sign(np.diff(numbers))
    moving = np.flatnonzero(steps)
    turns = [after + 1 for before, after in pairwise(moving) if steps[before] != steps[after]]
    yield from (run for run in np.split(numbers, turns) if len(run))


def _nothing_in(path: Path) -> FormatError:
    return FormatError(f"{path} cannot be decoded", expected="at least one picture", found="none")


def _covering_size(size: tuple[int, int], cover: tuple[int, int]) -> tuple[int, int]:
    """The smallest width and height of the same shape, or these themselves, that are no less than `cover`."""
    scale = max(least / side for side, least in zip(size, cover, strict=True))
    if scale >= 1:
        return size
    return max(cover[0], round(size[0] * scale)), max(cover[1], round(size[1] * scale))


class _Clip:
    """A video file that is decoded from any picture on.

    Attributes:
        path: The file.
        stretch: How many of its pictures are held at a time.
    """

    def __init__(self, path: Path, cover: tuple[int, int] | None = None) -> None:
        self.path = path
        # Of the pictures decoded so far: their seconds, the numbers of those, and which are key-frames.
        self._moments: list[Fraction] = []
        self._numbers: dict[Fraction, int] = {}
        self._keys: list[int] = []
        # Whether the file itself says when each is shown: a time that was counted says nothing after a jump.
        self._timed = True
        with open_media(path) as container:
            stream = video_stream(container, path)
            first = next(timed_frames(container, stream), None)
            if first is None:
                raise _nothing_in(path)
            frame = first[1]
            self._size, self._orientation = square_size(frame, stream), orientation_of(frame)
            if cover is not None:
                width, height = cover
                self._size = _covering_size(self._size, (height, width) if self._orientation[0] else cover)
            self.stretch = max(1, STRETCH_BYTES // sum(plane.buffer_size for plane in frame.planes))

    def picture(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """A decoded frame as it is looked at."""
        return upright(to_rgb(frame, *self._size), self._orientation)

    def frames_at(self, numbers: Int[np.ndarray, " N"]) -> Iterator[VideoFrame]:
        """The frames of numbers that nowhere fall, decoded once."""
        place, last = 0, None
        for number, frame in self._frames_from(int(numbers[0])):
            last = frame
            while place < len(numbers) and numbers[place] <= number:
                yield frame
                place += 1
            if place == len(numbers):
                return
        for _ in range(place, len(numbers)):
            assert last is not None
            yield last

    def _frames_from(self, number: int) -> Iterator[tuple[int, VideoFrame]]:
        """Numbers and frames from a key-frame before a number on."""
        keys = [key for key in self._keys if 0 < key <= number][-TRIED:] if self._timed else []
        for key in (*keys[::-1], 0):
            with open_media(self.path) as container:
                stream = video_stream(container, self.path)
                stream.thread_type = "AUTO"
                frames = self._entered(container, stream, key)
                first = next(frames, None)
                if first is None or (key and first[0] > number):
                    continue
                yield first
                yield from frames
                return

    def _entered(self, container: InputContainer, stream: VideoStream, key: int) -> Iterator[tuple[int, VideoFrame]]:
        """Numbers and frames after a jump to a key-frame; frames that were not there before are left out."""
        if key:
            assert stream.time_base is not None
            try:
                container.seek(round(self._moments[key] / stream.time_base), stream=stream)
            except av.FFmpegError:
                return
        for index, (moment, frame) in enumerate(timed_frames(container, stream)):
            number = self._numbers.get(moment) if key else min(index, len(self._moments))
            if number is None and moment > self._moments[-1]:
                number = len(self._moments)
            if number is None:
                continue
            if number == len(self._moments):
                self._note(moment, frame)
            yield number, frame

    def _note(self, moment: Fraction, frame: VideoFrame) -> None:
        self._timed = self._timed and frame.pts is not None
        if frame.key_frame:
            self._keys.append(len(self._moments))
        self._numbers[moment] = len(self._moments)
        self._moments.append(moment)
