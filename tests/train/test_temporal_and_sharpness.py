"""CPBD, flicker, seams and blinks, on pictures whose answer is known beforehand."""

import cv2
import numpy as np
import pytest

from avatar.train.flicker import MotionCompensation, temporal_residual
from avatar.train.motion_judges import blinks_per_minute
from avatar.train.picture_judges import seam
from avatar.train.sharpness import cpbd, edge_blur


def ramps(widths: list[int], low: int, high: int) -> np.ndarray:
    """One upright edge of each width in each block of 64 pixels, side by side, rising and falling in turn."""
    rows = []
    for place, width in enumerate(widths):
        steps = np.clip((np.arange(64) - 30) / width, 0, 1)
        rows.append(low + (high - low) * (1 - steps if place % 2 else steps))
    picture = np.concatenate(rows).round().astype(np.uint8)
    return np.tile(picture[None, :, None], (64, 1, 3))


@pytest.mark.parametrize(("width", "sharp"), [(1, 1.0), (3, 1.0), (4, 0.0), (8, 0.0)])
def test_an_edge_is_sharp_up_to_the_just_noticeable_width(width: int, sharp: float) -> None:
    """3 pixels in blocks of high contrast; the probability there is 1 - 1/e."""
    edges, probability = edge_blur(ramps([width], 20, 230))
    assert cpbd((edges, probability), np.ones(edges.shape, bool)) == sharp
    expected = 1 - np.exp(-((width / 3) ** 3.6))
    assert probability[edges] == pytest.approx(np.full(edges.sum(), expected))


def test_faint_edges_may_be_wider() -> None:
    edges, probability = edge_blur(ramps([4], 100, 140))
    assert edges.any() and cpbd((edges, probability), np.ones(edges.shape, bool)) == 1
    assert probability[edges] == pytest.approx(np.full(edges.sum(), 1 - np.exp(-((4 / 5) ** 3.6))))


def test_cpbd_is_the_share_of_sharp_edges_in_a_region() -> None:
    blur = edge_blur(ramps([2, 5], 20, 230))
    everywhere = np.ones((64, 128), bool)
    left = everywhere & (np.arange(128) < 64)
    edges = [(blur[0] & part).sum() for part in (left, ~left)]
    assert cpbd(blur, left) == 1 and cpbd(blur, ~left) == 0
    assert cpbd(blur, everywhere) == pytest.approx(edges[0] / sum(edges))
    assert cpbd(edge_blur(np.full((64, 64, 3), 90, np.uint8)), everywhere[:, :64]) is None


def textured(shift: float = 0.0) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((120, 140, 3), np.float32), (0, 0), 3)
    noise = (noise - noise.min()) / np.ptp(noise)
    moved = cv2.warpAffine(noise, np.array([[1, 0, shift], [0, 1, 0.0]]), (140, 120), borderMode=cv2.BORDER_REFLECT)
    return (255 * moved).astype(np.uint8)


def test_motion_is_no_flicker_and_brightness_is() -> None:
    before, after = textured(), textured(2.0)
    inside = np.zeros(before.shape[:2], bool)
    inside[20:-20, 20:-20] = True
    origin = MotionCompensation()(before, after)
    moved = temporal_residual(before, after, origin, inside)
    still = np.stack(np.meshgrid(np.arange(140.0), np.arange(120.0)), -1).astype(np.float32)
    assert moved < 0.15 * temporal_residual(before, after, still, inside)
    flickering = temporal_residual(np.full_like(before, 100), np.full_like(before, 110), origin, inside)
    assert flickering == pytest.approx(10 / 255)


def test_a_seam_is_the_step_that_pasting_adds() -> None:
    truth = np.full((60, 60, 3), 100, np.uint8)
    region = np.zeros((60, 60), bool)
    region[15:45, 15:45] = True
    assert seam(truth, truth, region) == 0
    assert seam(truth + 25, truth, region) == pytest.approx(25 / 255, abs=0.1 * 25 / 255)
    inner = truth.copy()
    inner[25:35, 25:35] = 0
    assert seam(inner, truth, region) == 0
    assert seam(inner, truth, np.ones((60, 60), bool)) is None


def test_blinks_are_counted_once_each() -> None:
    time = np.arange(0, 6, 0.1)
    shut = np.full(len(time), 0.1)
    for moment in (1.0, 3.0):
        shut[np.abs(time - moment) < 0.15] = (0.6, 0.45, 0.7)
    assert blinks_per_minute(time, shut) == pytest.approx(2 * 60 / 5.9)
    assert blinks_per_minute(time[:5], shut[:5]) is None
