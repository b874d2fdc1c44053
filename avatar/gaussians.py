"""Gaussians in world space, as the rasteriser takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """N anisotropic 3D Gaussians.

    Attributes:
        means: (N, 3) centres, metres.
        quats: (N, 4) rotations, wxyz, not necessarily of unit length.
        scales: (N, 3) standard deviations along the own axes, metres (linear, not log).
        opacities: (N,) in [0, 1].
        colors: (N, C) sRGB in [0, 1].
    """

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    scales: Float[Tensor, "N 3"]
    opacities: Float[Tensor, " N"]
    colors: Float[Tensor, "N C"]
