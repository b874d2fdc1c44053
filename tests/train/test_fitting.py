"""Fitting: a take of known Gaussians is learned, and shows what was held out better than any frame of the take."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.sampling import initial_head
from avatar.heads import Head
from avatar.io.avatar import TRAINED
from avatar.io.take import Take
from avatar.render import rasterize
from avatar.render.losses import l1_dssim
from avatar.train.config import TrainConfig
from avatar.train.dataset import read_frame
from avatar.train.evaluation import evaluate_held_out
from avatar.train.fitting import Objective, decay_learning_rates, fit_avatar, make_optimizer


@pytest.fixture(scope="module")
def start(tiny_take: Take, open_head: Head, tiny_config: TrainConfig) -> GaussianHead:
    """The head before the first step."""
    return initial_head(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"], tiny_config)


def mean_loss(take: Take, gaussians: GaussianHead, config: TrainConfig) -> float:
    objective = Objective.of(take, gaussians, config, 1)
    poses, gray = gaussians.poses(take.motion()), torch.full((3,), 0.5)
    with torch.no_grad():
        losses = [objective(gaussians, poses[i], read_frame(take, i), gray) for i in range(0, 27, 3)]
    return float(torch.stack(losses).mean())


def test_a_step_is_that_of_the_readable_rig(start: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    gaussians, plain = deepcopy(start).requires_grad_(True), deepcopy(start).requires_grad_(True)
    with torch.no_grad():
        gaussians.residuals.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
        plain.residuals.copy_(gaussians.residuals)
    tiny_config = replace(tiny_config, focus_weight=0.0)
    objective = Objective.of(tiny_take, gaussians, tiny_config, 1)
    pose, frame = gaussians.poses(tiny_take.motion())[5], read_frame(tiny_take, 5)
    background = torch.tensor([0.2, 0.5, 0.7])
    loss = objective(gaussians, pose, frame, background)
    loss.backward()

    residual = plain.residual(pose.condition)
    world = plain(pose, residual)
    height, width = frame.alpha.shape
    scene = (world.means, world.quats, world.scales, world.opacities, world.colors)
    image, alpha, *_ = rasterize(
        *scene, objective.viewmat, objective.K, width, height, backgrounds=background, threads=1
    )
    photometric = l1_dssim(image, frame.over(background, objective.plate), threads=1)
    mask = (alpha[..., 0] - frame.alpha).square().mean()
    expected = photometric + tiny_config.alpha_weight * mask + objective.regularizer(plain, residual)
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    for name in TRAINED:
        ours, theirs = getattr(gaussians, name).grad, getattr(plain, name).grad
        error = float((ours - theirs).norm() / theirs.norm())
        assert error < 1e-3, f"{name}: {error:.1e}"


def test_gaussians_start_on_the_head_and_on_the_clothes(start: GaussianHead, tiny_config: TrainConfig) -> None:
    assert len(start) == tiny_config.gaussians + tiny_config.torso_gaussians
    torso = start.triangles >= len(start.head.faces)
    assert torso.sum() == tiny_config.torso_gaussians
    # The back of the torso no frame shows.
    kinds = (start.regions == REGIONS.index("torso")) | (start.regions == REGIONS.index("unseen"))
    assert kinds[torso].all() and not (start.regions[~torso] == REGIONS.index("torso")).any()
    assert torch.allclose(start.barycentric.sum(1), torch.ones(len(start)))
    assert {REGIONS[i] for i in start.regions.unique()} == set(REGIONS)
    shirt = start.color_logits[torso].sigmoid().mean(0)
    assert shirt[2] > 1.5 * shirt[0]


def test_the_start_depends_on_the_seed_alone(
    start: GaussianHead, tiny_take: Take, open_head: Head, tiny_config: TrainConfig
) -> None:
    motion, train = tiny_take.motion(), tiny_take.split()["train"]
    again = initial_head(tiny_take, open_head, motion, train, tiny_config)
    other = initial_head(tiny_take, open_head, motion, train, replace(tiny_config, seed=1))
    assert torch.equal(again.triangles, start.triangles) and torch.equal(again.barycentric, start.barycentric)
    assert not torch.equal(other.triangles, start.triangles)


def test_the_loss_falls(start: GaussianHead, tiny_fit, tiny_take: Take, tiny_config: TrainConfig) -> None:
    before, after = (mean_loss(tiny_take, g, tiny_config) for g in (start, tiny_fit.gaussians))
    assert after < before / 3
    assert tiny_fit.progress[0] == (1, tiny_config.steps)
    assert tiny_fit.progress[-1] == (tiny_config.steps, tiny_config.steps)


def test_held_out_frames_are_shown_better_than_by_the_nearest_frame(tiny_fit, tiny_take: Take) -> None:
    figures = evaluate_held_out(tiny_take, tiny_fit.gaussians)
    driven, nearest, raw = (figures[name] for name in ("video_driven", "nearest_frame", "nearest_frame_raw"))
    assert driven["psnr"] > nearest["psnr"] + 3 > raw["psnr"]
    assert driven["ssim"] > nearest["ssim"]
    assert driven["l1"] < nearest["l1"]
    assert figures["frames"] == {"count": 3, "skipped": 0}


def test_the_truth_itself_has_no_error_but_rounding(tiny_gaussians: GaussianHead, tiny_take: Take) -> None:
    figures = evaluate_held_out(tiny_take, tiny_gaussians)["video_driven"]
    assert figures["psnr"] > 55 and figures["ssim"] > 0.999


def test_training_is_repeatable_to_the_bit(tiny_take: Take, open_head: Head, tiny_config: TrainConfig) -> None:
    short = replace(tiny_config, steps=6, residual_start=3)
    one, other = (fit_avatar(tiny_take, open_head, short, threads=n).state_dict() for n in (1, 2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_held_out_frames_are_never_read(take_copy: Take, open_head: Head, tiny_config: TrainConfig) -> None:
    for index in take_copy.split()["test"]:
        for folder in ("images", "masks", "parts"):
            (take_copy.path / folder / f"{index:05d}.png").unlink()
    short = replace(tiny_config, steps=30)
    assert torch.isfinite(fit_avatar(take_copy, open_head, short, threads=1).offsets).all()


def test_residuals_rest_until_they_start(tiny_take: Take, open_head: Head, tiny_config: TrainConfig) -> None:
    quiet = fit_avatar(tiny_take, open_head, replace(tiny_config, steps=4, residual_start=4), threads=1)
    awake = fit_avatar(tiny_take, open_head, replace(tiny_config, steps=4, residual_start=3), threads=1)
    assert quiet.residuals.abs().max() == 0 < awake.residuals.abs().max()


def test_shoulders_that_no_frame_shows_stay_where_they_start(start: GaussianHead, tiny_fit) -> None:
    fitted, guessed = tiny_fit.gaussians, start.sunk_torso
    assert guessed.any()
    for name in ("offsets", "log_scales", "quats"):
        before, after = getattr(start, name), getattr(fitted, name)
        assert torch.equal(before[guessed], after[guessed]) and not torch.equal(before[~guessed], after[~guessed])
    assert not fitted.residuals[guessed].any() and fitted.residuals[~guessed].any()


def test_learning_rates_decay_to_their_share(start: GaussianHead, tiny_config: TrainConfig) -> None:
    optimizer = make_optimizer(start, tiny_config)
    decay_learning_rates(optimizer, 1.0)
    rates = {group["name"]: group["lr"] / group["base_lr"] for group in optimizer.param_groups}
    assert rates.pop("offsets") == pytest.approx(0.02)
    assert list(rates.values()) == pytest.approx([0.1] * 5)
    decay_learning_rates(optimizer, 0.0)
    assert all(group["lr"] == group["base_lr"] for group in optimizer.param_groups)


def test_a_take_without_clothes_has_no_torso(take_copy: Take, open_head: Head, tiny_config: TrainConfig) -> None:
    for index in range(len(take_copy)):
        parts = take_copy.parts(index)
        take_copy.write_parts(index, np.where(parts == 2, 0, parts).astype(np.uint8))
    indices = take_copy.split()["train"]
    bare = initial_head(take_copy, open_head, take_copy.motion(), indices, tiny_config)
    assert len(bare) == tiny_config.gaussians and len(bare.torso_faces) == 0
