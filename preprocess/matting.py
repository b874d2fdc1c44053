"""Soft person masks of video frames: MediaPipe's selfie segmenter, refined along the edges of the picture."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.errors import InputError
from avatar.models import fetch
from avatar.preprocess._lite import LiteModel, load_lite

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# Model card "MediaPipe Selfie Segmentation", general model: RGB in [0, 1], one channel of probability.
SIZE = 256


class PersonSegmenter:
    """Tells the person from the background, frame by frame; may be called from several threads at once.

    Args:
        model: The tflite file; the registry's ``selfie_segmenter`` when None.
        refine: Whether to pull the mask's edge onto the picture's; plain bilinear enlargement otherwise.
        threads: CPU threads of the model.

    Raises:
        PartError: The model is not cached and cannot be fetched.
        FormatError: `model` is not a selfie segmenter.
    """

    def __init__(self, model: Path | None = None, *, refine: bool = True, threads: int = 1) -> None:
        path = fetch("selfie_segmenter") if model is None else model
        self._content, self._threads, self._refine = path.read_bytes(), threads, refine
        self._local = threading.local()
        # A file that is no segmenter is refused here rather than at the first frame.
        self._model()

    def _model(self) -> LiteModel:
        """The calling thread's own interpreter, since one serves one caller at a time."""
        if not hasattr(self._local, "model"):
            self._local.model = load_lite(self._content, (1, SIZE, SIZE, 3), threads=self._threads)
        return self._local.model

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
        """Coverage in [0, 1] of the person in each pixel of an RGB frame.

        Raises:
            InputError: `image` is not (H, W, 3) uint8.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(
                "The frame cannot be used", expected="RGB uint8 (H, W, 3)", found=f"{image.dtype} {image.shape}"
            )
        height, width = image.shape[:2]
        method = cv2.INTER_AREA if min(height, width) > SIZE else cv2.INTER_LINEAR
        small = cv2.resize(image, (SIZE, SIZE), interpolation=method).astype(np.float32) / 255
        coarse = self._model()(small)[0].reshape(SIZE, SIZE)
        if not self._refine:
            return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
        return refine_mask(image, coarse)


def refine_mask(
    image: UInt8[np.ndarray, "H W 3"],
    coarse: Float[np.ndarray, "h w"],
    *,
    size: int = 128,
    radius: int = 3,
    epsilon: float = 1e-3,
    reach: int = 2,
    contrast: float = 1.5,
) -> Float[np.ndarray, "H W"]:
    """Enlarges a mask so that its edge follows the picture's: a colour guided filter.

    In each window the mask is explained as a linear function of colour, at a low resolution; the coefficients are
    enlarged and applied to the full picture (He and Sun 2015, Fast Guided Filter, arXiv:1505.00996; He et al. 2013,
    Guided Image Filtering, equations 14 to 16).

    Args:
        image: RGB frame.
        coarse: Mask in [0, 1], of any size.
        size: Resolution of the coefficients.
        radius: Half the window, in pixels of `size`.
        epsilon: Regulariser: variance of colour (in [0, 1]) below which a window counts as flat.
        reach: How far the edge may move, in the coarse mask's pixels; keeps the background's own texture out.
        contrast: Slope around one half, which undoes the filter's own blur; 1 leaves it.

    Returns:
        The mask at the frame's size, in [0, 1].
    """
    height, width = image.shape[:2]
    guide = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    target = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_AREA)
    slope, offset = _local_fit(guide, target, radius, epsilon)
    # The contrast is applied to the few coefficients, and one buffer serves for everything of full size: fresh memory
    # for each step would cost more than the arithmetic.
    alpha = cv2.resize(offset * contrast + (0.5 - 0.5 * contrast), (width, height), interpolation=cv2.INTER_LINEAR)
    plane = np.empty_like(alpha)
    for channel, coefficient in enumerate(cv2.split(slope * (contrast / 255))):
        cv2.resize(coefficient, (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
        cv2.multiply(plane, cv2.extractChannel(image, channel), dst=plane, dtype=cv2.CV_32F)
        cv2.add(alpha, plane, dst=alpha)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    for bound, clip in ((cv2.erode(coarse, kernel), cv2.max), (cv2.dilate(coarse, kernel), cv2.min)):
        cv2.resize(bound, (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
        clip(alpha, plane, dst=alpha)
    return np.clip(alpha, 0, 1, out=alpha)


def _local_fit(
    guide: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w"], radius: int, epsilon: float
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Slope and offset of the regularised linear fit of `target` to colour around each pixel, averaged over windows."""
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, window, borderType=cv2.BORDER_REFLECT)

    red, green, blue = cv2.split(guide)
    colour, level = mean(guide), mean(target)
    variance = mean(guide * guide) - colour * colour + np.float32(epsilon)
    products = mean(cv2.merge([red * green, red * blue, green * blue]))
    rr, gg, bb = cv2.split(variance)
    mean_red, mean_green, mean_blue = cv2.split(colour)
    rg, rb, gb = cv2.split(products)
    rg, rb, gb = rg - mean_red * mean_green, rb - mean_red * mean_blue, gb - mean_green * mean_blue
    x, y, z = cv2.split(mean(guide * target[..., None]) - colour * level[..., None])
    # Cramer's rule on the symmetric 3x3 system of every pixel.
    c_rr, c_gg, c_bb = gg * bb - gb * gb, rr * bb - rb * rb, rr * gg - rg * rg
    c_rg, c_rb, c_gb = rb * gb - rg * bb, rg * gb - rb * gg, rb * rg - rr * gb
    determinant = np.maximum(rr * c_rr + rg * c_rg + rb * c_rb, 1e-20)
    slope = cv2.merge(
        [
            (c_rr * x + c_rg * y + c_rb * z) / determinant,
            (c_rg * x + c_gg * y + c_gb * z) / determinant,
            (c_rb * x + c_gb * y + c_bb * z) / determinant,
        ]
    )
    return mean(slope), mean(level - (slope * colour).sum(axis=2))
