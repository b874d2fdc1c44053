"""Image metrics within a region, as every figure of the project states them.

The render is composited over the clip's own background plate and compared with the untouched frame inside the head's
mask; nothing of the truth is pasted inside it. Values are means of per-frame values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.render.losses import C1, C2, WINDOW_SIGMA, WINDOW_SIZE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

# Wang, Simoncelli and Bovik 2003, "Multi-scale structural similarity": the share of each scale, the finest first.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
REACH = WINDOW_SIZE // 2


def region_metrics(
    image: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"]
) -> dict[str, float]:
    """PSNR (dB), SSIM and L1 of an image in [0, 1] over the pixels of a region that has some.

    SSIM is taken after everything outside the region was replaced by the truth, so that windows at its edge see no
    foreign pixels, and averaged inside it.
    """
    window = surroundings(region, REACH)
    image, truth, region = image[window], truth[window], region[window]
    error = (image - truth)[region]
    luminance, structure = similarity_maps(within(image, truth, region), truth)
    return {
        "psnr": float(-10 * np.log10(np.square(error, dtype=np.float64).mean() + 1e-12)),
        "ssim": float((luminance * structure)[region].mean()),
        "l1": float(np.abs(error).mean()),
    }


def ms_ssim(
    image: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"]
) -> float | None:
    """Multi-scale SSIM over a region, the truth everywhere else.

    Windows lie wholly inside the picture, as in Wang's own code; each scale is averaged over the region as the
    pyramid shrinks it. Over the whole picture this is the usual MS-SSIM.

    Returns:
        None where the picture is too small for five scales (161 pixels) or a scale shows nothing of the region.
    """
    if min(region.shape) <= (WINDOW_SIZE - 1) * 2 ** (len(SCALES) - 1):
        return None
    x, y, weight = within(image, truth, region), truth.astype(np.float32), region.astype(np.float32)[..., None]
    result = np.ones(3)
    for scale, power in enumerate(SCALES):
        if scale:
            x, y, weight = (_halved(values) for values in (x, y, weight))
        luminance, structure = (part[REACH:-REACH, REACH:-REACH] for part in similarity_maps(x, y))
        inside = weight[REACH:-REACH, REACH:-REACH]
        if not inside.any():
            return None
        value = structure * luminance if scale == len(SCALES) - 1 else structure
        mean = (inside * value).sum((0, 1), dtype=np.float64) / inside.sum(dtype=np.float64)
        result *= np.maximum(mean, 0) ** power
    return float(result.mean())


def similarity_maps(
    image: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"]
) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W 3"]]:
    """SSIM's luminance term, and its contrast and structure term; their product is `avatar.render.losses.ssim_map`."""
    x, y = (np.asarray(picture, np.float32) for picture in (image, truth))
    kernel = cv2.getGaussianKernel(WINDOW_SIZE, WINDOW_SIGMA, cv2.CV_32F)

    def blurred(values: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(values, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)

    mean_x, mean_y = blurred(x), blurred(y)
    variances = blurred(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


def within(
    image: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 3"]:
    """The image inside the region, the truth outside it."""
    return np.where(region[..., None], image, truth).astype(np.float32)


def surroundings(region: Bool[np.ndarray, "H W"], margin: int) -> tuple[slice, slice]:
    """Rows and columns of a region that has pixels, with a margin where the picture has room."""
    spans = []
    for axis in (1, 0):
        places = np.flatnonzero(region.any(axis))
        spans.append(slice(max(int(places[0]) - margin, 0), int(places[-1]) + 1 + margin))
    return spans[0], spans[1]


def mean_metrics(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over frames."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _halved(values: Float32[np.ndarray, "H W C"]) -> Float32[np.ndarray, "h w C"]:
    """Means of two by two pixels; odd sides are padded with a zero in front."""
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    padding = [side % 2 for side in planes.shape[1:]]
    return torch.nn.functional.avg_pool2d(planes, 2, padding=padding).numpy().transpose(1, 2, 0)
