"""A small residual convolution net from speech features to motion, trained in seconds on one take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.speech._objective import Objective

HIDDEN, BOTTLENECK = 96, 48
# Feature rows on either side that one output row depends on: dilations 1 and 2.
REACH = 3


class SpeechNet(nn.Module):
    """Pointwise 384 -> 96, two residual convolutions (kernel 3, dilation 1 and 2), tanh bottleneck, linear head.

    Args:
        features: Channels of the input.
        outputs: Channels of the output.
        dropout: Share of dropped activations in training.
    """

    def __init__(self, features: int, outputs: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.enter = nn.Conv1d(features, HIDDEN, 1)
        self.near = nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1)
        self.wide = nn.Conv1d(HIDDEN, HIDDEN, 3, padding=2, dilation=2)
        self.narrow = nn.Conv1d(HIDDEN, BOTTLENECK, 1)
        self.leave = nn.Conv1d(BOTTLENECK, outputs, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Float[Tensor, "B N C"]) -> Float[Tensor, "B N K"]:
        """Outputs at the rate of the features; each depends on three rows either side."""
        hidden = F.gelu(self.enter(self.dropout(values.transpose(1, 2))))
        hidden = hidden + F.gelu(self.near(self.dropout(hidden)))
        hidden = hidden + F.gelu(self.wide(self.dropout(hidden)))
        return self.leave(torch.tanh(self.narrow(hidden))).transpose(1, 2)


def train_net(
    values: Float[Tensor, "N C"],
    targets: Float[Tensor, "T K"],
    *,
    position: Float[Tensor, " T"],
    mask: Bool[Tensor, " T"],
    adjacent: Bool[Tensor, " T-1"],
    steps: int,
    seed: int,
    window: int,
    objective: Objective,
    copies: Sequence[Float[Tensor, "M C"]] = (),
    on_step: Callable[[], None] | None = None,
) -> SpeechNet:
    """Fits a net by AdamW (3e-3, weight decay 0.05) on what its errors cost.

    Args:
        values: (N, C) normalised features.
        targets: (T, K) normalised targets.
        position: (T,) where each target lies on the feature track, in rows; increasing.
        mask: (T,) targets to learn from.
        adjacent: (T-1,) whether a target and the next are neighbours in time.
        steps: Optimiser steps.
        seed: Seed of weights, dropout, noise and windows; the caller's random state is left alone.
        window: Feature rows of one step; a longer track is seen through windows at random places.
        objective: What errors cost.
        copies: The features of the same sound recorded otherwise, from its beginning on; every step reads one of them
            or ``values``.
        on_step: Called after every step.
    """
    given = (objective.shape, objective.contacts, objective.shares)
    shape, contacts, shares = (torch.as_tensor(part, dtype=torch.float32) for part in given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SpeechNet(values.shape[1], targets.shape[1]).train()
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
        pairs = adjacent & mask[1:] & mask[:-1]
        for _ in range(steps):
            track = (values, *copies)[int(torch.randint(1 + len(copies), (1,)))] if copies else values
            start, stop = 0, len(track)
            if len(track) > window:
                start = int(torch.randint(len(track) - window + 1, (1,)))
                stop = start + window
            inside = (position >= start) & (position <= stop - 1)
            rows = inside & mask
            if not rows.any():
                continue
            part = track[start:stop]
            output = net((part + 0.1 * torch.randn_like(part))[None])[0]
            local = position - start
            error = _interpolate(output, local[inside]) - targets[inside]
            both = (pairs & inside[1:] & inside[:-1])[inside[:-1]][: len(error) - 1]
            learned, moved = error[mask[inside]], error @ shape
            loss = (moved[mask[inside]] ** 2).sum(dim=1).mean()
            loss = loss + (shares[rows] * (learned @ contacts.T) ** 2).sum(dim=1).mean()
            if both.any():
                loss = loss + 0.5 * (moved.diff(dim=0)[both] ** 2).sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if on_step:
                on_step()
    return net.eval().requires_grad_(False)


def _interpolate(track: Float[Tensor, "N K"], position: Float[Tensor, " T"]) -> Float[Tensor, "T K"]:
    """Rows of a track at fractional positions."""
    below = position.floor().clamp(0, len(track) - 1)
    above = (below + 1).clamp(max=len(track) - 1)
    weight = (position - below).clamp(0, 1)[:, None]
    return track[below.long()] * (1 - weight) + track[above.long()] * weight
