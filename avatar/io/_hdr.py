"""From recordings with more range or wider primaries than sRGB to sRGB: phones in HDR mode, wide-gamut cameras.

The light of a recording is in units of diffuse white, 203 cd/m2 (ITU-R BT.2408-7, table 1). What is brighter is brought
under it by the tone curve of ITU-R BT.2390-11 (section 5.4.1, the EETF), for a source of up to 1000 cd/m2, which phones
grade to; it acts on the largest channel and scales the others along, which keeps hues.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, UInt8, UInt16

# AVColorTransferCharacteristic and AVColorPrimaries (ISO/IEC 23091-2).
PQ, HLG = 16, 18
_BT2020, _P3_DCI, _P3_D65 = 9, 11, 12

_WHITE, _PEAK = 203.0, 1000.0  # cd/m2
# SMPTE ST 2084, section 5.
_M1, _M2, _C1, _C2, _C3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
# ITU-R BT.2100-2, table 5, and its system gamma for a display of 1000 cd/m2.
_HLG_A, _HLG_B, _HLG_C, _HLG_GAMMA = 0.17883277, 0.28466892, 0.55991073, 1.2

_LUMA_2020 = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
_LUMA_709 = np.array([[0.2126, 0.7152, 0.0722]], np.float32)
# Linear light to that of BT.709: ITU-R BT.2087-0, equation 4, inverted; SMPTE EG 432-1 (D65) by its chromaticities.
_TO_BT709 = {
    _BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    _P3_D65: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32),
}
_TO_BT709[_P3_DCI] = _TO_BT709[_P3_D65]

# Tables over the square root of light: fine in the dark, where the eye is. Light ends at what PQ can say.
_STEPS = 4096
# Codes are looked up with 12 bits, which small tables hold: two more than recordings have.
_SPARE_BITS = 4
_BRIGHTEST = 1e4 / _WHITE


def needs_mapping(transfer: int, primaries: int) -> bool:
    """Whether pictures with these code points are anything else than what a screen takes for sRGB."""
    return transfer in (PQ, HLG) or primaries in _TO_BT709


def to_srgb(image: UInt16[np.ndarray, "H W 3"], *, transfer: int, primaries: int) -> UInt8[np.ndarray, "H W 3"]:
    """Full-range R'G'B' codes of 16 bits as 8-bit sRGB.

    Args:
        image: (H, W, 3) codes, 65535 for the signal 1.
        transfer: The stream's transfer characteristics; PQ and HLG are tone-mapped, others taken for sRGB's.
        primaries: Its colour primaries; BT.2020 and P3 are converted, others taken for BT.709's.
    """
    light = np.take(_light(transfer), image >> _SPARE_BITS, mode="clip")
    if transfer == HLG:
        # The display's part of the system gamma acts on luminance (BT.2100, table 5, the OOTF).
        luma = cv2.transform(light, _LUMA_2020).clip(1e-9)
        light *= (cv2.pow(luma, _HLG_GAMMA - 1) * np.float32(_PEAK / _WHITE))[..., None]
    if primaries in _TO_BT709:
        light = cv2.transform(light, _TO_BT709[primaries])
    highest = _over_channels(cv2.max, light)
    if transfer in (PQ, HLG):
        scale = np.take(_compression(), _index(highest, _BRIGHTEST), mode="clip")
        light *= scale[..., None]
        highest *= scale
    if primaries in _TO_BT709:
        _bring_into_gamut(light, highest)
    return np.take(_srgb_code(), _index(light, 1.0), mode="clip")


def _over_channels(
    choose: Callable[[np.ndarray, np.ndarray], np.ndarray], light: Float[np.ndarray, "H W 3"]
) -> Float[np.ndarray, "H W"]:
    red, green, blue = cv2.split(light)
    return choose(choose(red, green), blue)


def _index(light: Float[np.ndarray, "*n"], brightest: float) -> UInt16[np.ndarray, "*n"]:
    """Index into the tables: the square root of light, held within the table."""
    root = cv2.sqrt(np.maximum(light, 0))
    root *= np.float32((_STEPS - 1) / brightest**0.5)
    return np.minimum(root, _STEPS - 1, out=root).astype(np.uint16)


def _bring_into_gamut(light: Float[np.ndarray, "H W 3"], highest: Float[np.ndarray, "H W"]) -> None:
    """Moves what BT.709 cannot show towards grey of the same luminance until it can; the rest stays as it is."""
    outside = (_over_channels(cv2.min, light) < 0) | (highest > 1)
    if outside.any():
        colour = light[outside]
        luma = np.clip(colour @ _LUMA_709[0], 0, 1)
        below = luma / np.maximum(luma - colour.min(axis=1), 1e-6)
        above = (1 - luma) / np.maximum(colour.max(axis=1) - luma, 1e-6)
        keep = np.minimum(np.minimum(below, above), 1)
        light[outside] = luma[:, None] + keep[:, None] * (colour - luma[:, None])


@cache
def _light(transfer: int) -> Float[np.ndarray, " 4096"]:
    """Linear light of a code: of the scene in [0, 1] for HLG, else of the display with diffuse white at 1."""
    code = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == PQ:
        return (_from_pq(code) / _WHITE).astype(np.float32)
    if transfer == HLG:
        bright = (np.exp((np.maximum(code, 0.5) - _HLG_C) / _HLG_A) + _HLG_B) / 12
        return np.where(code <= 0.5, code**2 / 3, bright).astype(np.float32)
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _compression() -> Float[np.ndarray, " 4096"]:
    """What to multiply light with, by the table's index of its largest channel: the EETF's output over its input."""
    light = np.linspace(0, 1, _STEPS) ** 2 * _BRIGHTEST
    top = _to_pq(_PEAK)
    signal, target = np.minimum(_to_pq(light * _WHITE) / top, 1), _to_pq(_WHITE) / top
    knee = 1.5 * target - 0.5
    t = (signal - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    mapped = np.where(signal < knee, light, _from_pq(np.clip(spline, 0, 1) * top) / _WHITE)
    return np.divide(mapped, light, out=np.ones_like(light), where=light > 0).astype(np.float32)


@cache
def _srgb_code() -> UInt8[np.ndarray, " 4096"]:
    light = np.linspace(0, 1, _STEPS) ** 2
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * signal).astype(np.uint8)


def _from_pq(signal: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n"]:
    power = np.asarray(signal, np.float64) ** (1 / _M2)
    return 1e4 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _to_pq(nits: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n"]:
    power = (np.asarray(nits, np.float64) / 1e4) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
