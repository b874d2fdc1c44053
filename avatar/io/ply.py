"""Gaussians as a PLY in the layout of the reference implementation of 3D Gaussian splatting.

Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023: log-scales, opacity logits, colours
as spherical harmonics of degree 0, quaternions wxyz. Such files, and the viewers that read them, have +y down and +z
forward as the cameras they were trained with; a head's +y up and +z out of the face are turned half about x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from avatar.io._splats import harmonics, little_endian, log_scales, opacity_logits, turned_about_x, unit_quats

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from avatar.gaussians import Gaussians

FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
AXES = "axes: +x right, +y down, +z forward; metres"


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Writes Gaussians in a head's axes (+y up, +z out of the face), float32, little-endian."""
    turned = turned_about_x(gaussians)
    columns = [turned.means, torch.zeros_like(turned.means), harmonics(turned), opacity_logits(turned)[:, None]]
    table = torch.cat([*columns, log_scales(turned), unit_quats(turned)], dim=1)
    path.write_bytes(ply_table(table))


def ply_table(table: Float[Tensor, "N 17"], *, comment: str = AXES) -> bytes:
    """A file of rows of `FIELDS`."""
    header = ply_header({"vertex": (len(table), [f"float {name}" for name in FIELDS])}, comment=comment)
    return header + little_endian(table.numpy(), "<f4")


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
