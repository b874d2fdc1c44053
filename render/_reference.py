"""The rasteriser in plain torch: slow, differentiable, in any float type; what the other backends are tested against.

The conventions are those of gsplat 1.5.3 (Ye et al. 2024): EWA projection, a low-pass filter of `eps2d` square pixels,
contributions under 1/255 skipped, and a pixel stopping before the Gaussian that would take its transmittance to 1e-4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

MIN_ALPHA = 1 / 255
MIN_TRANSMITTANCE = 1e-4
# The Jacobian is taken no further outside the image than this part of its half width and height, where it blows up.
JACOBIAN_MARGIN = 0.3


def rotation_matrices(quats: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrices of quaternions wxyz of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1, eps=1e-15).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def project(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    eps2d: float,
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2 2"], Float[Tensor, " N"]]:
    """Projects Gaussians in front of the camera (EWA splatting, Zwicker et al. 2001).

    Returns:
        Centres in pixels, 2D covariances in square pixels (low-pass filter included), depths in metres.
    """
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    x, y, z = (means @ rotation.T + translation).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = JACOBIAN_MARGIN * width / (2 * fx), JACOBIAN_MARGIN * height / (2 * fy)
    slope_x = torch.clamp(x / z, min=-(cx / fx + margin_x), max=(width - cx) / fx + margin_x)
    slope_y = torch.clamp(y / z, min=-(cy / fy + margin_y), max=(height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [torch.stack([fx / z, zero, -fx * slope_x / z], -1), torch.stack([zero, fy / z, -fy * slope_y / z], -1)], -2
    )
    factor = jacobian @ rotation @ (rotation_matrices(quats) * scales[:, None, :])
    covariance = factor @ factor.mT + eps2d * torch.eye(2, dtype=means.dtype, device=means.device)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), covariance, z


class Splats(NamedTuple):
    """What the Gaussians that a camera draws are in its image, nearest first."""

    centers: Float[Tensor, "M 2"]
    covariances: Float[Tensor, "M 2 2"]
    opacities: Float[Tensor, " M"]
    colors: Float[Tensor, "M K"]


def make_splats(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "N K"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    near: float,
    eps2d: float,
) -> Splats:
    """Chooses the Gaussians that are drawn, sorts them by depth and projects them."""
    depth = means @ viewmat[2, :3] + viewmat[2, 3]
    drawn = torch.nonzero((depth >= near) & (opacities >= MIN_ALPHA)).squeeze(-1)
    # Single precision decides the order, as in the other backends; Gaussians of one depth keep their order.
    drawn = drawn[torch.argsort(depth[drawn].float(), stable=True)]
    centers, covariances, _ = project(means[drawn], quats[drawn], scales[drawn], viewmat, K, width, height, eps2d=eps2d)
    return Splats(centers, covariances, opacities[drawn], colors[drawn])


def pixel_centers(width: int, height: int, like: Tensor) -> Float[Tensor, "H W 2"]:
    """Coordinates (x, y) of all pixels, of the type and on the device of `like`."""
    columns, rows = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5 for size in (width, height))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def blend(
    pixels: Float[Tensor, "P 2"],
    centers: Float[Tensor, "M 2"],
    conics: Float[Tensor, "M 2 2"],
    opacities: Float[Tensor, " M"],
    colors: Float[Tensor, "M K"],
    *,
    alpha_max: float,
) -> tuple[Float[Tensor, "P K"], Float[Tensor, "P 1"]]:
    """Blends sorted splats front to back at every pixel; memory is O(P M).

    Returns:
        Colours over black, and alpha.
    """
    dx, dy = (centers - pixels[:, None, :]).unbind(-1)
    power = 0.5 * (conics[:, 0, 0] * dx * dx + conics[:, 1, 1] * dy * dy) + conics[:, 0, 1] * dx * dy
    alpha = torch.clamp(opacities * torch.exp(-power), max=alpha_max)
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0.0)
    after = torch.cumprod(1 - alpha, -1)
    before = torch.cat([torch.ones_like(after[:, :1]), after], -1)[:, :-1]
    weights = torch.where(after > MIN_TRANSMITTANCE, alpha * before, 0.0)
    return weights @ colors, weights.sum(-1, keepdim=True)


def rasterize_reference(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "N K"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    background: Float[Tensor, " K"] | None = None,
    near: float = 0.01,
    eps2d: float = 0.3,
    alpha_max: float = 0.999,
) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W 1"]]:
    """Renders one camera; `avatar.render.rasterize` says what the arguments are. Memory is O(N * width * height)."""
    splats = make_splats(means, quats, scales, opacities, colors, viewmat, K, width, height, near=near, eps2d=eps2d)
    conics = torch.linalg.inv(splats.covariances)
    pixels = pixel_centers(width, height, means).reshape(-1, 2)
    image, alpha = blend(pixels, splats.centers, conics, splats.opacities, splats.colors, alpha_max=alpha_max)
    if background is not None:
        image = image + (1 - alpha) * background
    return image.view(height, width, -1), alpha.view(height, width, 1)
