"""A head on another device: what is worked out with it is made there, and is what it is on the CPU."""

import numpy as np
import torch

from avatar.fields.condition import MotionCondition
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.learned_condition import LearnedCondition
from avatar.fields.regularizers import Regularizer
from avatar.fields.sampling import Sampling, initial_head
from avatar.fields.survey import posed_vertices
from avatar.heads import Head
from avatar.io.take import Take

SAMPLING = Sampling(gaussians=600, torso_gaussians=100, components=3)


def started(take: Take, head: Head) -> GaussianHead:
    return initial_head(take, head, take.motion(), take.split()["train"], SAMPLING)


def test_a_head_is_copied_only_where_it_lies_elsewhere(open_head: Head, device: torch.device) -> None:
    moved = open_head.on(device)
    assert (open_head.device.type, moved.device.type) == ("cpu", device.type)
    assert moved.on(device) is moved and open_head.on("cpu") is open_head
    assert torch.equal(moved.on("cpu").exprdirs, open_head.exprdirs)


def test_gaussians_start_where_the_head_lies(tiny_take: Take, open_head: Head, device: torch.device) -> None:
    start, there = started(tiny_take, open_head), started(tiny_take, open_head.on(device))
    assert open_head.device.type == "cpu"
    everything = dict(there.named_parameters()) | dict(there.named_buffers())
    assert {value.device.type for value in everything.values()} == {device.type}
    for name, value in start.state_dict().items():
        torch.testing.assert_close(everything[name].detach().cpu(), value, atol=1e-5, rtol=1e-4)


def test_a_moment_is_the_same_on_both_devices(tiny_take: Take, open_head: Head, device: torch.device) -> None:
    motion, moved = tiny_take.motion(), open_head.on(device)
    np.testing.assert_allclose(posed_vertices(moved, motion, 3), posed_vertices(open_head, motion, 3), atol=1e-6)
    start = started(tiny_take, open_head)
    there = started(tiny_take, moved)
    with torch.no_grad():
        for gaussians in (start, there):
            swept = torch.linspace(-1, 1, gaussians.residuals.numel()).view(start.residuals.shape)
            gaussians.residuals.copy_(swept)
    kept = torch.arange(len(start)) % 2 == 0
    found = [start.subset(kept), there.subset(kept.to(device))]
    worlds = [gaussians(gaussians.poses(motion)[5]) for gaussians in found]
    for name in ("means", "quats", "scales", "opacities", "colors"):
        ours, theirs = (getattr(world, name).detach().cpu() for world in worlds)
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-3)
    penalties = [
        Regularizer(gaussians)(gaussians, gaussians.residual(gaussians.poses(motion)[5].condition))
        for gaussians in (start, there)
    ]
    torch.testing.assert_close(penalties[1].detach().cpu(), penalties[0].detach(), rtol=1e-4, atol=1e-7)


def test_a_learned_condition_lies_with_its_features(tiny_take: Take, open_head: Head, device: torch.device) -> None:
    start = started(tiny_take, open_head).condition
    assert isinstance(start, MotionCondition)
    features = torch.linspace(-1, 1, 5 * len(start.mean)).view(5, -1)
    ours = LearnedCondition(start, features, hidden=4)(features)
    theirs = LearnedCondition(start.to(device), features.to(device), hidden=4)(features.to(device))
    torch.testing.assert_close(theirs.detach().cpu(), ours.detach(), atol=1e-5, rtol=1e-4)
