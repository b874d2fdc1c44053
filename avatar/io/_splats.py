"""What the formats of splats share: a Gaussian's numbers as files keep them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.gaussians import Gaussians

# The spherical harmonic of degree 0.
SH_C0 = 0.28209479177387814
# An opaque Gaussian has no finite logit, and a flat one no finite logarithm.
OPACITY_LIMIT = 1e-6
SMALLEST_SCALE = 1e-9
MORTON_BITS = 10


def turned_about_x(gaussians: Gaussians) -> Gaussians:
    """The Gaussians in axes turned half about x: +y up, +z backward becomes +y down, +z forward, and the reverse."""
    w, x, y, z = gaussians.quats.unbind(-1)
    signs = gaussians.means.new_tensor([1.0, -1.0, -1.0])
    return replace(gaussians, means=gaussians.means * signs, quats=torch.stack([-x, w, -z, y], -1))


def opacity_logits(gaussians: Gaussians) -> Float[Tensor, " N"]:
    """Logits of the opacities, finite for opaque and empty Gaussians too."""
    return gaussians.opacities.clamp(OPACITY_LIMIT, 1 - OPACITY_LIMIT).logit()


def log_scales(gaussians: Gaussians) -> Float[Tensor, "N 3"]:
    """Logarithms of the standard deviations in metres."""
    return gaussians.scales.clamp(min=SMALLEST_SCALE).log()


def unit_quats(gaussians: Gaussians) -> Float[Tensor, "N 4"]:
    """Rotations of unit length, wxyz."""
    return torch.nn.functional.normalize(gaussians.quats, dim=-1)


def harmonics(gaussians: Gaussians) -> Float[Tensor, "N 3"]:
    """Spherical harmonics of degree 0 that give the colours."""
    return (gaussians.colors - 0.5) / SH_C0


def quantised(values: Tensor, top: int) -> np.ndarray:
    """Values in [0, 1] as the nearest integers of [0, `top`]."""
    return np.floor(values.double().clamp(0, 1).numpy() * top + 0.5).astype(np.int64)


def smallest_three(quats: Float[Tensor, "N 4"]) -> tuple[Int[Tensor, " N"], Float[Tensor, "N 3"]]:
    """The index of each unit quaternion's largest component, and the others, signed as if the largest is positive."""
    largest = quats.abs().argmax(-1, keepdim=True)
    signed = torch.where(quats.gather(-1, largest) < 0, -quats, quats)
    others = torch.arange(4).expand_as(quats) != largest
    return largest[:, 0], signed[others].view(-1, 3)


def picked(gaussians: Gaussians, order: Int[Tensor, " n"]) -> Gaussians:
    """Some of the Gaussians, in the order given."""
    fields = ("means", "quats", "scales", "opacities", "colors")
    return replace(gaussians, **{name: getattr(gaussians, name)[order] for name in fields})


def morton_order(means: Float[Tensor, "N 3"]) -> Int[Tensor, " N"]:
    """An order in which neighbours in space are mostly neighbours in the file (Morton, 1966)."""
    low, high = means.amin(0), means.amax(0)
    cells = ((means - low) / (high - low).clamp(min=1e-12) * (2**MORTON_BITS - 1)).long()
    code = torch.zeros(len(means), dtype=torch.long)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)


def little_endian(values: np.ndarray, dtype: str) -> bytes:
    """An array's bytes as a type such as ``<f4``."""
    return np.ascontiguousarray(values).astype(dtype).tobytes()
