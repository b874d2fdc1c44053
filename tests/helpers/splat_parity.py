"""The same picture, whichever way the Gaussians have gone."""

from __future__ import annotations

import numpy as np
import torch

from avatar.cameras import Camera
from avatar.gaussians import Gaussians
from avatar.render import rasterize

SIZE = 192


def picture(gaussians: Gaussians, *, size: int = SIZE) -> np.ndarray:
    """A render before black from the front, the Gaussians filling the picture."""
    low, high = gaussians.means.quantile(0.01, dim=0), gaussians.means.quantile(0.99, dim=0)
    middle, extent = (low + high) / 2, float((high - low)[:2].max())
    camera = Camera.front(2.0 * size, size, size)
    shift = torch.tensor([0.0, 0.0, -2.0 * extent]) - middle
    viewmat, K = (torch.as_tensor(m, dtype=torch.float32) for m in (camera.viewmat, camera.K))
    scene = (gaussians.means + shift, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors)
    return rasterize(*scene, viewmat, K, size, size, threads=1).image.numpy()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two pictures in [0, 1]."""
    return float(-10 * np.log10(max(np.square(one - other).mean(), 1e-20)))


def from_columns(means, quats, scales, opacities, colors) -> Gaussians:
    """Gaussians of arrays: metres, wxyz, linear, [0, 1], sRGB."""
    values = (means, quats, scales, opacities, colors)
    return Gaussians(*(torch.as_tensor(np.array(v, np.float32, copy=True)) for v in values))
