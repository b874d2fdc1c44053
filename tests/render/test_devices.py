"""An avatar on another device: windows of the viewer, dubbed pictures and motions are those of the CPU."""

from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.fields.gaussian_head import GaussianHead
from avatar.io.avatar import load_avatar
from avatar.motion import Motion
from avatar.render.dubbing import dub_picture
from avatar.render.head_alone import head_alone
from avatar.render.layers import depth_range
from avatar.render.motions import ease_motion, idle_motion, neutral_motion
from avatar.render.playback import PosedAvatar, render_motion, render_pose
from avatar.render.viewer.direction import said_direction
from avatar.render.viewer.pictures import Backdrop, Window, draw_window, window_of
from avatar.render.viewer.puppet import Puppet
from avatar.render.viewer.splats import splat_arrays

CAMERA = Camera.front(90.0, 64, 64)


@pytest.fixture
def both(tiny_gaussians: GaussianHead, device: torch.device) -> list[GaussianHead]:
    """The avatar on the CPU and on the device."""
    return [tiny_gaussians, deepcopy(tiny_gaussians).to(device)]


def assert_alike(pictures: list[np.ndarray]) -> None:
    ours, theirs = (picture.astype(float) for picture in pictures)
    assert ours.std() > 5 and np.abs(ours - theirs).mean() < 0.1


def test_a_window_of_the_viewer(both: list[GaussianHead], tiny_motion: Motion) -> None:
    window = Window(*(tuple(part) for part in window_of(CAMERA)), 2 * np.arctan(32 / 90), 1.0)  # type: ignore[arg-type]
    backdrop, found, said, arrays = Backdrop(np.full((60, 80, 3), 200, np.uint8)), [], [], []
    for gaussians in both:
        puppet = Puppet(gaussians, tiny_motion)
        puppet.adjustments.emotions, puppet.adjustments.weights = {"happy": 1.0}, {"jawOpen": 0.5}
        pose = puppet.pose(tiny_motion[3:4])
        posed = PosedAvatar(gaussians, pose)
        found.append(draw_window(posed, window, 64, backdrop=backdrop, background="plate"))
        said.append(said_direction(gaussians, pose, window, None))
        arrays.append(splat_arrays(posed.world))
    assert_alike(found)
    assert said[0] == said[1]
    np.testing.assert_allclose(arrays[1].centers, arrays[0].centers, atol=1e-5)


def test_a_dubbed_picture(both: list[GaussianHead], tiny_motion: Motion) -> None:
    footage = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    found = []
    for gaussians in map(head_alone, both):
        drawn = render_pose(gaussians, gaussians.poses(tiny_motion[3:4])[0], CAMERA)
        found.append(dub_picture(footage, drawn, np.ones((64, 64), np.float32)).image)
    assert_alike(found)


def test_a_film_before_a_colour_and_its_depths(both: list[GaussianHead], tiny_motion: Motion) -> None:
    gray, few = np.full((1, 1, 3), 0.5, np.float32), tiny_motion[2:4]
    films = [np.stack(list(render_motion(gaussians, few, [CAMERA] * 2, background=gray))) for gaussians in both]
    assert_alike(films)
    depths = [depth_range(gaussians, gaussians.poses(few), [CAMERA] * 2) for gaussians in both]
    assert depths[1] == pytest.approx(depths[0], abs=1e-5)


def test_what_an_avatar_does_is_worked_out_on_the_cpu(tiny_avatar: Path, device: torch.device) -> None:
    ours = load_avatar(tiny_avatar)
    theirs = load_avatar(tiny_avatar).on(device)
    for made in (ease_motion, partial(idle_motion, fps=5), lambda stored: neutral_motion(stored.gaussians)):
        one, other = made(ours), made(theirs)
        np.testing.assert_array_equal(other.expression, one.expression)
        np.testing.assert_array_equal(other.pose, one.pose)
