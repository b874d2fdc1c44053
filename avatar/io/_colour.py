"""From a decoder's pixels to sRGB: matrix, range, and high dynamic range."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

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
# Without these swscale truncates, which darkens every picture by about one code.
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_PQ, _HLG = 16, 18  # AVColorTransferCharacteristic (ISO/IEC 23091-2 TransferCharacteristics)
_BT2020_PRIMARIES = 9
_REFERENCE_WHITE = 203.0  # cd/m2 of diffuse white in HDR (ITU-R BT.2408).

# Linear BT.2020 to linear BT.709 (ITU-R BT.2087-0, equation 4, inverted).
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)


def to_rgb(frame: VideoFrame, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """The frame as 8-bit RGB of the given size.

    The matrix and range are the stream's own; where it names none, BT.709 is assumed from 720 lines on and BT.601
    below, and limited range unless the pixel format says otherwise. PQ and HLG recordings (phones in HDR mode) are
    brought to SDR with diffuse white at white (ITU-R BT.2408) and a soft knee above.
    """
    full = int(frame.color_range) == ColorRange.JPEG or frame.format.name.startswith(("yuvj", "gray", "rgb", "gbr"))
    guess = Colorspace.ITU709 if max(frame.width, frame.height) >= 1280 or frame.height >= 720 else Colorspace.ITU601
    smaller = width * height < frame.width * frame.height
    image = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=_MATRICES.get(int(frame.colorspace), guess),
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=(Interpolation.AREA if smaller else Interpolation.BILINEAR) | EXACT,
    ).to_ndarray()
    transfer = int(frame.color_trc)
    if transfer in (_PQ, _HLG):
        return _hdr_to_sdr(image, transfer=transfer, wide=int(frame.color_primaries) == _BT2020_PRIMARIES)
    return image


@cache
def _linear_light(transfer: int) -> Float[np.ndarray, " 256"]:
    """Display light of an 8-bit code in units of diffuse white: SMPTE ST 2084 (PQ) or ITU-R BT.2100 HLG."""
    code = np.arange(256) / 255
    if transfer == _PQ:
        power = code ** (1 / 78.84375)
        nits = 1e4 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
        return (nits / _REFERENCE_WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    # The OOTF of a 1000 cd/m2 display with system gamma 1.2, taken per channel.
    return (1000 * scene**1.2 / _REFERENCE_WHITE).astype(np.float32)


@cache
def _display_code() -> UInt8[np.ndarray, " 4096"]:
    """SRGB code of linear light in [0, 4] in steps of 4/4095 of its square root, with a knee from 0.8 on."""
    light = (np.linspace(0, 2, 4096)) ** 2
    knee = np.where(light > 0.8, 0.8 + 0.2 * (1 - np.exp(-(light - 0.8) / 0.8)), light)
    srgb = np.where(knee <= 0.0031308, 12.92 * knee, 1.055 * knee ** (1 / 2.4) - 0.055)
    return np.round(255 * srgb).astype(np.uint8)


def _hdr_to_sdr(image: UInt8[np.ndarray, "H W 3"], *, transfer: int, wide: bool) -> UInt8[np.ndarray, "H W 3"]:
    light = _linear_light(transfer)[image]
    if wide:
        light = cv2.transform(light, _BT2020_TO_BT709)
    steps = np.sqrt(np.clip(light, 0, 4)) * (4095 / 2)
    return _display_code()[steps.astype(np.uint16)]
