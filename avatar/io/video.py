"""Video files: what is in one, its frames upright and in RGB, and writing one (PyAV, FFmpeg's libraries inside)."""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avatar.errors import FormatError, InputError
from avatar.io._colour import UNKNOWN_MATRICES, Box, to_rgb
from avatar.io._packets import decoded
from avatar.io._video_writer import VideoWriter, check_video_name, frame_count

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

__all__ = [
    "Box",
    "Frame",
    "VideoInfo",
    "VideoWriter",
    "check_video_name",
    "frame_count",
    "open_media",
    "probe",
    "read_frames",
    "video_stream",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width: Width in pixels as displayed: upright, with square pixels.
        height: Height in pixels as displayed.
        fps: Average frames a second, exact.
        duration: Seconds, by the container; 0 where it does not say (a live recording that was never closed).
        frames: Number of frames, an estimate where the container does not count them.
        rotation: Degrees counter-clockwise that the stored picture is turned by to stand upright: 0, 90, 180, 270.
        has_audio: Whether there is a sound track.
        codec: Name of the video codec, such as ``h264``.
    """

    width: int
    height: int
    fps: Fraction
    duration: float
    frames: int
    rotation: int
    has_audio: bool
    codec: str


@dataclass(frozen=True)
class Frame:
    """One decoded picture.

    Attributes:
        time: Seconds since the first picture of the file, which is also the zero of ``read_audio``.
        image: (H, W, 3) upright sRGB.
        index: Number of the picture in the file, from 0.
    """

    time: float
    image: UInt8[np.ndarray, "H W 3"]
    index: int = 0


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Opens a media file; raises InputError where there is no file and FormatError where it is no media."""
    if not path.is_file():
        raise InputError(
            f"{path} cannot be read",
            expected="a video or audio file",
            found="a folder" if path.is_dir() else "no such file",
            fix="check the path",
        )
    try:
        container = av.open(str(path), "r")
    except PermissionError as error:
        raise InputError(f"{path} cannot be read", found="no permission", fix="make the file readable") from error
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path) from error
    with container:
        yield container


def _unreadable(path: Path) -> FormatError:
    expected = "a video or audio file that FFmpeg can open (MP4, MOV, WebM, MKV, WAV …)"
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return FormatError(f"{path} is empty", expected=expected, found="0 bytes", fix="copy or record the file again")
    if head[4:8] == b"ftyp":
        return FormatError(
            f"{path} is cut off",
            expected="an MP4 with its index (the moov box)",
            found=f"{path.stat().st_size} bytes without one: the recording or the copy stopped before its end",
            fix="copy the file again, or record again; a repair tool may rebuild the index",
        )
    text = b"\0" not in head
    return FormatError(
        f"{path} is not a media file",
        expected=expected,
        found="plain text" if text else f"unknown content that begins with {head[:8].hex(' ')}",
        fix="give the recording itself, or convert it with ffmpeg",
    )


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The moving picture of an open file (a cover image does not count); raises FormatError without one."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
    raise FormatError(
        f"{path} has no video", expected="a video track", found=", ".join(kinds) + " only", fix="give a video file"
    )


def probe(path: Path) -> VideoInfo:
    """What is in a video file, by its header and its first picture.

    Raises:
        InputError: The file is missing or unreadable.
        FormatError: It is no video, or not one picture of it can be decoded.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container, path)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        duration = _duration(container, stream)
        count = stream.frames or round(duration * rate)
        has_audio = bool(container.streams.audio)
        codec = stream.codec_context.name
        first = next(decoded(container, stream), None)
        if first is None:
            raise FormatError(
                f"{path} cannot be decoded",
                expected=f"at least one {codec} picture",
                found="none",
                fix="copy the file again, or convert it with ffmpeg",
            )
        _require_known_colours(first, path)
        orientation = orientation_of(first)
        width, height = square_size(first, stream)
        if orientation[0]:
            width, height = height, width
    return VideoInfo(width, height, rate, duration, count, _ROTATIONS.get(orientation, 0), has_audio, codec)


def read_frames(
    path: Path,
    *,
    max_side: int | None = None,
    box: Box | None = None,
    size: tuple[int, int] | None = None,
    wanted: Collection[int] | None = None,
) -> Iterator[Frame]:
    """The pictures of a video in order, one in memory at a time.

    Any container and codec of FFmpeg, any bit depth, matrix, range and transfer; turned upright by the display matrix;
    pixels made square. Times are the real ones, so a variable frame rate is kept. Pictures without a new time are
    dropped: times increase strictly. A damaged or cut-off file yields what can be decoded, and a warning is logged that
    says how much that was.

    Args:
        path: The video file.
        max_side: Shrinks pictures whose longer side exceeds this many pixels, which for large sources costs a
            fraction of the full conversion.
        box: A part of the upright picture, in its pixels; only that is converted, and `max_side` is for naught.
        size: Width and height that `box` is shrunk to; its own when None.
        wanted: Numbers of the pictures that are yielded; the others cost their decoding only, those after the last
            one nothing.

    Raises:
        InputError: The file is missing or unreadable.
        FormatError: It is no video, not one picture of it can be decoded, or its colours are of an unknown kind.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        expected = _duration(container, stream)
        start = last = None
        orientation = (False, False, False)
        final = None if wanted is None else max(wanted, default=0)
        for index, (moment, frame) in enumerate(timed_frames(container, stream)):
            if start is None:
                start = moment
                _require_known_colours(frame, path)
                # Asked of one frame only: PyAV keeps a frame whose side data was read until the garbage collector runs.
                orientation = orientation_of(frame)
            last = moment
            if wanted is None or index in wanted:
                image = _picture(frame, stream, orientation, max_side=max_side, box=box, size=size)
                yield Frame(float(moment - start), image, index)
            if index == final:
                return
        period = _period(stream)
    if start is None or last is None:
        raise FormatError(
            f"{path} cannot be decoded", expected="at least one picture", found="none", fix="copy the file again"
        )
    seen = float(last - start + period)
    if seen < expected - max(1.0, 2 * period):
        logger.warning("%s is damaged or cut off: %.1f of %.1f s could be decoded", path, seen, expected)


