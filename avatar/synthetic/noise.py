"""Smooth periodic noise in space, the same on every machine."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Float

_SIZE = 64
_FEATURE = 4.0  # voxels a feature spans


@lru_cache(maxsize=4)
def _volume(seed: int) -> np.ndarray:
    white = np.random.default_rng(seed).standard_normal((_SIZE, _SIZE, _SIZE))
    smooth = ndimage.gaussian_filter(white, _FEATURE / 3, mode="wrap")
    return (smooth / smooth.std()).astype(np.float32)


def noise(points: Float[np.ndarray, "n 3"], wavelength: float | tuple[float, float, float], *, seed: int = 0):
    """Noise (n,) of unit variance at points (n, 3).

    Args:
        points: In any unit.
        wavelength: Size of a feature in that unit, one for all axes or one for each.
        seed: Other seeds give unrelated fields.
    """
    scaled = np.asarray(points, np.float64) / np.asarray(wavelength) * _FEATURE + 11.7 * seed
    return ndimage.map_coordinates(_volume(seed % 4), scaled.T, order=1, mode="grid-wrap")


def fractal(points: Float[np.ndarray, "n 3"], wavelength: float, *, octaves: int = 3, seed: int = 0):
    """Noise (n,) of about unit variance with ever finer detail: each octave halves the feature and its strength."""
    total = sum(noise(points, wavelength / 2**k, seed=seed + k) * 0.5**k for k in range(octaves))
    return np.asarray(total) / np.sqrt(sum(0.25**k for k in range(octaves)))
