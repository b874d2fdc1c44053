"""Renders before a background, as bytes, and pictures that fill one."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from avatar.errors import InputError
from avatar.render import _native


def compose(
    image: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W 1"],
    background: Float[np.ndarray, "#H #W 3"],
    *,
    threads: int | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """A premultiplied render before a background in [0, 1], both sRGB, as bytes.

    Args:
        image: Premultiplied colours; what leaves [0, 1] is clamped.
        alpha: In [0, 1].
        background: A picture of the image's size, or one colour (1, 1, 3).
        threads: Threads of the C++ pass that float32 CPU tensors take; all processors when None.

    Raises:
        InputError: The shapes do not fit.
    """
    height, width = image.shape[:2]
    fits = (height, width, 3), (1, 1, 3)
    if tuple(image.shape) != fits[0] or tuple(alpha.shape) != (height, width, 1) or background.shape not in fits:
        raise InputError(
            "the render cannot be shown before this background",
            expected="image (H, W, 3), alpha (H, W, 1) and a background (H, W, 3) or (1, 1, 3)",
            found=f"{tuple(image.shape)}, {tuple(alpha.shape)} and {background.shape}",
        )
    plain = image.device.type == "cpu" and image.dtype == alpha.dtype == torch.float32
    if not (plain and _native.is_installed()):
        behind = torch.as_tensor(background, dtype=image.dtype, device=image.device)
        return ((image + (1 - alpha) * behind).clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
    image, alpha = image.contiguous(), alpha.contiguous()
    behind = np.ascontiguousarray(background, np.float32)
    result = _native.recycled_empty((height, width, 3), torch.uint8)
    _native.load_library().compose(
        image.data_ptr(),
        alpha.data_ptr(),
        behind.ctypes.data,
        behind.size == 3,
        result.data_ptr(),
        height * width,
        threads or _native.default_threads(),
    )
    return result.numpy()


def covering(image: UInt8[np.ndarray, "H W 3"], width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """The middle of an image, as large as fits the shape, at that size."""
    rows, columns = image.shape[:2]
    scale = min(columns / width, rows / height)
    across, down = round(width * scale), round(height * scale)
    left, top = (columns - across) // 2, (rows - down) // 2
    resampling = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return cv2.resize(image[top : top + down, left : left + across], (width, height), interpolation=resampling)
