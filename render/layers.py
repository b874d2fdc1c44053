"""Depth and normals as pictures: 8 bits to look at, 16 bits to compute with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, UInt8, UInt16
    from torch import Tensor

    from avatar.cameras import Camera
    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.render._outputs import Rendering

# Metres of one step of a 16-bit depth picture, whose 65535 steps reach 6.5 m; nerfstudio's `depth_unit_scale_factor`.
DEPTH_UNIT = 1e-4
# What is fainter is nothing to look at.
SOLID = 0.5
# Moments of a film that are looked at for the range of its depths.
RANGE_SAMPLES = 32


def depth_steps(rendering: Rendering) -> UInt16[np.ndarray, "H W"]:
    """Depth in steps of `DEPTH_UNIT`; zero where nothing is drawn, and beyond what 16 bits hold the farthest step."""
    assert rendering.depth is not None
    return (rendering.depth[..., 0].cpu().numpy() / DEPTH_UNIT + 0.5).clip(0, 65535).astype(np.uint16)


def depth_picture(rendering: Rendering, near: float, far: float) -> UInt8[np.ndarray, "H W 3"]:
    """Depth to look at: white at `near` metres, nearly black at `far`, black where nothing solid is drawn."""
    assert rendering.depth is not None
    depth, solid = rendering.depth[..., 0].cpu().numpy(), rendering.alpha[..., 0].cpu().numpy() > SOLID
    shade = 255 - 223 * ((depth - near) / max(far - near, 1e-6)).clip(0, 1)
    return np.repeat(np.where(solid, shade, 0).astype(np.uint8)[..., None], 3, axis=2)


def camera_normals(rendering: Rendering, viewmat: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "H W 3"]:
    """Unit normals in the axes of normal maps: +x right, +y up, +z to the camera; zero where nothing is drawn."""
    assert rendering.normal is not None
    return rendering.normal.cpu().numpy() @ (np.diag([1.0, -1.0, -1.0]) @ viewmat[:3, :3]).T.astype(np.float32)


def normal_steps(rendering: Rendering, viewmat: Float[np.ndarray, "4 4"]) -> UInt16[np.ndarray, "H W 3"]:
    """`camera_normals` with -1 to 1 as 0 to 65535."""
    return ((camera_normals(rendering, viewmat) / 2 + 0.5).clip(0, 1) * 65535 + 0.5).astype(np.uint16)


def normal_picture(rendering: Rendering, viewmat: Float[np.ndarray, "4 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """`camera_normals` as a normal map of 8 bits; black where nothing solid is drawn."""
    mapped = (camera_normals(rendering, viewmat) / 2 + 0.5) * 255 + 0.5
    return np.where(_solid(rendering.alpha), mapped, 0).clip(0, 255).astype(np.uint8)


def depth_range(gaussians: GaussianHead, poses: Sequence[Pose], cameras: Sequence[Camera]) -> tuple[float, float]:
    """Smallest and largest distance of the avatar over a film, metres: the range of its depth pictures."""
    step = max(1, len(poses) // RANGE_SAMPLES)
    nearest, farthest = np.inf, 0.0
    for pose, camera in zip(poses[::step], cameras[::step], strict=True):
        points = gaussians.carriers(pose).cpu().numpy() @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        distances = np.linalg.norm(points, axis=1)
        nearest, farthest = min(nearest, float(distances.min())), max(farthest, float(distances.max()))
    return nearest, farthest


def _solid(alpha: Tensor) -> np.ndarray:
    return alpha.cpu().numpy() > SOLID
