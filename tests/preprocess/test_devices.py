"""A take that is worked on where the head lies comes out as it does on the CPU."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.sampling import Sampling
from avatar.heads import Head
from avatar.io.take import Take
from avatar.preprocess import _likeness
from avatar.preprocess.alignment import AlignmentConfig, align_take
from avatar.preprocess.detail_config import DetailConfig
from avatar.preprocess.identity_detail import detail_take
from avatar.preprocess.photometric import refine_take
from avatar.preprocess.refinement_config import RefinementConfig, RefinementLevel
from avatar.preprocess.tracking import Observations, track, tracking_problem
from avatar.preprocess.tracking_config import TrackingConfig
from avatar.preprocess.tracking_overlay import posed

TRACKING = TrackingConfig(detector_habits=False, shared_steps=160, window_steps=6)
# In two windows.
FEW_STEPS = replace(TRACKING, shared_steps=15, window_steps=3, silhouette_frames=4, window_frames=20, window_overlap=6)
LEVEL = RefinementLevel(
    side=48,
    sampling=Sampling(gaussians=600, torso_gaussians=100, components=4, closed=False),
    first_steps=16,
    residual_start=8,
    light_frames=4,
)
COARSE = replace(LEVEL, side=32, first_steps=8, head_only=True)
REFINEMENT = RefinementConfig(levels=(COARSE, LEVEL), key_frames=3, threads=1)
ALIGNMENT = AlignmentConfig(side=48, sweeps=1, refinement=REFINEMENT)
# Share of what a step moves the head's vertices by, up to which another device may put them elsewhere: rounding grows
# where a weight leaves its bound or not.
NEAR = 0.02


@pytest.fixture(scope="module")
def tracked(tiny_take: Take, open_head: Head, tmp_path_factory: pytest.TempPathFactory) -> Take:
    """The tiny take, tracked on the CPU."""
    return worked_on(
        tiny_take,
        tmp_path_factory.mktemp("devices") / "take",
        lambda take: track(take, open_head, config=TRACKING),
    )


def worked_on(source: Take, folder: Path, work: Callable[[Take], object]) -> Take:
    """A copy of a take after some work."""
    take = Take.open(shutil.copytree(source.path, folder))
    work(take)
    return take


def apart(take: Take, other: Take, head: Head, there: Head | None = None) -> float:
    """The mean distance in metres between the vertices of two takes' heads, the second of them posed `there`."""
    ours, theirs = posed(head, take.motion()), posed(there or head, other.motion())
    return float(np.linalg.norm(ours - theirs, axis=2).mean())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.device, int]]:
    """Where each picture of refinement and alignment was drawn, and how many at once."""
    calls, draw = [], _likeness.rasterize_rigged

    def rasterize_rigged(rigged, vertices, *rest, **settings):
        calls.append((vertices.device, len(vertices)))
        return draw(rigged, vertices, *rest, **settings)

    monkeypatch.setattr(_likeness, "rasterize_rigged", rasterize_rigged)
    return calls


def test_tracking(tiny_take: Take, open_head: Head, device: torch.device, tmp_path: Path):
    moved = open_head.on(device)
    here, there = (
        worked_on(tiny_take, tmp_path / name, lambda take, head=head: track(take, head, config=FEW_STEPS))
        for name, head in (("here", open_head), ("there", moved))
    )
    assert tracking_problem(Observations.of_take(here), moved, config=FEW_STEPS).device == device
    assert apart(here, there, open_head, moved) < 1e-5
    assert here.info.focal == pytest.approx(there.info.focal, rel=1e-4)
    for name, value in here.tracking().items():
        np.testing.assert_allclose(there.tracking()[name], value, atol=1e-3, rtol=0, err_msg=name)


def test_identity_detail(tracked: Take, open_head: Head, device: torch.device, tmp_path: Path):
    config = DetailConfig(frames=3, sweeps=1)
    here, there = (
        worked_on(tracked, tmp_path / name, lambda take, head=head: detail_take(take, head, config=config))
        for name, head in (("here", open_head), ("there", open_head.on(device)))
    )
    ours, theirs = here.motion().vertex_offsets, there.motion().vertex_offsets
    assert ours is not None and theirs is not None and np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_refinement(tracked: Take, open_head: Head, device: torch.device, drawn: list, tmp_path: Path):
    here, there = (
        worked_on(
            tracked,
            tmp_path / name,
            lambda take, head=head: refine_take(take, head, config=REFINEMENT, tracking=TRACKING),
        )
        for name, head in (("here", open_head), ("there", open_head.on(device)))
    )
    assert drawn[-1][0] == device
    assert apart(here, there, open_head) < NEAR * apart(here, tracked, open_head)
    ours, theirs, before = (take.tracking()["offsets"] for take in (here, there, tracked))
    assert np.abs(ours - theirs).mean() < NEAR * np.abs(ours - before).mean()


def test_alignment(
    tracked: Take, open_head: Head, tiny_gaussians: GaussianHead, device: torch.device, drawn: list, tmp_path: Path
):
    moved = copy.deepcopy(tiny_gaussians).to(device)
    here, there = (
        worked_on(
            tracked,
            tmp_path / name,
            lambda take, avatar=avatar: align_take(take, avatar, config=ALIGNMENT, tracking=TRACKING),
        )
        for name, avatar in (("here", tiny_gaussians), ("there", moved))
    )
    assert drawn[-1] == (device, len(tracked))
    assert apart(here, there, open_head) < NEAR * apart(here, tracked, open_head)


def test_a_gpu_with_little_memory_draws_fewer_pictures_at_once(
    tracked: Take,
    open_head: Head,
    tiny_gaussians: GaussianHead,
    device: torch.device,
    drawn: list,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    def work(take: Take) -> None:
        align_take(take, moved, config=ALIGNMENT, tracking=TRACKING)

    moved = copy.deepcopy(tiny_gaussians).to(device)
    whole = worked_on(tracked, tmp_path / "whole", work)
    draw = _likeness.rasterize_rigged

    def scarce(rigged, vertices, *rest, **settings):
        picture = draw(rigged, vertices, *rest, **settings)
        if len(vertices) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return picture

    monkeypatch.setattr(_likeness, "rasterize_rigged", scarce)
    parts = worked_on(tracked, tmp_path / "parts", work)
    assert [count for _, count in drawn[-3:]] == [30, 15, 15]
    assert apart(parts, whole, open_head) < NEAR * apart(whole, tracked, open_head)
