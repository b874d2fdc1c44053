"""Relocation: errors find their Gaussians, the superfluous ones move there, and no region or place is left bare."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render import rasterize
from avatar.train.config import TrainConfig
from avatar.train.dataset import read_ahead, read_frame
from avatar.train.fitting import Objective, fit_avatar, make_optimizer
from avatar.train.relocation import FIXED, FLOORS, Relocation, Shares, measured_shares, relocate


@pytest.fixture
def gaussians(tiny_fit) -> GaussianHead:
    return deepcopy(tiny_fit.gaussians).requires_grad_(True)


def floors(gaussians: GaussianHead) -> np.ndarray:
    return (np.array([FLOORS[name] for name in REGIONS]) * np.bincount(gaussians.regions, minlength=6)).astype(int)


def moved(gaussians: GaussianHead, take: Take, config: TrainConfig, shares: Shares, count: int = 60) -> np.ndarray:
    pose, optimizer = gaussians.poses(take.motion())[5], make_optimizer(gaussians, config)
    generator = np.random.default_rng(0)
    return relocate(gaussians, optimizer, shares, pose, floors=floors(gaussians), count=count, generator=generator)


def test_shares_are_the_blending_weights(gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    objective, poses = Objective.of(tiny_take, gaussians, tiny_config, 1), gaussians.poses(tiny_take.motion())
    shares = measured_shares(gaussians, objective, poses, [read_frame(tiny_take, 5)])
    assert (shares.error >= 0).all() and (shares.error <= shares.coverage).all()
    # One Gaussian alone in white, all others black: the picture is its weights.
    row = int(shares.coverage.argmax())
    with torch.no_grad():
        world = gaussians(poses[5])
        white = torch.zeros_like(world.colors)
        white[row] = 1
        scene = (world.means, world.quats, world.scales, world.opacities, white)
        size = (tiny_take.info.width, tiny_take.info.height)
        painted = rasterize(*scene, objective.viewmat, objective.K, *size, threads=1)
    assert float(shares.coverage[row]) == pytest.approx(float(painted.image[..., 0].sum()), rel=1e-3)


def test_an_error_is_found_where_it_is(gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    objective, poses = Objective.of(tiny_take, gaussians, tiny_config, 1), gaussians.poses(tiny_take.motion())
    frame = read_frame(tiny_take, 5)
    spoilt = frame.image.clone()
    left = frame.image.shape[1] // 2
    spoilt[:, :left] = 1 - spoilt[:, :left]
    shares = measured_shares(gaussians, objective, poses, [replace(frame, image=spoilt)])
    with torch.no_grad():
        across = gaussians(poses[5]).means @ objective.viewmat[:3, :3].T + objective.viewmat[:3, 3]
    on_left = across[:, 0] / across[:, 2] * objective.K[0, 0] + objective.K[0, 2] < left
    assert shares.error[on_left].sum() > 3 * shares.error[~on_left].sum()


def test_gaussians_leave_where_they_are_spared_for_where_the_error_is(
    gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig
) -> None:
    before, skin = deepcopy(gaussians), gaussians.regions == REGIONS.index("skin")
    target = torch.zeros(len(gaussians))
    target[torch.nonzero(skin)[:80, 0]] = 1.0
    coverage = torch.rand(len(gaussians), generator=torch.Generator().manual_seed(0)) + target
    rows = moved(gaussians, tiny_take, tiny_config, Shares(target, coverage))
    assert 0 < len(rows) <= 60 and len(gaussians) == len(before)
    assert not np.isin(before.regions[rows], [REGIONS.index(name) for name in FIXED]).any()
    assert (target[rows] == 0).all()
    # Each child lies on the triangle of one that erred, at the other side of its middle, and both are smaller.
    stayed = np.setdiff1d(np.arange(len(gaussians)), rows)
    changed = stayed[(gaussians.offsets[stayed] != before.offsets[stayed]).any(1).numpy()]
    assert (target[changed] == 1).all() and len(changed) == len(rows)
    key = lambda head, row: (int(head.triangles[row]), *head.barycentric[row].tolist())  # noqa: E731
    assert sorted(key(gaussians, row) for row in rows) == sorted(key(before, row) for row in changed)
    assert (gaussians.log_scales[changed].amax(1) <= before.log_scales[changed].amax(1)).all()
    halves = {key(gaussians, row): row for row in rows}
    for row in changed[:10]:
        middle = (gaussians.offsets[row] + gaussians.offsets[halves[key(gaussians, row)]]) / 2
        torch.testing.assert_close(middle, before.offsets[row], atol=1e-7, rtol=1e-4)
    assert gaussians.rigged().corners.max() < len(gaussians.carriers(gaussians.poses(tiny_take.motion())[5]))


def test_no_region_falls_below_its_floor(gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    least = floors(gaussians)
    even = torch.ones(len(gaussians))
    for _ in range(4):
        moved(gaussians, tiny_take, tiny_config, Shares(even, even), count=800)
    assert (np.bincount(gaussians.regions, minlength=6) >= least).all()


def test_nothing_moves_without_an_error(gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    before = deepcopy(gaussians)
    none = torch.zeros(len(gaussians))
    assert len(moved(gaussians, tiny_take, tiny_config, Shares(none, none))) == 0
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in gaussians.state_dict().items())


def test_the_optimiser_forgets_what_moved(gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    optimizer, error = make_optimizer(gaussians, tiny_config), torch.zeros(len(gaussians))
    for value in gaussians.parameters(recurse=False):
        value.grad = torch.ones_like(value)
    optimizer.step()
    error[torch.nonzero(gaussians.regions == REGIONS.index("skin"))[:50, 0]] = 1.0
    pose = gaussians.poses(tiny_take.motion())[5]
    generator = np.random.default_rng(0)
    rows = relocate(
        gaussians, optimizer, Shares(error, error), pose, floors=floors(gaussians), count=20, generator=generator
    )
    mean = optimizer.state[gaussians.offsets]["exp_avg"]
    assert len(rows) and (mean[rows] == 0).all()
    assert int((mean == 0).all(1).sum()) == 2 * len(rows)


def test_rounds_are_spread_and_end_early(gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    config = replace(tiny_config, steps=1000, residual_start=100, relocations=5)
    read, none = partial(read_ahead, tiny_take), replace(config, relocations=0)
    assert Relocation.of(read, gaussians, config, lambda steps: steps).steps == (200, 300, 400, 500, 600)
    assert Relocation.of(read, gaussians, none, lambda steps: steps).steps == ()


def test_a_run_stopped_after_a_round_goes_on_to_the_same_bits(
    tiny_take: Take, open_head: Head, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(
        tiny_config, gaussians=1500, torso_gaussians=60, steps=14, residual_start=2, relocations=2, relocated_share=0.1
    )
    whole = fit_avatar(tiny_take, open_head, config, threads=1)

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        fit_avatar(tiny_take, open_head, config, checkpoint=path, progress=stop, threads=1)
    with safe_open(path, framework="pt") as stored:
        assert not torch.equal(stored.get_tensor("head.triangles"), whole.triangles)
    resumed = fit_avatar(tiny_take, open_head, config, checkpoint=path, threads=1)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
