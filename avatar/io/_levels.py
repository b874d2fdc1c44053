"""Residuals as bytes: seven bits and a sign for each, with a step for every channel of every component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int8
    from torch import Tensor

LEVELS = 127


def to_levels(values: Float[Tensor, "N 10 K"]) -> tuple[Int8[Tensor, "N 10 K"], Float[Tensor, "10 K"]]:
    """Levels and steps; no value is off by more than half a step, of which the largest of its kind is 127."""
    steps = (values.abs().amax(0) / LEVELS if len(values) else values.new_zeros(values.shape[1:])).clamp_min(1e-12)
    return (values / steps).round().to(torch.int8), steps


def from_levels(levels: Int8[Tensor, "N 10 K"], steps: Float[Tensor, "10 K"]) -> Float[Tensor, "N 10 K"]:
    """The values that levels stand for."""
    return levels.float() * steps
