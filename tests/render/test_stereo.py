"""Two eyes: where they stand, what both show, and the half sphere against its definition."""

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.errors import InputError
from avatar.fields.gaussian_head import GaussianHead
from avatar.motion import Motion
from avatar.render.half_sphere import draw_half_sphere, half_sphere_rays
from avatar.render.playback import PosedAvatar
from avatar.render.stereo import Stereo, draw_stereo, eyes
from avatar.render.trajectories import camera_eye, framed

CAMERA = Camera.front(200.0, 96, 80)


@pytest.fixture
def posed(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> PosedAvatar:
    return PosedAvatar(tiny_gaussians, tiny_gaussians.poses(tiny_motion)[3])


def projected(camera: Camera, point: list[float]) -> np.ndarray:
    seen = camera.K @ (camera.viewmat[:3, :3] @ np.array(point) + camera.viewmat[:3, 3])
    return seen[:2] / seen[2]


def test_eyes_stand_apart_and_meet_at_the_convergence() -> None:
    left, right = eyes(CAMERA, Stereo("sbs", ipd=0.06, convergence=0.5), distance=9.0)
    assert np.allclose(camera_eye(left), [-0.03, 0, 0]) and np.allclose(camera_eye(right), [0.03, 0, 0])
    assert np.allclose(left.viewmat[:3, :3], right.viewmat[:3, :3])
    for point in ([0, 0, -0.5], [0.1, -0.05, -0.5]):
        assert np.allclose(projected(left, point), projected(right, point))
    near, far = (projected(left, [0, 0, -z])[0] - projected(right, [0, 0, -z])[0] for z in (0.4, 0.8))
    # What is nearer than the screen is crossed: the left eye sees it further to the right.
    assert near == pytest.approx(200 * 0.06 * (1 / 0.4 - 2)) and far < 0
    left, right = eyes(CAMERA, Stereo("sbs"), distance=0.7)
    assert np.allclose(projected(left, [0, 0, -0.7]), projected(right, [0, 0, -0.7]))
    left, right = eyes(CAMERA, Stereo("180"), distance=0.7)
    assert np.allclose(left.K, right.K)


@pytest.mark.parametrize("layout", ["sbs", "tb"])
def test_both_eyes_are_what_each_sees_alone(layout: str, posed: PosedAvatar) -> None:
    stereo = Stereo(layout, ipd=0.07)  # type: ignore[arg-type]
    both = draw_stereo(posed, CAMERA, stereo, distance=0.6, depth=True, normal=True)
    axis = {"sbs": 1, "tb": 0}[layout]
    for half, eye in zip(both.image.chunk(2, axis), eyes(CAMERA, stereo, distance=0.6), strict=True):
        torch.testing.assert_close(half, posed.draw(eye).image, atol=1e-3, rtol=0)
    assert both.depth is not None and both.normal is not None
    assert both.depth.shape[:2] == both.image.shape[:2] == both.normal.shape[:2]
    assert both.alpha.max() > 0.9


def test_rays_of_the_half_sphere() -> None:
    rays = half_sphere_rays(64)
    assert np.allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-6)
    assert (rays[..., 2] > 0).all()
    # The middle looks ahead, the left edge to the left, the top edge up (OpenCV's y points down).
    assert rays[31:33, 31:33, 2].min() > 0.998
    assert rays[32, 0, 0] < -0.998 and rays[0, 32, 1] < -0.998


def test_the_half_sphere_shows_what_a_perspective_picture_shows(posed: PosedAvatar) -> None:
    size = 256
    sphere = draw_half_sphere(posed, framed(CAMERA, size, size), depth=True, normal=True)
    assert sphere.image.shape == (size, size, 3)
    assert sphere.depth is not None and sphere.normal is not None
    flat = posed.draw(framed(CAMERA, 400, 400, fov=60.0), depth=True)
    assert flat.depth is not None
    focal = 200 / np.tan(np.radians(30))
    rays = half_sphere_rays(size)
    x, y = (focal * rays[..., i] / rays[..., 2] + 200 for i in (0, 1))
    inside = (np.abs(x - 200) < 190) & (np.abs(y - 200) < 190) & (rays[..., 2] > 0)
    rows, columns = y[inside].astype(int), x[inside].astype(int)
    here, there = sphere.image.numpy()[inside], flat.image.numpy()[rows, columns]
    assert np.sqrt(((here - there) ** 2).mean()) < 0.05
    solid = (sphere.alpha.numpy()[inside][:, 0] > 0.95) & (flat.alpha.numpy()[rows, columns][:, 0] > 0.95)
    assert solid.sum() > 100
    along = flat.depth.numpy()[rows, columns][solid, 0] / rays[inside][solid, 2]
    assert np.median(np.abs(sphere.depth.numpy()[inside][solid, 0] - along)) < 0.004
    outside = sphere.alpha.numpy()[~inside]
    assert outside.max() < 0.05


def test_a_head_at_the_side_is_on_another_face_of_the_cube(posed: PosedAvatar) -> None:
    """Turned by 60 degrees, the head is seen 60 degrees to the side and as large as before."""
    size = 180
    ahead = draw_half_sphere(posed, framed(CAMERA, size, size)).alpha.numpy()[..., 0]
    angle = np.radians(60)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    camera = framed(CAMERA, size, size)
    aside = draw_half_sphere(posed, Camera(turn @ camera.viewmat, camera.K, size, size)).alpha.numpy()[..., 0]
    columns = np.arange(size)
    middle, moved = ((picture.sum(0) * columns).sum() / picture.sum() for picture in (ahead, aside))
    assert moved - middle == pytest.approx(60, abs=3)
    assert aside.sum() == pytest.approx(ahead.sum(), rel=0.05)


@pytest.mark.parametrize(
    "settings", [{"ipd": -0.01}, {"ipd": 6.3}, {"convergence": 0.0}, {"layout": "180", "convergence": 1.0}]
)
def test_eyes_that_cannot_be(settings: dict) -> None:
    with pytest.raises(InputError, match="Expected"):
        Stereo(**settings)
