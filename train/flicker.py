"""Temporal quality: what changes from frame to frame that motion does not explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8


class MotionCompensation:
    """Dense optical flow (DIS; Kroeger et al. 2016) from one frame back to the one before."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(
        self, previous: UInt8[np.ndarray, "H W 3"], current: UInt8[np.ndarray, "H W 3"]
    ) -> Float[np.ndarray, "H W 2"]:
        """Where each pixel of the current frame lay in the previous one: columns and rows, pixels."""
        gray = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (current, previous)]
        flow = self._flow.calc(gray[0], gray[1], np.zeros((*gray[0].shape, 2), np.float32))
        rows, columns = np.indices(gray[0].shape, np.float32)
        return flow + np.stack([columns, rows], axis=-1)


def temporal_residual(
    previous: UInt8[np.ndarray, "H W 3"],
    current: UInt8[np.ndarray, "H W 3"],
    origin: Float[np.ndarray, "H W 2"],
    region: Bool[np.ndarray, "H W"],
) -> float:
    """Mean absolute change (colours in [0, 1]) within a region once the previous frame was moved onto the current one.

    Args:
        previous: The frame before.
        current: The frame.
        origin: Where each of its pixels lay in the frame before, as `MotionCompensation` finds it.
        region: The pixels that count.
    """
    moved = cv2.remap(previous, origin, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return float(np.abs(current.astype(np.int16) - moved)[region].mean()) / 255
