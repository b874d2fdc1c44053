"""Looks from the side: where mouth and skin must not be seen, who learns from it, and that a training does."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.sampling import initial_head
from avatar.heads import Head
from avatar.io.take import Take
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar
from avatar.train.side_views import (
    ACROSS,
    EVERY,
    LIP_MARGIN,
    OUTLINE_MARGIN,
    SIDE,
    SideViews,
    beside_lips,
    beyond_outline,
)

DISTANCE = 0.8
CAMERA = Camera.front(SIDE * DISTANCE / ACROSS, SIDE, SIDE)
MILLIMETRE = SIDE / ACROSS / 1000


def circle(radius: float, count: int) -> np.ndarray:
    """Points around the camera's axis, metres."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(count, -DISTANCE)], 1)


def from_middle() -> np.ndarray:
    """Distance of each pixel's centre from the picture's middle, pixels."""
    rows, columns = np.indices((SIDE, SIDE)) + 0.5 - SIDE / 2
    return np.hypot(rows, columns)


@pytest.fixture(scope="module")
def start(tiny_take: Take, open_head: Head, tiny_config: TrainConfig) -> GaussianHead:
    """A head before the first step, its skin as solid as a trained one's."""
    gaussians = initial_head(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"], tiny_config)
    with torch.no_grad():
        gaussians.opacity_logits.fill_(4.0)
    return gaussians


def looked(gaussians: GaussianHead, take: Take, yaw: float) -> torch.Tensor:
    pose = gaussians.poses(take.motion())[0]
    views = SideViews.of(gaussians, 0)
    return views.flaws(gaussians, pose, gaussians.residual(pose.condition), yaw=yaw, pitch=0.0, threads=1)


def near(gaussians: GaussianHead, place: int, radius: float) -> torch.Tensor:
    """Which Gaussians hang on the skin so near to a landmark at rest, metres."""
    rest = gaussians.rest_vertices
    mark = gaussians.head.landmark_positions(rest[: len(gaussians.head.v_template)][None])[0, place]
    faces = torch.cat([gaussians.head.faces, gaussians.torso_faces])
    apart = (rest[faces[gaussians.triangles]].mean(1) - mark).norm(dim=1)
    return (apart < radius) & (gaussians.regions == REGIONS.index("skin"))


def test_the_mouth_may_be_seen_within_the_lips_and_a_margin() -> None:
    covered = beside_lips(circle(0.02, 40), CAMERA)
    edge, distance = (20 + LIP_MARGIN * 1000) * MILLIMETRE, from_middle()
    assert not covered[distance < edge - 1.5].any()
    assert covered[distance > edge + 1.5].all()


def test_closed_lips_still_have_a_margin() -> None:
    ring = circle(0.02, 40)
    ring[:, 1] = 0.0
    covered = beside_lips(ring, CAMERA)
    middle = SIDE // 2
    assert not covered[middle, middle]
    reach = round(LIP_MARGIN * 1000 * MILLIMETRE + 2)
    assert covered[middle - reach, middle] and covered[middle + reach, middle]


def test_outside_is_beyond_the_mesh_and_not_in_the_gaps_of_its_points() -> None:
    rings = np.concatenate([circle(radius, 400) for radius in (0.04, 0.05)])
    outside = beyond_outline(rings, CAMERA)
    edge, distance = (50 + OUTLINE_MARGIN * 1000) * MILLIMETRE, from_middle()
    assert not outside[distance < edge - 1.5].any()
    assert outside[distance > edge + 1.5].all()


def test_points_out_of_the_picture_do_no_harm() -> None:
    assert beyond_outline(circle(1.0, 40), CAMERA).all()


def test_thin_skin_around_the_lips_is_a_flaw_and_is_told_to_close(start: GaussianHead, tiny_take: Take) -> None:
    thin = deepcopy(start).requires_grad_(True)
    skin = near(thin, 17, 0.02)
    with torch.no_grad():
        thin.opacity_logits[skin] = -3.0
    flaw = looked(thin, tiny_take, 5.0)
    assert flaw > 3 * looked(start, tiny_take, 5.0)
    flaw.backward()
    assert thin.opacity_logits.grad is not None
    slopes = thin.opacity_logits.grad[skin]
    assert (slopes < 0).sum() > 3 * (slopes > 0).sum() > -1
    assert slopes.sum() < 0


def test_skin_before_the_face_is_a_flaw_from_the_side_and_is_told_to_go_back(
    start: GaussianHead, tiny_take: Take
) -> None:
    bulging = deepcopy(start).requires_grad_(True)
    brow = near(bulging, 105, 0.015) | near(bulging, 334, 0.015)
    with torch.no_grad():
        bulging.offsets[brow, 1] += 0.008
    for yaw in (-40.0, 40.0):
        bulging.zero_grad()
        flaw = looked(bulging, tiny_take, yaw)
        assert flaw > looked(start, tiny_take, yaw) + 5 / SIDE**2
        flaw.backward()
        assert bulging.offsets.grad is not None
        assert bulging.offsets.grad[brow, 1].sum() > 0


def test_only_skin_learns_from_the_side(start: GaussianHead, tiny_take: Take) -> None:
    gaussians = deepcopy(start).requires_grad_(True)
    looked(gaussians, tiny_take, 30.0).backward()
    others = gaussians.regions != REGIONS.index("skin")
    for name in ("offsets", "log_scales", "quats", "opacity_logits", "residuals"):
        slopes = getattr(gaussians, name).grad
        assert not slopes[others].any(), name
    assert gaussians.color_logits.grad is None or not gaussians.color_logits.grad.any()


def test_it_looks_now_and_then_and_the_same_way_again(start: GaussianHead, tiny_take: Take) -> None:
    pose = start.poses(tiny_take.motion())[0]
    residual = start.residual(pose.condition).detach()
    views = SideViews.of(start, 0)
    first, again = ([views(step, start, pose, residual, threads=1) for step in range(2 * EVERY)] for _ in range(2))
    seen = [step for step, flaw in enumerate(first) if flaw is not None]
    assert seen == [0, EVERY]
    assert all(torch.equal(first[step], again[step]) for step in seen)  # type: ignore[arg-type]
    assert not torch.equal(first[0], first[EVERY])  # type: ignore[arg-type]


def test_training_with_it_has_fewer_flaws_from_the_side(
    tiny_take: Take, open_head: Head, tiny_config: TrainConfig
) -> None:
    flaws = {}
    for weight in (0.0, tiny_config.side_weight):
        config = replace(tiny_config, side_weight=weight)
        gaussians = fit_avatar(tiny_take, open_head, config, threads=1)
        flaws[weight] = float(sum(looked(gaussians, tiny_take, yaw) for yaw in (-35, -20, 0, 20, 35)))
    assert flaws[tiny_config.side_weight] < 0.6 * flaws[0.0]
