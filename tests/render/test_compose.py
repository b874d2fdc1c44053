"""Bytes before a background: against the definition, and what does not fit."""

import numpy as np
import pytest
import torch

from avatar.errors import InputError
from avatar.render import _native
from avatar.render.compose import compose


@pytest.mark.parametrize("one_color", [False, True])
def test_bytes_are_the_rounded_mixture_for_any_number_of_threads(one_color: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(173, 211, 3, generator=generator) * 1.4 - 0.2
    alpha = torch.rand(173, 211, 1, generator=generator)
    background = torch.rand((1, 1, 3) if one_color else (173, 211, 3), generator=generator).numpy()
    mixed = image.double().numpy() + (1 - alpha.double().numpy()) * background
    expected = mixed.clip(0, 1) * 255
    results = [compose(image, alpha, background, threads=threads) for threads in (1, 2)]
    assert results[0].dtype == np.uint8 and np.array_equal(*results)
    assert np.abs(results[0] - expected).max() <= 0.5 + 1e-4
    slow = compose(image.double(), alpha.double(), background)
    assert (np.abs(slow.astype(int) - results[0]) <= 1).all() and (slow == results[0]).mean() > 0.999


def test_a_picture_that_is_kept_is_not_written_over() -> None:
    image, alpha = torch.zeros(16, 16, 3), torch.zeros(16, 16, 1)
    kept = compose(image, alpha, np.ones((1, 1, 3), np.float32))
    for _ in range(5):
        compose(image, alpha, np.zeros((1, 1, 3), np.float32))
    assert (kept == 255).all()


def test_bytes_lie_in_recycled_memory_too() -> None:
    first = _native.recycled_empty((50, 30, 3), torch.uint8)
    where = first.data_ptr()
    assert first.shape == (50, 30, 3) and first.dtype == torch.uint8
    del first
    assert _native.recycled_empty((50, 30, 3), torch.uint8).data_ptr() == where


def test_refuses_a_background_of_another_size() -> None:
    with pytest.raises(InputError) as error:
        compose(torch.zeros(4, 5, 3), torch.zeros(4, 5, 1), np.zeros((5, 4, 3), np.float32))
    assert str(error.value) == (
        "the render cannot be shown before this background.\n"
        "  Expected: image (H, W, 3), alpha (H, W, 1) and a background (H, W, 3) or (1, 1, 3).\n"
        "  Found: (4, 5, 3), (4, 5, 1) and (5, 4, 3)."
    )
