"""Image metrics within a region, as every figure of the project states them.

The render is composited over the clip's own background plate and compared with the untouched frame inside the head's
mask; nothing of the truth is pasted inside it. Values are means of per-frame values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.render.losses import ssim_map

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def region_metrics(
    image: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"]
) -> dict[str, float]:
    """PSNR (dB), SSIM and L1 of an image in [0, 1] over the pixels of a region that has some.

    SSIM is taken after everything outside the region was replaced by the truth, so that windows at its edge see no
    foreign pixels, and averaged inside it.
    """
    error = (image - truth)[region]
    composite = np.where(region[..., None], image, truth)
    similarity = ssim_map(*(torch.as_tensor(x, dtype=torch.float32) for x in (composite, truth))).numpy()
    similarity = similarity.reshape(*region.shape, -1).mean(-1)
    return {
        "psnr": float(-10 * np.log10(np.square(error).mean() + 1e-12)),
        "ssim": float(similarity[region].mean()),
        "l1": float(np.abs(error).mean()),
    }


def mean_metrics(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over frames."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
