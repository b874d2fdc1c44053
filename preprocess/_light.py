"""The light of a clip, which stays where it is while the head turns beneath it.

A distant light on matt skin is nearly a second-order function of the normal (Ramamoorthi and Hanrahan, "An Efficient
Representation for Irradiance Environment Maps", SIGGRAPH 2001). Here it is the logarithm of the light that is such a
function, relative to the light at the head's mean turn: an avatar's colours stay what they are on average, and a head
that does not turn is not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from roma import special_gramschmidt

from avatar.fields.gaussian_head import REGIONS
from avatar.heads import rotation_matrices

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.motion import Motion

# Symmetric, without a trace and of one norm: n' Q n are the second-order harmonics of a unit vector n.
QUADRATIC = torch.tensor(
    [
        [[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]],
        [[0, 0, 0.5], [0, 0, 0], [0.5, 0, 0]],
        [[0.5, 0, 0], [0, -0.5, 0], [0, 0, 0]],
        [[-(12**-0.5), 0, 0], [0, -(12**-0.5), 0], [0, 0, 2 * 12**-0.5]],
    ]
)
# Harmonics of first and second order; the constant is part of the colours.
COUNT = 8
# Mean squared colour error that the square of a weight costs, so that a head that hardly turns has hardly any light.
RIDGE = 2e-5
# Colour error at which a pixel counts half: what occluders and highlights change is not the light on the skin.
OUTLIER = 0.1
# Change of a weight for a derivative by differences, in which renders are nearly linear.
NUDGE = 0.1


def harmonics(normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 8"]:
    """Functions of first and second order of unit vectors."""
    return torch.cat([normals, torch.einsum("ni,kij,nj->nk", normals, QUADRATIC.to(normals), normals)], 1)


def turned(weights: Float[Tensor, "*#B 8"], turns: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 8"]:
    """Weights of the harmonics in axes that `turns` takes to those of `weights`."""
    basis = QUADRATIC.to(turns.device)
    first = torch.einsum("...i,...ij->...j", weights[..., :3], turns)
    square = turns.mT @ torch.einsum("...k,kij->...ij", weights[..., 3:], basis) @ turns
    return torch.cat([first, 2 * torch.einsum("...ij,kij->...k", square, basis)], -1)


def head_turns(motion: Motion, device: torch.device) -> Float[Tensor, "T 3 3"]:
    """Rotations of the head in the world: root times neck."""
    pose = torch.as_tensor(motion.pose[:, :2], dtype=torch.float32, device=device)
    return rotation_matrices(pose[:, 0]) @ rotation_matrices(pose[:, 1])


@dataclass(frozen=True)
class Light:
    """A clip's light on the Gaussians of an avatar.

    It knows the head's turns from a motion that is given, and not from the pictures that it helps to compare: what it
    has wrong would pull at the head.

    Attributes:
        harmonics: (N, 8) of each Gaussian's normal in the head's axes; zero for what is not lit, as it is not skin.
        mean: (3, 3) the head's mean turn, at which the colours are what they are.
        turns: (T, 3, 3) the head's turn in every frame.
        weights: (8,) of the harmonics in the world's axes.
    """

    harmonics: Float[Tensor, "N 8"]
    mean: Float[Tensor, "3 3"]
    turns: Float[Tensor, "T 3 3"]
    weights: Float[Tensor, " 8"]

    @classmethod
    def on(
        cls, gaussians: GaussianHead, motion: Motion, learnt: Int[np.ndarray, " n"], weights: Float[Tensor, " 8"]
    ) -> Light:
        """A light on skin and scalp, relative to the mean of the head's turns in the frames `learnt`."""
        faces, rest = gaussians.head.faces, gaussians.rest_vertices[: len(gaussians.head.v_template)]
        first, second, third = rest[faces].unbind(1)
        across = torch.linalg.cross(second - first, third - first)
        vertices = torch.zeros_like(rest).index_add(0, faces.flatten(), across.repeat_interleave(3, 0))
        of_head = gaussians.triangles < len(faces)
        corners = vertices[faces[torch.where(of_head, gaussians.triangles, 0)]]
        normals = F.normalize((corners * gaussians.barycentric[..., None]).sum(1), dim=1)
        lit = (gaussians.regions == REGIONS.index("skin")) | (gaussians.regions == REGIONS.index("scalp"))
        turns = head_turns(motion, rest.device)
        mean = special_gramschmidt(turns[torch.from_numpy(learnt).to(rest.device)].mean(0)[:, :2])
        return cls(harmonics(normals) * (lit & of_head)[:, None], mean, turns, weights.to(rest.device))

    def under(self, motion: Motion) -> Light:
        """The same light, with the head turned as in another motion of the clip."""
        return replace(self, turns=head_turns(motion, self.mean.device))

    def gains(
        self, indices: Int[np.ndarray, " B"], weights: Float[Tensor, "*#B 8"] | None = None
    ) -> Float[Tensor, "B N"]:
        """Logarithms of the factors on the colours in some frames.

        Args:
            indices: The frames.
            weights: Of the harmonics, instead of the light's own.
        """
        weights, turns = self.weights if weights is None else weights, self.turns[torch.from_numpy(indices)]
        return (turned(weights, turns) - turned(weights, self.mean[None])) @ self.harmonics.T


def nudged(weights: Float[Tensor, " 8"]) -> Float[Tensor, "9 8"]:
    """The weights, and beside them each of them changed by `NUDGE`."""
    return torch.cat([weights[None], weights + NUDGE * torch.eye(COUNT, device=weights.device)])


def equations(
    residuals: Float[Tensor, "9 h w 3"], weights: Float[Tensor, " 8"]
) -> tuple[Float[Tensor, "8 8"], Float[Tensor, " 8"]]:
    """The normal equations of the weights that one picture asks for, pixels weighted by how well it is explained.

    Args:
        residuals: The picture's errors by the weights of `nudged`.
        weights: The weights so far.

    Returns:
        The matrix, and the right-hand side, for the weights themselves.
    """
    before, slopes = residuals[0].flatten(0, 1), (residuals[1:] - residuals[0]).flatten(1, 2) / NUDGE
    trust = 1 / (1 + before.square().sum(1) / OUTLIER**2)
    matrix = torch.einsum("kpc,lpc,p->kl", slopes, slopes, trust)
    return matrix, matrix @ weights - torch.einsum("kpc,pc,p->k", slopes, before, trust)


def solved(parts: list[tuple[Float[Tensor, "8 8"], Float[Tensor, " 8"]]], values: float) -> Float[Tensor, " 8"]:
    """The weights that the equations of all pictures ask for together.

    Args:
        parts: What `equations` made of each picture.
        values: How many colour values they compare in all.
    """
    matrix, side = (torch.stack(each).double().sum(0) / values for each in zip(*parts, strict=True))
    hold = RIDGE * torch.eye(COUNT, dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.solve(matrix + hold, side).float()
