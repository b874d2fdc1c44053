"""Depth and normals as pictures."""

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.fields.gaussian_head import GaussianHead
from avatar.heads import Head
from avatar.motion import Motion
from avatar.render import Rendering
from avatar.render.clearance import is_inside
from avatar.render.layers import DEPTH_UNIT, depth_picture, depth_range, depth_steps, normal_picture, normal_steps
from avatar.render.playback import PosedAvatar
from avatar.render.trajectories import orbit


@pytest.fixture
def patch() -> Rendering:
    """Four pixels: near, far, faint and empty; normals to the camera at the origin, right, up and none."""
    depth = torch.tensor([[[0.5], [0.9]], [[0.7], [0.0]]])
    alpha = torch.tensor([[[1.0], [1.0]], [[0.2], [0.0]]])
    normal = torch.tensor([[[0.0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]])
    return Rendering(torch.zeros(2, 2, 3), alpha, depth, normal)


def test_depth_in_steps_and_to_look_at(patch: Rendering) -> None:
    assert (depth_steps(patch) == [[5000, 9000], [7000, 0]]).all() and DEPTH_UNIT == 1e-4
    shown = depth_picture(patch, 0.5, 0.9)
    assert shown.shape == (2, 2, 3)
    assert (shown[..., 0] == [[255, 32], [0, 0]]).all()
    far = patch._replace(depth=patch.depth + 100)  # type: ignore[operator]
    assert (depth_steps(far) == 65535).all()


def test_normals_in_the_axes_of_normal_maps(patch: Rendering) -> None:
    front = Camera.front(100.0, 2, 2).viewmat
    shown = normal_picture(patch, front)
    assert (shown[0, 0] == [128, 128, 255]).all() and (shown[0, 1] == [255, 128, 128]).all()
    assert (shown[1] == 0).all()
    steps = normal_steps(patch, front)
    assert (steps[1, 0] == [32768, 65535, 32768]).all() and (steps[1, 1] == 32768).all()


def test_a_head_faces_the_camera_from_every_side(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    pose = tiny_gaussians.poses(tiny_motion)[0]
    posed = PosedAvatar(tiny_gaussians, pose)
    center = posed.points.mean(0).numpy()
    for camera in orbit(Camera.front(120.0, 64, 64), center, np.array([0, 1.5, 4.5])):
        drawn = posed.draw(camera, depth=True, normal=True)
        solid = drawn.alpha.numpy()[..., 0] > 0.9
        toward = normal_picture(drawn, camera.viewmat)[solid][:, 2]
        assert np.median(toward) > 160
        near, far = depth_range(tiny_gaussians, [pose], [camera])
        depth = drawn.depth.numpy()[solid]  # type: ignore[union-attr]
        assert near - 0.03 < depth.min() and depth.max() < far + 0.03


def test_inside_the_head_and_outside(open_head: Head) -> None:
    start, stop = open_head.parts["skin"]
    vertices, faces = open_head()[0].numpy(), open_head.faces.numpy()
    faces = faces[((faces >= start) & (faces < stop)).all(1)] - start
    skin = vertices[start:stop]
    middle = (skin.min(0) + skin.max(0)) / 2
    nose = skin[skin[:, 2].argmax()]
    assert is_inside(middle, skin, faces)
    assert is_inside(nose + np.array([0, 0, 0.01]), skin, faces)
    for away in ([0, 0, 0.05], [0.2, 0, 0], [0, 0.5, 0], [0, 0, -0.5]):
        assert not is_inside(nose + away, skin, faces)
    assert not is_inside(np.array([0, skin[:, 1].min() - 0.03, 0]), skin, faces)
