"""Gaussians as glTF with KHR_gaussian_splatting (Khronos): points whose attributes are a splat's.

The scale is linear, the opacity in [0, 1], the rotation xyzw, the colour a spherical harmonic of degree 0 in display
sRGB. ``COLOR_0`` lets readers without the extension show coloured points. glTF has +y up and +z towards the viewer of a
face, as a head has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.io._splats import harmonics, quantised, unit_quats
from avatar.io.glb import ARRAY_BUFFER, GlbBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.gaussians import Gaussians

EXTENSION = "KHR_gaussian_splatting"
POINTS = 0


def write_gltf_splats(path: Path, gaussians: Gaussians, *, generator: str) -> None:
    """Writes Gaussians in a head's axes as one ``.glb``, float32."""
    glb = GlbBuilder(generator)
    fallback = torch.cat([gaussians.colors, gaussians.opacities[:, None]], dim=1)
    attributes = {
        "POSITION": gaussians.means,
        f"{EXTENSION}:ROTATION": unit_quats(gaussians).roll(-1, dims=-1),
        f"{EXTENSION}:SCALE": gaussians.scales,
        f"{EXTENSION}:OPACITY": gaussians.opacities,
        f"{EXTENSION}:SH_DEGREE_0_COEF_0": harmonics(gaussians),
    }
    numbers = {
        name: glb.accessor(value.numpy().astype("<f4"), bounds=name == "POSITION", target=ARRAY_BUFFER)
        for name, value in attributes.items()
    }
    color = quantised(fallback, 255).astype(np.uint8)
    numbers["COLOR_0"] = glb.accessor(color, normalized=True, target=ARRAY_BUFFER)
    settings = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    primitive = {"mode": POINTS, "attributes": numbers, "extensions": {EXTENSION: settings}}
    glb.json |= {
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "avatar"}],
        "meshes": [{"primitives": [primitive], "name": "splats"}],
    }
    glb.write(path)
