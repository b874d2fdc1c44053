"""The condition of the residuals: a few standardised numbers that say what the face is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.motion import Motion

# Radians are small numbers beside ARKit weights in [0, 1]; these bring the joints to a comparable size.
NECK_GAIN = 3.0
JOINT_GAIN = 5.0
LIMIT = 3.0
SMALLEST_DEVIATION = 0.02


def motion_features(motion: Motion, head: Head) -> Float[np.ndarray, "T C"]:
    """What the face does at each moment, without where it is: expression, jaw, gaze, lids and head rotation.

    The expression enters as ARKit weights where the head model has them, else as its own coefficients.
    """
    parts = (motion.expression, motion.pose, motion.eyelids)
    values = (torch.as_tensor(part, dtype=torch.float32, device=head.device) for part in parts)
    return condition_features(head, *values).cpu().numpy()


def condition_features(
    head: Head, expression: Float[Tensor, "T E"], joints: Float[Tensor, "T 5 3"], eyelids: Float[Tensor, "T 2"]
) -> Float[Tensor, "T C"]:
    """`motion_features` of a motion's parts; differentiable."""
    if head.psi_to_arkit.numel():
        expression = expression @ head.psi_to_arkit.T
    root, neck, jaw, left_eye, _ = joints.unbind(1)
    features = [expression, JOINT_GAIN * jaw, JOINT_GAIN * left_eye, eyelids, NECK_GAIN * root, NECK_GAIN * neck]
    return torch.cat(features, dim=1)


def feature_count(head: Head) -> int:
    """Number of `motion_features` of a head model."""
    expression = head.arkit_to_psi.shape[1] if head.arkit_to_psi.numel() else head.exprdirs.shape[-1]
    return expression + 14


class MotionCondition(nn.Module):
    """The leading principal components of a take's motion features, in units of their deviation.

    Args:
        mean: (C,) of the features.
        basis: (C, K) principal directions divided by their deviation over the take.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, mean: Float[Tensor, " C"], basis: Float[Tensor, "C K"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)

    @classmethod
    def fit(cls, features: Float[np.ndarray, "T C"], components: int) -> MotionCondition:
        """Principal components of the training frames' features; at most `components` of them."""
        mean = features.mean(0)
        _, singular, directions = np.linalg.svd(features - mean, full_matrices=False)
        count = min(components, len(singular))
        deviation = np.maximum(singular[:count] / np.sqrt(len(features)), SMALLEST_DEVIATION)
        basis = directions[:count].T / deviation
        return cls(torch.tensor(mean, dtype=torch.float32), torch.tensor(basis, dtype=torch.float32))

    def forward(self, features: Float[Tensor, "T C"]) -> Float[Tensor, "T K"]:
        """Standardised components, held within three deviations: beyond the take nothing is extrapolated."""
        return ((features - self.mean) @ self.basis).clamp(-LIMIT, LIMIT)
