"""Gaussians as ``.splat``, the 32-byte records of the WebGL viewer of antimatter15.

Position and linear scale as float32, sRGB colour and opacity as bytes, rotation wxyz as bytes around 128, the records
with most to show first (github.com/antimatter15/splat). Axes are those of `avatar.io.ply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.io._splats import picked, quantised, turned_about_x, unit_quats

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.gaussians import Gaussians

RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def write_splat(path: Path, gaussians: Gaussians) -> None:
    """Writes Gaussians in a head's axes, those of the largest volume times opacity first."""
    weight = gaussians.scales.prod(-1) * gaussians.opacities
    turned = turned_about_x(picked(gaussians, weight.argsort(descending=True)))
    records = np.zeros(len(weight), RECORD)
    records["position"] = turned.means.numpy()
    records["scale"] = turned.scales.numpy()
    records["rgba"] = quantised(torch.cat([turned.colors, turned.opacities[:, None]], 1), 255)
    records["rotation"] = np.round(unit_quats(turned).numpy() * 128 + 128).clip(0, 255)
    path.write_bytes(records.tobytes())
