import cv2
import numpy as np
import pytest

from avatar.preprocess.shots import CutFinder, Shot


def scene(seed: int, *, blobs: int = 12, size=(120, 160)) -> np.ndarray:
    """A picture of coloured blocks, larger than what a camera sees of it."""
    rng = np.random.default_rng(seed)
    image = np.full((size[0] * 2, size[1] * 2, 3), rng.integers(40, 200, 3), np.float64)
    for _ in range(blobs):
        y, x = rng.integers(0, size[0] * 2), rng.integers(0, size[1] * 2)
        image[y : y + 70, x : x + 70] = rng.integers(0, 255, 3)
    return image


def view(image: np.ndarray, *, left: float = 0, gain: float = 1.0, noise: int | None = None) -> np.ndarray:
    part = image[:120, round(left) : round(left) + 160] * gain
    if noise is not None:
        part = part + np.random.default_rng(noise).normal(0, 12, part.shape)
    return part.clip(0, 255).astype(np.uint8)


def shots_of(frames) -> list[tuple[int, int]]:
    finder = CutFinder()
    for frame in frames:
        finder.look(frame)
    return [tuple(shot) for shot in finder.shots()]


@pytest.mark.parametrize("noise", [False, True])
def test_hard_cuts_are_found_to_the_frame(noise):
    first, second = scene(1), scene(2)
    lengths = ((first, 20), (second, 31), (first, 9))
    frames = [
        view(image, left=i, noise=100 * k + i if noise else None)
        for k, (image, n) in enumerate(lengths)
        for i in range(n)
    ]
    assert shots_of(frames) == [(0, 20), (20, 51), (51, 60)]


def test_movement_noise_fades_and_flashes_are_no_cuts():
    image = scene(3)
    pan = [view(image, left=8 * i, noise=i) for i in range(20)]
    dark = [view(image, gain=0.05, noise=i) for i in range(20)]
    fade = [view(image, gain=1 - i / 24, noise=i) for i in range(24)]
    shake = [view(image, left=30 + 25 * np.sin(1.7 * i)) for i in range(30)]
    flash = [view(image, gain=3.0 if i in (11, 12) else 1.0) for i in range(30)]
    jerk = [view(image, left=0 if i < 12 else 50) for i in range(30)]
    lamp = [view(image, gain=0.6 if i < 12 else 1.0) for i in range(30)]
    for frames in (pan, dark, fade, shake, flash, jerk, lamp):
        assert shots_of(frames) == [(0, len(frames))]


def test_the_same_scene_from_nearer_is_another_shot():
    image = scene(4)
    near = cv2.resize(image[20:100, 30:137].clip(0, 255).astype(np.uint8), (160, 120), interpolation=cv2.INTER_AREA)
    assert shots_of([view(image)] * 20 + [near] * 20 + [view(image)] * 20) == [(0, 20), (20, 40), (40, 60)]


def test_the_frame_after_a_cut_is_pointed_out_at_once():
    finder = CutFinder()
    frames = [view(scene(1))] * 5 + [view(scene(2))] * 5
    assert [finder.look(frame) for frame in frames].index(True) == 5
    assert CutFinder().shots() == []
    assert finder.shots() == [Shot(0, 5), Shot(5, 10)]
