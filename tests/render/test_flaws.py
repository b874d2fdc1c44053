"""Holes, shortfall and floaters are counted where they are, and nowhere else."""

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.fields.gaussian_head import GaussianHead, Pose
from avatar.motion import Motion
from avatar.render.flaws import orbit_flaws, view_flaws
from avatar.render.shots import head_centers
from avatar.render.trajectories import around, camera_eye

SIDE = 160


@pytest.fixture(scope="module")
def pose(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> Pose:
    return tiny_gaussians.poses(tiny_motion[:1])[0]


@pytest.fixture(scope="module")
def center(tiny_gaussians: GaussianHead, pose: Pose) -> np.ndarray:
    return head_centers(tiny_gaussians, [pose])[0]


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera.front(1.6 * SIDE, SIDE, SIDE)


def rest_places(gaussians: GaussianHead) -> torch.Tensor:
    return gaussians.head(betas=gaussians.betas[None])[0][gaussians.head.faces[gaussians.triangles]].mean(1)


def test_a_whole_head_has_next_to_no_flaws(tiny_gaussians, pose, camera, center) -> None:
    flaws = view_flaws(tiny_gaussians, pose, around(camera, center, yaw=0, pitch=0), threads=1)
    assert flaws.holes + flaws.shortfall < 0.01 and flaws.floaters == 0


def test_a_missing_cheek_is_a_hole(tiny_gaussians, pose, camera, center) -> None:
    # Both walls of the head are taken away: through one alone the other shows.
    hole = (rest_places(tiny_gaussians)[:, :2] - torch.tensor([0.02, -0.02])).norm(dim=1) < 0.035
    view = around(camera, center, yaw=0, pitch=0)
    flaws = view_flaws(tiny_gaussians.subset(~hole), pose, view, threads=1)
    assert 0.01 < flaws.holes < 0.2 and flaws.shortfall < 0.01 and flaws.floaters == 0


def test_a_missing_crown_is_a_shortfall_and_no_hole(tiny_gaussians, pose, camera, center) -> None:
    heights = rest_places(tiny_gaussians)[:, 1]
    view = around(camera, center, yaw=0, pitch=0)
    flaws = view_flaws(tiny_gaussians.subset(heights < heights.max() - 0.05), pose, view, threads=1)
    assert 0.01 < flaws.shortfall < 0.2 and flaws.holes < 0.002


def test_what_hangs_in_the_air_is_a_floater(tiny_gaussians, pose, camera, center) -> None:
    loose = tiny_gaussians.subset(torch.ones(len(tiny_gaussians), dtype=torch.bool))
    top = int(rest_places(loose)[:, 1].argmax())
    with torch.no_grad():
        loose.offsets[top] = torch.tensor([0.0, 0.08, 0.0])
        loose.log_scales[top] = float(np.log(0.012))
        loose.opacity_logits[top] = 5.0
    view = around(camera, center, yaw=0, pitch=0)
    assert 0.0005 < view_flaws(loose, pose, view, threads=1).floaters < 0.05


def test_an_orbit_names_its_views_and_keeps_its_distance(tiny_gaussians, pose, camera, center) -> None:
    views = list(orbit_flaws(tiny_gaussians, pose, camera, center, yaws=(-20, 20), pitches=(0, 10), threads=1))
    assert [view[:2] for view in views] == [(-20, 0), (20, 0), (-20, 10), (20, 10)]
    assert all(0 <= share < 0.2 for *_, flaws in views for share in flaws)
    side = around(camera, center, yaw=90, pitch=0)
    distance = np.linalg.norm(camera_eye(camera) - center)
    assert camera_eye(side) == pytest.approx(center + np.array([distance, 0, 0]))
