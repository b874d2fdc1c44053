"""Gaussians as a PLY in the layout of the reference implementation of 3D Gaussian splatting.

Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023: log-scales, opacity logits, colours
as spherical harmonics of degree 0, quaternions wxyz. Such files, and the viewers that read them, have +y down and +z
forward as the cameras they were trained with; a head's +y up and +z out of the face are turned half about x.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from avatar.gaussians import Gaussians

# The spherical harmonic of degree 0.
SH_C0 = 0.28209479177387814
# An opaque Gaussian has no finite logit.
OPACITY_LIMIT = 1e-6
SMALLEST_SCALE = 1e-9
FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
AXES = "axes: +x right, +y down, +z forward; metres"


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


def harmonics(gaussians: Gaussians) -> Float[Tensor, "N 3"]:
    """Coefficients of degree 0 that give the colours."""
    return (gaussians.colors - 0.5) / SH_C0


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Writes Gaussians in a head's axes (+y up, +z out of the face), float32, little-endian."""
    turned = turned_about_x(gaussians)
    quats = torch.nn.functional.normalize(turned.quats, dim=-1)
    columns = [turned.means, torch.zeros_like(turned.means), harmonics(turned), opacity_logits(turned)[:, None]]
    table = torch.cat([*columns, log_scales(turned), quats], dim=1)
    header = ply_header({"vertex": (len(table), [f"float {name}" for name in FIELDS])})
    path.write_bytes(header + np.ascontiguousarray(table.numpy(), "<f4").tobytes())


def ply_header(elements: dict[str, tuple[int, list[str]]], *, comment: str = AXES) -> bytes:
    """The header of a binary little-endian PLY.

    Args:
        elements: Count and typed properties of each element, by name and in order.
        comment: What to note.
    """
    lines = ["ply", "format binary_little_endian 1.0", f"comment {comment}"]
    for name, (count, properties) in elements.items():
        lines += [f"element {name} {count}", *(f"property {entry}" for entry in properties)]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")
