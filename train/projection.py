"""After training: residuals with learned weights become a few linear components, as players evaluate them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from avatar.fields.condition import MotionCondition, motion_features
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.learned_condition import LearnedCondition
from avatar.train.evaluation import evaluate_held_out

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import Pose
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.train.config import TrainConfig

# Of the mean square of a standardised feature: what the net adds is told by the features no more exactly than that.
PENALTY = 0.03


def learn_condition(
    gaussians: GaussianHead, motion: Motion, indices: Int[np.ndarray, " n"], config: TrainConfig
) -> Float[Tensor, "T C"]:
    """Makes the condition of an untrained avatar learnable where the settings ask for it; returns the features.

    Args:
        gaussians: The avatar.
        motion: The take's motion.
        indices: The training frames, which the condition is made of.
        config: The settings.
    """
    device = gaussians.offsets.device
    features = torch.as_tensor(motion_features(motion, gaussians.head), device=device)
    start = gaussians.condition
    if not config.lr_condition or not isinstance(start, MotionCondition):
        return features
    if config.trained_components > start.basis.shape[1]:
        start = MotionCondition.fit(features[indices].cpu().numpy(), config.trained_components).to(device)
        heard = gaussians.residuals[..., gaussians.condition.basis.shape[1] :].detach()
        wider = heard.new_zeros(len(gaussians), 10, start.basis.shape[1])
        gaussians.residuals = nn.Parameter(torch.cat([wider, heard], 2))
    gaussians.condition = LearnedCondition(start, features[indices], hidden=config.hidden)
    return features


def current_condition(gaussians: GaussianHead, pose: Pose, features: Float[Tensor, " C"]) -> Float[Tensor, " K+D"]:
    """The pose's condition as the learned map has it now, with its graph; the pose's own where nothing is learned."""
    if not isinstance(gaussians.condition, LearnedCondition):
        return pose.condition
    moved = gaussians.condition(features[None])[0]
    return torch.cat([moved, pose.condition[len(moved) :]])


def condition_gradient(gaussians: GaussianHead, gradient: Float[Tensor, "N 10"]) -> Float[Tensor, " K+D"]:
    """The gradient of a condition, given that of the residuals that it asks for."""
    return gradient.reshape(-1) @ gaussians.residuals.detach().view(gradient.numel(), -1)


def projected(field: GaussianHead, features: Float[Tensor, "T C"], components: int) -> GaussianHead:
    """The avatar whose residuals are linear in as many components, as near to the field over the take as can be.

    The field's residuals at the take's moments have a singular value decomposition; its leading components are kept
    (in residual units), the mean goes into the Gaussians themselves, and the components' weights become linear in the
    motion's features by ridge regression. Of a field that is linear already only the rank is lost.

    Args:
        field: An avatar with a `LearnedCondition`; any other comes back as it is.
        features: (T, C) motion features of the training frames.
        components: How many to keep.
    """
    learned = field.condition
    if not isinstance(learned, LearnedCondition):
        return field
    kept = learned.basis.shape[1]
    result = field.subset(torch.ones_like(field.regions, dtype=torch.bool))
    if learned.net is None and components >= kept:
        result.condition = learned.plain()
        return result.requires_grad_(False)
    with torch.no_grad():
        device = features.device
        # What is small is worked out on the CPU, with the same solvers everywhere.
        weights = learned(features).double().cpu()
        mean, count = weights.mean(0), len(weights)
        flat = field.motion_residuals.reshape(-1, kept)
        # The residuals are long and the components few: their scalar products tell all of the decomposition.
        products = (flat.T @ flat).double().cpu()
        root = torch.linalg.cholesky(products + 1e-9 * torch.eye(kept, dtype=torch.float64))
        scores = torch.linalg.svd((weights - mean) @ root, full_matrices=False).U[:, :components] * count**0.5
        mixing = (weights - mean).T @ scores / count
        basis = _linear(learned, features.cpu(), weights - mean, scores).to(device)
        _add_to_base(result, (flat @ mean.float().to(device)).view(len(field), 10))
        motion = (flat @ mixing.float().to(device)).view(len(field), 10, -1)
        result.residuals = nn.Parameter(torch.cat([motion, field.residuals[..., kept:]], 2))
        result.condition = MotionCondition(features.mean(0), basis)
    return result.requires_grad_(False)


def _linear(
    learned: LearnedCondition,
    features: Float[Tensor, "T C"],
    weights: Float[Tensor, "T K"],
    scores: Float[Tensor, "T D"],
) -> Float[Tensor, "C D"]:
    """The map from features to scores: through the learned linear map, and a ridge regression of what that leaves.

    All on the CPU, wherever the map is learned.
    """
    learned_basis, deviation = learned.basis.double().cpu(), learned.deviation.cpu()
    centred = (features - features.mean(0)).double()
    through = torch.linalg.lstsq(weights, scores).solution
    exact = learned_basis @ through
    scaled = centred / deviation
    gram = scaled.T @ scaled / len(scaled) + PENALTY * torch.eye(scaled.shape[1], dtype=torch.float64)
    rest = torch.linalg.solve(gram, scaled.T @ (scores - centred @ exact) / len(scaled))
    return (exact + rest / deviation[:, None]).float()


def _add_to_base(head: GaussianHead, residual: Float[Tensor, "N 10"]) -> None:
    """Makes a constant residual part of the Gaussians."""
    change = residual * head.rigged().units
    for name, part in (
        ("offsets", change[:, :3]),
        ("log_scales", change[:, 3:6]),
        ("opacity_logits", change[:, 6]),
        ("color_logits", change[:, 7:]),
    ):
        getattr(head, name).add_(part)


def projection_loss(take: Take, field: GaussianHead, avatar: GaussianHead) -> dict[str, float]:
    """PSNR on the held-out frames before the projection and after it, and what it costs; dB."""
    before, after = (evaluate_held_out(take, head)["video_driven"]["psnr"] for head in (field, avatar))
    return {"field_psnr": before, "projected_psnr": after, "loss_db": before - after}
