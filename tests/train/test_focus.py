"""The second look at mouth and eyes: where it looks, and that it tells structure from its mean."""

import numpy as np
import pytest
import torch

from avatar.io.take import Take
from avatar.render.losses import l1_dssim
from avatar.train.focus import Focus, contrast_difference


def noise(seed: int, size: int = 48) -> torch.Tensor:
    return torch.rand(size, size, 3, generator=torch.Generator().manual_seed(seed))


def test_windows_hold_the_lips_and_the_eyes(tiny_take: Take) -> None:
    windows, marks = Focus.of(tiny_take).windows, tiny_take.perception()["landmarks"]
    for part, points in ((0, [13, 14, 61, 291]), (1, [33, 133]), (2, [263, 362])):
        top, bottom, left, right = windows[5, part]
        x, y = marks[5, points, 0], marks[5, points, 1]
        assert left < x.min() and x.max() < right and top < y.min() and y.max() < bottom
    assert (windows >= 0).all() and windows.max() <= max(tiny_take.info.width, tiny_take.info.height)


def test_the_loss_is_that_of_the_windows() -> None:
    focus = Focus(np.array([[[0, 20, 4, 30], [30, 44, 10, 40], [0, 0, 0, 0]]]))
    image, target = noise(1), noise(2)
    found = focus(0, image, target, dssim_weight=0.2, contrast_weight=0.0)
    parts = [
        l1_dssim(image[rows, columns].contiguous(), target[rows, columns].contiguous(), dssim_weight=0.2)
        for rows, columns in ((slice(0, 20), slice(4, 30)), (slice(30, 44), slice(10, 40)))
    ]
    assert float(found) == pytest.approx(float(sum(parts)) / 2, rel=1e-5)


def test_a_lost_face_is_not_looked_at(take_copy: Take) -> None:
    seen = take_copy.perception()
    marks = seen["landmarks"].copy()
    marks[4] = np.nan
    take_copy.write_perception({**seen, "landmarks": marks})
    picture = noise(1, take_copy.info.width).requires_grad_(True)
    loss = Focus.of(take_copy)(4, picture, noise(2, take_copy.info.width), dssim_weight=0.2, contrast_weight=1.0)
    assert float(loss) == 0


def test_shifted_structure_is_closer_than_none_by_contrast_and_not_by_pixels() -> None:
    target = (noise(3) > 0.5).float()
    shifted, smooth = target.roll((2, 3), (0, 1)), torch.full_like(target, float(target.mean()))
    assert (shifted - target).abs().mean() >= 0.95 * (smooth - target).abs().mean()
    assert contrast_difference(shifted, target) < 0.5 * contrast_difference(smooth, target)
    assert contrast_difference(target, target) == 0


def test_the_contrast_of_a_window_too_small_for_it_is_nothing() -> None:
    assert contrast_difference(noise(1, 6), noise(2, 6)) == 0


def test_contrast_has_the_gradient_of_its_value() -> None:
    target = noise(1, 24).double()
    image = noise(2, 24).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda one: contrast_difference(one, target), (image,), fast_mode=True)
