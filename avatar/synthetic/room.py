"""A softly lit, out-of-focus room to stand in front of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from avatar.synthetic.noise import fractal
from avatar.synthetic.raycast import to_srgb

if TYPE_CHECKING:
    from jaxtyping import Float


def room(width: int, height: int, *, seed: int = 0) -> Float[np.ndarray, "H W 3"]:
    """A picture (H, W, 3) in [0, 1], sRGB: a wall with a shelf of books, a framed picture and a lamp's glow."""
    rng = np.random.default_rng(seed)
    unit = 400
    y, x = np.mgrid[:unit, :unit] / unit
    light = 0.75 + 0.35 * np.exp(-(((x - 0.2) / 0.5) ** 2 + ((y - 0.1) / 0.6) ** 2))
    wall = np.array([0.40, 0.37, 0.32]) * light[..., None]
    grain = fractal(np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3), 0.02, seed=41).reshape(unit, unit, 1)
    scene = wall * np.exp(0.03 * grain)

    def box(left: float, top: float, right: float, bottom: float, colour: np.ndarray | list[float]) -> None:
        scene[int(top * unit) : int(bottom * unit), int(left * unit) : int(right * unit)] = colour

    for shelf in (0.24, 0.56, 0.88):
        left = 0.74
        while left < 1.0:
            thick, tall = rng.uniform(0.018, 0.042), rng.uniform(0.17, 0.25)
            colour = (
                np.array([0.30, 0.24, 0.17]) * rng.uniform(0.3, 1.3) * rng.uniform([0.7, 0.7, 0.6], [1.3, 1.1, 1.4])
            )
            box(left, shelf - tall, left + thick, shelf, colour)
            left += thick + (0.03 if rng.random() < 0.12 else 0.002)
        box(0.72, shelf, 1.0, shelf + 0.022, [0.20, 0.125, 0.07])
    box(0.715, 0.0, 0.735, 1.0, [0.18, 0.11, 0.065])
    box(0.05, 0.14, 0.25, 0.43, [0.11, 0.085, 0.06])
    box(0.063, 0.157, 0.237, 0.413, [0.62, 0.60, 0.54])
    hills = 0.33 + 0.03 * np.sin(x * 40) - 0.25 * (x - 0.15)
    painting = (x > 0.085) & (x < 0.215) & (y > 0.19) & (y < 0.38)
    scene[painting] = np.where((y > hills)[..., None], [0.12, 0.20, 0.12], [0.36, 0.48, 0.60])[painting]
    glow = np.exp(-(((x - 0.02) / 0.16) ** 2 + ((y - 0.80) / 0.20) ** 2))[..., None]
    scene = scene + glow * np.array([0.36, 0.24, 0.10])

    soft = ndimage.gaussian_filter(scene, (unit * 0.011, unit * 0.011, 0))
    zoom = (height / unit, width / unit, 1)
    return np.clip(to_srgb(np.asarray(ndimage.zoom(soft, zoom, order=1))), 0, 1).astype(np.float32)