def timed_frames(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Fraction, VideoFrame]]:
    """What is decoded from here on, with its seconds by the container; pictures without a new time are dropped."""
    period, last = _period(stream), None
    for frame in decoded(container, stream):
        moment = _moment(frame)
        if moment is None:
            moment = Fraction(0) if last is None else last + period
        if last is None or moment > last:
            last = moment
            yield moment, frame


def _period(stream: VideoStream) -> Fraction:
    return 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))


def _picture(
    frame: VideoFrame,
    stream: VideoStream,
    orientation: Orientation,
    *,
    max_side: int | None,
    box: Box | None,
    size: tuple[int, int] | None,
) -> UInt8[np.ndarray, "H W 3"]:
    """A frame, or a box of it, upright and with square pixels."""
    whole = square_size(frame, stream)
    if box is None:
        return upright(to_rgb(frame, *_fit(whole, max_side)), orientation)
    stored = _stored(box, whole, orientation)
    width, height = (box.width, box.height) if size is None else size
    if orientation[0]:
        width, height = height, width
    if whole == (frame.width, frame.height):
        return upright(to_rgb(frame, width, height, box=stored), orientation)
    part = to_rgb(frame, *whole)[stored.top : stored.top + stored.height, stored.left : stored.left + stored.width]
    return upright(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), orientation)


def _require_known_colours(frame: VideoFrame, path: Path) -> None:
    found = UNKNOWN_MATRICES.get(int(frame.colorspace))
    if found is not None:
        raise FormatError(
            f"The colours of {path} cannot be converted",
            expected="a video in BT.601, BT.709 or BT.2020 colours: SDR, HDR10, HLG",
            found=f"the colour matrix {found}",
            fix="export it as SDR or HDR10, or record with HDR off",
        )


def _moment(frame: VideoFrame) -> Fraction | None:
    stamp = frame.pts if frame.pts is not None else frame.dts
    return None if stamp is None or frame.time_base is None else stamp * frame.time_base


def first_picture_time(container: InputContainer, stream: VideoStream) -> Fraction:
    """Container time in seconds of the first picture that can be decoded; 0 without one."""
    moment = next((_moment(frame) for frame in decoded(container, stream)), None)
    return moment or Fraction(0)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def square_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height of a stored picture with square pixels."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    return max(1, round(frame.width * ratio)) if ratio > 0 else frame.width, frame.height


def _fit(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    if max_side is None or max(size) <= max_side:
        return size
    scale = max_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


# What to do with a stored picture, in this order: swap its axes, mirror it left-right, mirror it upside down.
Orientation = tuple[bool, bool, bool]
_ROTATIONS: dict[Orientation, int] = {
    (False, False, False): 0,
    (True, False, True): 90,
    (False, True, True): 180,
    (True, True, False): 270,
}


def orientation_of(frame: VideoFrame) -> Orientation:
    """Reads the display matrix (ISO/IEC 14496-12, 6.2.2): x' = a x + c y, y' = b x + d y with y downwards."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV lists no side data beside a kind that it does not know, such as the EXIF of pictures, but tells the turn.
        turn = round(frame.rotation / 90) * 90 % 360
        return next(orientation for orientation, degrees in _ROTATIONS.items() if degrees == turn)
    if matrix is None:
        return False, False, False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)


def _stored(box: Box, whole: tuple[int, int], orientation: Orientation) -> Box:
    """Where a box of the upright picture is in the stored one, whose square-pixel size is `whole`."""
    swap, mirror, flip = orientation
    width, height = (whole[1], whole[0]) if swap else whole
    left = width - box.left - box.width if mirror else box.left
    top = height - box.top - box.height if flip else box.top
    return Box(top, left, box.height, box.width) if swap else Box(left, top, box.width, box.height)


def upright(image: Float[np.ndarray, "H W C"], orientation: Orientation) -> Float[np.ndarray, "H2 W2 C"]:
    """A stored picture as it is to be looked at."""
    swap, mirror, flip = orientation
    image = image.swapaxes(0, 1) if swap else image
    image = image[:, ::-1] if mirror else image
    image = image[::-1] if flip else image
    return np.ascontiguousarray(image)
