"""Learned conditions and their projection: exact for a linear field, near for another, the same for every player."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.fields.condition import LIMIT, MotionCondition, motion_features
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.learned_condition import LearnedCondition
from avatar.heads import Head
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar
from avatar.train.projection import condition_gradient, current_condition, learn_condition, projected


@pytest.fixture
def features(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> torch.Tensor:
    return torch.as_tensor(motion_features(tiny_motion, tiny_gaussians.head))


@pytest.fixture
def field(tiny_gaussians: GaussianHead, features: torch.Tensor) -> GaussianHead:
    """The tiny avatar with arbitrary residuals, of which each component says less than the one before it."""
    copy = tiny_gaussians.subset(torch.ones(len(tiny_gaussians), dtype=torch.bool))
    start = MotionCondition.fit(features.numpy(), 6)
    generator = torch.Generator().manual_seed(4)
    shares = torch.tensor([1, 0.5, 0.3, 0.1, 0.03, 0.01])
    copy.residuals = torch.nn.Parameter(shares * torch.randn(len(copy), 10, 6, generator=generator))
    copy.condition = LearnedCondition(start, features, hidden=8)
    with torch.no_grad():
        copy.condition.turn.normal_(std=0.05, generator=generator)
    return copy


def worst(first: GaussianHead, second: GaussianHead, motion: Motion) -> float:
    """Root mean square difference of the Gaussians' local parameters, over that of their change in the motion."""
    with torch.no_grad():
        a, b = (torch.stack([_local(g, pose.condition) for pose in g.poses(motion)]) for g in (first, second))
    return float((a - b).square().mean().sqrt() / (a - a.mean(0)).square().mean().sqrt())


def _local(head: GaussianHead, condition: torch.Tensor) -> torch.Tensor:
    base = (
        torch.cat([head.offsets, head.log_scales, head.opacity_logits[:, None], head.color_logits], 1)
        / head.rigged().units
    )
    return base + head.residual(condition)


def test_it_begins_as_principal_components(features: torch.Tensor) -> None:
    start = MotionCondition.fit(features.numpy(), 5)
    for hidden in (0, 8):
        learned = LearnedCondition(start, features, hidden=hidden)
        torch.testing.assert_close(learned(features), start(features))
    assert learned(100 * features).detach().abs().max() <= LIMIT


def test_a_linear_field_is_kept_exactly(field: GaussianHead, features: torch.Tensor, tiny_motion: Motion) -> None:
    assert isinstance(field.condition, LearnedCondition)
    field.condition.net = None
    avatar = projected(field, features, 6)
    assert isinstance(avatar.condition, MotionCondition) and worst(field, avatar, tiny_motion) < 1e-4
    assert not any(p.requires_grad for p in avatar.parameters())


def test_fewer_components_lose_what_the_least_say(
    field: GaussianHead, features: torch.Tensor, tiny_motion: Motion
) -> None:
    assert isinstance(field.condition, LearnedCondition)
    field.condition.net = None
    losses = [worst(field, projected(field, features, kept), tiny_motion) for kept in (1, 2, 3, 5)]
    assert all(np.diff(losses) < 0) and losses[-1] < 0.03 and losses[0] > 0.1
    assert projected(field, features, 3).residuals.shape == (len(field), 10, 3)


def test_a_net_is_projected_with_what_is_linear_in_it(
    field: GaussianHead, features: torch.Tensor, tiny_motion: Motion
) -> None:
    learned = field.condition
    assert isinstance(learned, LearnedCondition) and learned.net is not None
    with torch.no_grad():
        learned.net.get_parameter("2.weight").normal_(std=0.3, generator=torch.Generator().manual_seed(5))
    avatar = projected(field, features, 6)
    assert isinstance(avatar.condition, MotionCondition)
    without = field.subset(torch.ones(len(field), dtype=torch.bool))
    without.condition = learned.plain()
    assert worst(field, avatar, tiny_motion) < 0.5 * worst(field, without, tiny_motion)


def test_the_gradient_of_a_condition_is_autograds(
    field: GaussianHead, features: torch.Tensor, tiny_motion: Motion
) -> None:
    pose = field.poses(tiny_motion)[3]
    condition = current_condition(field, pose, features[3])
    torch.testing.assert_close(condition.detach(), pose.condition)
    wanted = torch.linspace(-1, 1, 10)
    leaf = condition.detach().clone().requires_grad_(True)
    (field.residual(leaf) * wanted).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(condition_gradient(field, wanted.expand(len(field), 10)), leaf.grad)
    condition.backward(leaf.grad)
    assert isinstance(field.condition, LearnedCondition) and field.condition.turn.grad is not None


def test_principal_components_stay_where_nothing_is_learned(
    tiny_gaussians: GaussianHead, tiny_motion: Motion, features: torch.Tensor
) -> None:
    before = tiny_gaussians.condition
    plain = TrainConfig(lr_condition=0.0)
    found = learn_condition(tiny_gaussians, tiny_motion, np.arange(20), plain)
    assert tiny_gaussians.condition is before and torch.equal(found, features)
    assert projected(tiny_gaussians, features, 2) is tiny_gaussians
    assert not plain.projects and not TrainConfig().projects and not TrainConfig(hidden=4).projects
    assert TrainConfig(hidden=4, lr_condition=2e-3).projects


def test_training_learns_and_reports_its_projection(tiny_take: Take, open_head: Head, tiny_config: TrainConfig) -> None:
    seen: list[tuple[GaussianHead, GaussianHead]] = []
    config = replace(tiny_config, steps=60, residual_start=10, lr_condition=2e-3, trained_components=6, hidden=8)
    avatar = fit_avatar(tiny_take, open_head, config, threads=1, on_projection=lambda *both: seen.append(both))
    (field, after), *_ = seen
    assert after is avatar and avatar.residuals.shape[2] == config.components == 4
    assert field.residuals.shape[2] == 6 and isinstance(field.condition, LearnedCondition)
    assert field.condition.turn.abs().max() > 1e-3
