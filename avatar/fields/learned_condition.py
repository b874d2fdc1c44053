"""A condition under training: which combinations of the motion's features drive the residuals is learned with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from avatar.fields.condition import LIMIT, SMALLEST_DEVIATION, MotionCondition

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class LearnedCondition(nn.Module):
    """Weights of the residual components: a linear map of the features, and a small net beside it.

    It begins as the principal components of a `MotionCondition` and turns towards what the pictures need: of all that
    moves in a face, principal components tell what moves most, not what is seen most. Two layers with `hidden` units
    make the components' weights non-linear in the features (Li et al., "RGBAvatar", CVPR 2025); they begin at zero.

    Args:
        start: The principal components.
        features: (T, C) of the training frames.
        hidden: Units of the net; 0 for none.
    """

    mean: Tensor
    deviation: Tensor
    _start: Tensor

    def __init__(self, start: MotionCondition, features: Float[Tensor, "T C"], *, hidden: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", start.mean)
        self.register_buffer("deviation", (features - start.mean).square().mean(0).sqrt().clamp_min(SMALLEST_DEVIATION))
        self.register_buffer("_start", start.basis)
        components = start.basis.shape[1]
        self.turn = nn.Parameter(torch.zeros_like(start.basis))
        self.net = None
        if hidden:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                last = nn.Linear(hidden, components)
                self.net = nn.Sequential(nn.Linear(components, hidden), nn.SiLU(), last).to(start.mean.device)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @property
    def basis(self) -> Float[Tensor, "C K"]:
        """The linear map as it is now, in the units of `MotionCondition`."""
        return self._start + self.turn / self.deviation[:, None]

    def forward(self, features: Float[Tensor, "T C"]) -> Float[Tensor, "T K"]:
        """The weights at T moments, held within the limits of any condition."""
        weights = (features - self.mean) @ self.basis
        if self.net is not None:
            weights = weights + self.net(((features - self.mean) @ self._start).clamp(-LIMIT, LIMIT))
        return weights.clamp(-LIMIT, LIMIT)

    def plain(self) -> MotionCondition:
        """The linear map alone."""
        return MotionCondition(self.mean, self.basis.detach().clone())
