"""Pinholes are closed in views that no frame shows, and the frames stay as they are."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.survey import take_camera
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render.flaws import view_flaws
from avatar.render.playback import render_pose
from avatar.render.shots import head_centers
from avatar.render.trajectories import around, resized
from avatar.train import fitting, pinholes
from avatar.train.config import TrainConfig
from avatar.train.pinholes import calmest, close_pinholes

SIDES = [(yaw, pitch) for yaw in (32, 36, 40) for pitch in (-5, 0, 5)]


@pytest.fixture
def pierced(tiny_gaussians: GaussianHead) -> GaussianHead:
    """The tiny head with a pinhole before one ear, behind which much of the other side of the skull is missing."""
    head = tiny_gaussians.head
    place = head(betas=tiny_gaussians.betas[None])[0][head.faces[tiny_gaussians.triangles]].mean(1)
    cheek = place[((place[:, 1:] - torch.tensor([0.0, 0.03])).abs() < 0.01).all(1)]
    away = place - cheek[cheek[:, 0].argmax()]
    towards = torch.tensor([np.sin(np.radians(36)), 0.0, np.cos(np.radians(36))], dtype=torch.float32)
    ahead = away @ towards
    behind = (ahead < -0.03) & ((away - ahead[:, None] * towards).norm(dim=1) < 0.04)
    return tiny_gaussians.subset((away.norm(dim=1) > 0.013) & ~behind)


def holes(gaussians: GaussianHead, take: Take, frames: np.ndarray) -> float:
    pose, camera = gaussians.poses(take.motion()[frames[:1]])[0], resized(take_camera(take), 256)
    view = partial(around, camera, head_centers(gaussians, [pose])[0])
    return max(view_flaws(gaussians, pose, view(yaw=y, pitch=p), threads=1).holes for y, p in SIDES)


@pytest.fixture
def ahead(tiny_take: Take) -> np.ndarray:
    """The frames that hardly show the side of the head."""
    motion = tiny_take.motion()
    return np.sort(np.linalg.norm(motion.global_orient + motion.neck_pose, axis=1).argsort()[:20])


def test_what_frames_do_not_show_is_closed(pierced: GaussianHead, tiny_take: Take, ahead: np.ndarray) -> None:
    camera, poses = take_camera(tiny_take), pierced.poses(tiny_take.motion()[ahead])
    before = [render_pose(pierced, pose, camera, threads=1) for pose in poses]
    closed = copy.deepcopy(pierced)
    grown = close_pinholes(closed, tiny_take, ahead, seed=0, threads=1)
    assert holes(pierced, tiny_take, ahead) > 0.001 and holes(closed, tiny_take, ahead) == 0
    assert 0 < grown < len(pierced) / 20
    for pose, picture in zip(poses, before, strict=True):
        now = render_pose(closed, pose, camera, threads=1)
        assert (now.image - picture.image).square().mean() < 5e-6


def test_what_frames_show_stays_as_it_is(
    pierced: GaussianHead, tiny_take: Take, ahead: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion, camera = tiny_take.motion(), take_camera(tiny_take)
    turned = np.delete(np.arange(len(motion)), ahead)
    monkeypatch.setattr(pinholes, "LOOKS", 0)
    changes = []
    for most in (1e-7, np.inf):
        monkeypatch.setattr(pinholes, "SPOILT", most)
        closed = copy.deepcopy(pierced)
        close_pinholes(closed, tiny_take, turned, seed=0, threads=1)
        pairs = [
            [render_pose(gaussians, pose, camera, threads=1).image for gaussians in (closed, pierced)]
            for pose in pierced.poses(motion[turned[::4]])
        ]
        changes.append(max(float((now - then).square().mean()) for now, then in pairs))
    assert 3 * changes[0] < changes[1], changes


def test_the_same_seed_closes_the_same(
    pierced: GaussianHead, tiny_take: Take, ahead: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinholes, "LOOKS", 1)
    one, other = copy.deepcopy(pierced), copy.deepcopy(pierced)
    for gaussians, threads in ((one, 1), (other, 2)):
        close_pinholes(gaussians, tiny_take, ahead, seed=3, threads=threads)
    assert torch.equal(one.log_scales, other.log_scales) and torch.equal(one.opacity_logits, other.opacity_logits)


def test_training_ends_with_it_where_asked(
    tiny_take: Take, open_head: Head, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[GaussianHead] = []
    monkeypatch.setattr(fitting, "close_pinholes", lambda gaussians, *_, **__: seen.append(gaussians) or 0)
    for asked in (False, True):
        config = replace(tiny_config, steps=2, close_pinholes=asked)
        gaussians = fitting.fit_avatar(tiny_take, open_head, config, threads=1)
        assert seen == ([gaussians] if asked else [])


def test_the_calmest_moment_is_the_one_nearest_to_the_mean(tiny_take: Take) -> None:
    motion = tiny_take.motion()
    rows = np.concatenate([motion.expression, motion.pose.reshape(len(motion), -1)], 1)
    spread = np.maximum(rows.std(0), 1e-6)
    away = [np.linalg.norm((row - rows.mean(0)) / spread) for row in rows]
    assert calmest(motion) == int(np.argmin(away))
