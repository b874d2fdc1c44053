"""Depth and normals as channels beside the colours, so that every backend renders them, with gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from avatar.render._reference import rotation_matrices


class Rendering(NamedTuple):
    """What `avatar.render.rasterize` draws.

    Attributes:
        image: (*batch, H, W, K) colours before the background, in the unit of the Gaussians' colours.
        alpha: (*batch, H, W, 1) one minus the light that passes, in [0, 1].
        depth: (*batch, H, W, 1) expected depth along the camera's axis, metres: the Gaussians' centres weighted as
            their colours are. Zero where alpha is 0; None unless asked for.
        normal: (*batch, H, W, 3) unit vectors in world axes: the Gaussians' shortest axes, turned to the camera and
            weighted as their colours are. Zero where alpha is 0; None unless asked for.
    """

    image: Float[Tensor, "*batch H W K"]
    alpha: Float[Tensor, "*batch H W 1"]
    depth: Float[Tensor, "*batch H W 1"] | None = None
    normal: Float[Tensor, "*batch H W 3"] | None = None


def camera_depths(
    means: Float[Tensor, "*#batch N 3"], viewmats: Float[Tensor, "*#batch 4 4"]
) -> Float[Tensor, "*#batch N 1"]:
    """Depths of points along the camera's axis, metres."""
    axis = viewmats[..., 2, None, :]
    return (means * axis[..., :3]).sum(-1, keepdim=True) + axis[..., 3:]


def facing_normals(
    means: Float[Tensor, "*#batch N 3"],
    quats: Float[Tensor, "*#batch N 4"],
    scales: Float[Tensor, "*#batch N 3"],
    viewmats: Float[Tensor, "*#batch 4 4"],
) -> Float[Tensor, "*#batch N 3"]:
    """Each Gaussian's shortest axis in the world, with the sign that faces the camera.

    Gradients reach `quats` only: which axis is the shortest, and its sign, change in steps.
    """
    shortest = scales.detach().argmin(-1)[..., None, None]
    axes = torch.take_along_dim(rotation_matrices(quats), shortest, -1).squeeze(-1)
    with torch.no_grad():
        eyes = -viewmats[..., :3, :3].mT @ viewmats[..., :3, 3:]
        averted = ((means - eyes.mT) * axes).sum(-1, keepdim=True) > 0
    return torch.where(averted, -axes, axes)


def append_channels(
    colors: Float[Tensor, "*#batch N K"], backgrounds: Float[Tensor, "*#batch K"], channels: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Colours with more channels behind them, each (*#batch, N, k), and backgrounds that are zero there."""
    tensors = [colors, *channels]
    shape = torch.broadcast_shapes(*(t.shape[:-1] for t in tensors))
    joined = torch.cat([t.expand(*shape, t.shape[-1]) for t in tensors], dim=-1)
    return joined, F.pad(backgrounds, (0, joined.shape[-1] - colors.shape[-1]))


def expected_depth(weighted: Float[Tensor, "*batch 1"], alpha: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 1"]:
    """The weighted depths over the weights, which sum to alpha; zero where nothing is drawn."""
    drawn = alpha > 0
    # The branch that `where` discards must not divide by zero either, for its gradient would be NaN.
    return torch.where(drawn, weighted / torch.where(drawn, alpha, 1), 0)


def unit_normal(weighted: Float[Tensor, "*batch 3"], alpha: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 3"]:
    """The weighted normals at unit length; zero where nothing is drawn."""
    drawn = alpha > 0
    return torch.where(drawn, F.normalize(torch.where(drawn, weighted, 1), dim=-1, eps=1e-6), 0)
