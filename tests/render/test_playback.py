"""Playback: the fused path shows what the readable rig shows, over a background and alone."""

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.fields.gaussian_head import GaussianHead
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.render import rasterize
from avatar.render.playback import render_motion, render_over, render_pose


@pytest.fixture
def camera(tiny_take: Take) -> Camera:
    info = tiny_take.info
    return Camera.front(info.focal, info.width, info.height)


def test_a_frame_is_that_of_the_readable_rig(tiny_gaussians: GaussianHead, tiny_motion: Motion, camera: Camera) -> None:
    pose = tiny_gaussians.poses(tiny_motion)[3]
    image, alpha, *_ = render_pose(tiny_gaussians, pose, camera)
    world = tiny_gaussians(pose)
    viewmat, K = (torch.as_tensor(m, dtype=torch.float32) for m in (camera.viewmat, camera.K))
    scene = (world.means, world.quats, world.scales, world.opacities, world.colors)
    expected, expected_alpha, *_ = rasterize(*scene, viewmat, K, camera.width, camera.height)
    torch.testing.assert_close(image, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(alpha, expected_alpha, atol=1e-3, rtol=0)
    assert alpha.max() > 0.9 and not image.requires_grad


def test_a_motion_is_shown_over_a_background_or_with_alpha(
    tiny_gaussians: GaussianHead, tiny_motion: Motion, camera: Camera
) -> None:
    behind = np.full((1, 1, 3), 0.5, np.float32)
    few = tiny_motion[:2]
    opaque = list(render_motion(tiny_gaussians, few, [camera] * 2, background=behind))
    clear = list(render_motion(tiny_gaussians, few, [camera] * 2, background=None))
    pose = tiny_gaussians.poses(few)[1]
    assert np.array_equal(opaque[1], render_over(tiny_gaussians, pose, camera, background=behind))
    assert opaque[0].shape == (camera.height, camera.width, 3) and clear[0].shape[-1] == 4
    image, alpha = (t.numpy() for t in render_pose(tiny_gaussians, pose, camera)[:2])
    assert np.abs(clear[1][..., 3] - 255 * alpha[..., 0]).max() <= 0.51
    solid = alpha[..., 0] > 0.5
    assert np.abs(clear[1][..., :3] - 255 * (image / np.maximum(alpha, 1e-4)).clip(0, 1))[solid].max() <= 0.51
    assert (opaque[0][0, 0] == 128).all() and clear[0][0, 0, 3] == 0
