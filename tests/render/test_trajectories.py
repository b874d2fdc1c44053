"""Camera paths: they go where they should, and stay where they are told."""

import numpy as np
import pytest

from avatar.cameras import Camera
from avatar.render.trajectories import (
    DOLLY_SECONDS,
    CameraPath,
    camera_eye,
    dolly,
    follow,
    framed,
    orbit,
    resized,
    vertical_fov,
)

CENTER = np.array([0.02, -0.05, -0.8])


@pytest.fixture
def camera() -> Camera:
    return Camera.front(300.0, 200, 160)


def projected(camera: Camera, point: np.ndarray) -> np.ndarray:
    seen = camera.K @ (camera.viewmat[:3, :3] @ point + camera.viewmat[:3, 3])
    return seen[:2] / seen[2]


def test_orbit_and_dolly_keep_the_head_in_the_middle(camera: Camera) -> None:
    times = np.linspace(0, DOLLY_SECONDS, 13)
    for cameras in (orbit(camera, CENTER, times), dolly(camera, CENTER, times, nearest=0.5)):
        for each in cameras:
            assert np.allclose(projected(each, CENTER), (100, 80), atol=1e-6)
    distances = [np.linalg.norm(camera_eye(each) - CENTER) for each in dolly(camera, CENTER, times, nearest=0.5)]
    assert np.argmin(distances) == 6
    assert distances[6] == pytest.approx(distances[0] / 2) and distances[12] == pytest.approx(distances[0])


def path(eyes: list[list[float]], fov: list[float], *, loop: bool = False) -> CameraPath:
    count = len(eyes)
    up, target = np.tile([0.0, 1.0, 0.0], (count, 1)), np.tile(CENTER, (count, 1))
    return CameraPath(np.arange(count, dtype=float), np.array(eyes), target, up, np.array(fov), loop)


def test_a_path_passes_its_keys_and_never_swings_beyond(camera: Camera) -> None:
    keys = [[0.0, 0, 0], [0.3, 0, 0], [0.3, 0, 0], [-0.2, 0.1, -0.1]]
    around = path(keys, [20, 30, 30, 10])
    at_keys = around.cameras(np.arange(4.0), 64, 48)
    assert np.allclose([camera_eye(each) for each in at_keys], keys, atol=1e-9)
    assert np.allclose([vertical_fov(each) for each in at_keys], [20, 30, 30, 10])
    between = np.array([camera_eye(each) for each in around.cameras(np.linspace(0, 3, 61), 64, 48)])
    assert between[:, 0].max() <= 0.3 + 1e-9
    # It stands still between equal keys.
    assert np.ptp(between[20:41], axis=0).max() < 1e-9
    # It is smooth: no step differs much from its neighbours.
    assert np.abs(np.diff(between[:21], 2, axis=0)).max() < 0.004


def test_a_path_is_held_at_its_ends_or_starts_again() -> None:
    keys, fov = [[0.0, 0, 0], [0.3, 0, 0]], [20.0, 20.0]
    times = np.array([-1.0, 0.0, 0.25, 1.25, 7.25])
    held = [camera_eye(each)[0] for each in path(keys, fov).cameras(times, 64, 48)]
    looped = [camera_eye(each)[0] for each in path(keys, fov, loop=True).cameras(times, 64, 48)]
    assert np.allclose(held, [0, 0, 0.075, 0.3, 0.3], atol=1e-9)
    assert np.allclose(looped[1:], [0, 0.075, 0.075, 0.075], atol=1e-9)
    assert camera_eye(path(keys[:1], fov[:1]).cameras(times, 64, 48)[3]) == pytest.approx([0, 0, 0])


def test_following_shows_the_face_in_the_middle_without_its_tremble(camera: Camera) -> None:
    times = np.arange(50) / 25
    moved = CENTER + np.stack([0.1 * np.sin(times), 0 * times, 0 * times], axis=1)
    shaken = moved + 0.003 * np.where(np.arange(50) % 2, 1, -1)[:, None]
    followed = follow([camera] * 50, shaken, times)
    middle = np.array([projected(each, point) for each, point in zip(followed, moved, strict=True)])
    assert np.abs(middle - (100, 80)).max() < 4
    steps = np.abs(np.diff([each.viewmat[2, 0] for each in followed], 2))
    assert steps.max() < 5e-4
    assert all(np.allclose(camera_eye(each), 0) for each in followed)


def test_framing_keeps_the_vertical_field_of_view_or_takes_another(camera: Camera) -> None:
    wide = framed(camera, 640, 320)
    assert vertical_fov(wide) == pytest.approx(vertical_fov(camera)) and wide.K[0, 2] == 320
    assert vertical_fov(framed(camera, 64, 48, fov=40.0)) == pytest.approx(40)
    assert (resized(camera, 100).width, resized(camera, 100).height) == (100, 80)
