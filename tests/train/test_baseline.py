"""The nearest-frame baseline finds a known similarity and lays the picture where the landmarks say."""

import cv2
import numpy as np
import pytest

from avatar.train.baseline import MESH_POINTS, NearestFrames, warped


@pytest.fixture
def landmarks() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 478, 3)) * 20 + 50


def similarity(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (0.4, 1.2, (30, -8)), (-2.5, 0.5, (-3, 90))])
def test_the_frame_and_the_similarity_are_recovered_exactly(
    angle: float, scale: float, shift: tuple[float, float], landmarks: np.ndarray
) -> None:
    wanted = similarity(angle, scale, shift)
    landmarks[11, :, :2] = landmarks[6, :, :2] @ wanted[:, :2].T + wanted[:, 2]
    index, found = NearestFrames(landmarks, np.arange(2, 10)).to(11)
    assert index == 6
    assert np.allclose(found, wanted, atol=1e-9)


def test_the_irises_do_not_decide(landmarks: np.ndarray) -> None:
    landmarks[11] = landmarks[4]
    landmarks[4, MESH_POINTS:] += 1000
    assert NearestFrames(landmarks, np.arange(8)).to(11)[0] == 4


def test_only_training_frames_are_looked_at(landmarks: np.ndarray) -> None:
    landmarks[11] = landmarks[10]
    assert NearestFrames(landmarks, np.array([0, 3, 5])).to(11)[0] in (0, 3, 5)


def test_the_identity_leaves_the_picture_alone() -> None:
    image = np.random.default_rng(0).random((12, 9, 3)).astype(np.float32)
    assert np.allclose(warped(image, similarity(0, 1, (0, 0))), image, atol=1e-5)


def test_pixel_centres_lie_at_one_half() -> None:
    image = np.random.default_rng(0).random((6, 6, 3)).astype(np.float32)
    # Half a turn about the middle of the picture, (3, 3) where pixels are squares with whole corners.
    assert np.allclose(warped(image, similarity(np.pi, 1, (6, 6))), image[::-1, ::-1], atol=1e-4)


def test_a_spot_lands_where_its_landmark_does() -> None:
    rows, columns = np.mgrid[:64, :64] + 0.5
    blob = np.exp(-((columns - 20) ** 2 + (rows - 30) ** 2) / 18)
    map_ = similarity(0.3, 1.3, (5, -6))
    moved = warped(np.repeat(blob[..., None], 3, -1).astype(np.float32), map_)[..., 0]
    center = np.array([(moved * columns).sum(), (moved * rows).sum()]) / moved.sum()
    assert np.allclose(center, map_ @ [20, 30, 1], atol=0.05)
    assert cv2.minMaxLoc(moved)[1] == pytest.approx(1, abs=0.05)
