"""Colours of the background on the head: gone; colours of the person: untouched."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.io.take import Take
from avatar.train.palette import NEAREST, TOLERANCE, keep_to_own_colors, own_colors

GREEN = torch.tensor([0.2, 0.9, 0.1])


@pytest.fixture
def head(tiny_gaussians: GaussianHead) -> GaussianHead:
    return deepcopy(tiny_gaussians).requires_grad_(False)


def tones(count: int) -> np.ndarray:
    """Colours of skin, dark to light."""
    return np.linspace([0.3, 0.2, 0.15], [0.9, 0.7, 0.6], count)


def test_a_foreign_colour_becomes_the_nearest_of_the_persons_own(head: GaussianHead) -> None:
    own = tones(1000)
    head.color_logits[:] = torch.tensor([0.6, 0.45, 0.375]).logit()
    skin = (head.regions == REGIONS.index("skin")).nonzero()[:5, 0]
    head.color_logits[skin] = GREEN.logit()
    before = head.color_logits.clone()
    assert keep_to_own_colors(head, own) == 5
    changed = head.color_logits[skin].sigmoid().numpy()
    nearest = np.linalg.norm(own[:, None] - changed, axis=2).min(0)
    assert (nearest < 2 * TOLERANCE).all()
    others = torch.ones(len(head), dtype=torch.bool)
    others[skin] = False
    assert torch.equal(head.color_logits[others], before[others])


def test_mouth_eyes_and_clothes_keep_their_colours(head: GaussianHead) -> None:
    head.color_logits[:] = GREEN.logit()
    keep_to_own_colors(head, tones(1000))
    for name in ("mouth", "eyes", "torso"):
        kept = head.color_logits[head.regions == REGIONS.index(name)].sigmoid()
        assert torch.allclose(kept, GREEN.expand_as(kept), atol=1e-6)


def test_a_take_that_shows_nothing_changes_nothing(head: GaussianHead, take_copy: Take) -> None:
    for index in range(len(take_copy)):
        take_copy.write_mask(index, np.zeros((take_copy.info.height, take_copy.info.width), np.float32))
    own = own_colors(take_copy, take_copy.split()["train"])
    assert len(own) < NEAREST and keep_to_own_colors(head, own) == 0


def test_own_colours_lie_well_within_the_head(take_copy: Take) -> None:
    """What is outside the mask, or near its outline, is painted green: none of it is found."""
    for index in range(len(take_copy)):
        image, mask = take_copy.image(index).copy(), take_copy.mask(index) > 0.5
        inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
        image[~inner] = 0, 255, 0
        take_copy.write_image(index, image)
    own = own_colors(take_copy, take_copy.split()["train"])
    assert len(own) > NEAREST and not (own == [0, 1, 0]).all(1).any()
