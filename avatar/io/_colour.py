"""From a decoder's pixels to sRGB: matrix, range, a part of the picture, and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from avatar.io._hdr import needs_mapping, to_srgb

if TYPE_CHECKING:
    from av.video.plane import VideoPlane
    from jaxtyping import UInt8

# AVColorSpace (ISO/IEC 23091-2 MatrixCoefficients) to swscale's matrices; the rest is guessed from the size.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
# Matrices that swscale does not have, by their names.
UNKNOWN_MATRICES = {13: "chroma-derived constant luminance", 14: "ICtCp", 15: "IPT-C2, of Dolby Vision profile 5"}
# Without these swscale truncates, which darkens every picture by about one code.
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Planes of 16 bits: with packed ones ("rgb48le") swscale 9 mixes the channels of 4:2:0 pictures.
_DEEP = "gbrp16le"
# Chroma of a part's border is made from its neighbours, and of two rows and columns there is one chroma sample.
_MARGIN, _ALIGNMENT = 8, 8


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def to_rgb(
    frame: VideoFrame, width: int, height: int, *, box: Box | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame, or a part of it, as 8-bit sRGB of the given size.

    The matrix and range are the stream's own; where it names none, BT.709 is assumed from 720 lines on and BT.601
    below, and limited range unless the pixel format says otherwise. Recordings with high dynamic range or wide
    primaries are converted as `avatar.io._hdr` says.

    Args:
        frame: A decoded picture.
        width: Width of the result.
        height: Height of the result.
        box: The part that is wanted, in stored pixels; nothing else is converted.
    """
    guess = Colorspace.ITU709 if max(frame.width, frame.height) >= 1280 or frame.height >= 720 else Colorspace.ITU601
    full = int(frame.color_range) == ColorRange.JPEG or frame.format.name.startswith(("yuvj", "gray", "rgb", "gbr"))
    transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
    matrix = _MATRICES.get(int(frame.colorspace), guess)
    mapped = needs_mapping(transfer, primaries)
    inner = None
    if box is not None:
        frame, inner = _part(frame, box)
    # A part is converted at its own size, with its margin, and then cut and shrunk.
    size = (width, height) if inner is None else (frame.width, frame.height)
    smaller = size[0] * size[1] < frame.width * frame.height
    image = frame.reformat(
        width=size[0],
        height=size[1],
        format=_DEEP if mapped else "rgb24",
        src_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=(Interpolation.AREA if smaller else Interpolation.BILINEAR) | EXACT,
    ).to_ndarray()
    if inner is not None:
        image = image[inner.top : inner.top + inner.height, inner.left : inner.left + inner.width]
        if (width, height) != (inner.width, inner.height):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return to_srgb(image, transfer=transfer, primaries=primaries) if mapped else image


def _part(frame: VideoFrame, box: Box) -> tuple[VideoFrame, Box]:
    """A copy of the surroundings of a box, and where in it the box is; the whole frame where its planes are mixed."""
    components = frame.format.components
    if len({component.plane for component in components}) != len(components):
        return frame, box
    left, top = (max(0, start - _MARGIN) // _ALIGNMENT * _ALIGNMENT for start in (box.left, box.top))
    right, bottom = (
        min(end, -(-(stop + _MARGIN) // _ALIGNMENT) * _ALIGNMENT)
        for stop, end in ((box.left + box.width, frame.width), (box.top + box.height, frame.height))
    )
    part = VideoFrame(right - left, bottom - top, frame.format.name)
    for component in components:
        source, target = frame.planes[component.plane], part.planes[component.plane]
        across, down = round(frame.width / source.width), round(frame.height / source.height)
        size = (component.bits + 7) // 8
        rows = _bytes(source)
        start, length = left // across * size, target.width * size
        copy = _bytes(target)
        copy[: target.height, :length] = rows[top // down : top // down + target.height, start : start + length]
    return part, Box(box.left - left, box.top - top, box.width, box.height)


def _bytes(plane: VideoPlane) -> UInt8[np.ndarray, "rows line_size"]:
    """The memory of a plane, padding included."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # pyright: ignore[reportArgumentType, reportCallIssue]
