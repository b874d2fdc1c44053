"""Colours learned at the outline alone: told from the others, and replaced by those beside them."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.sampling import ears
from avatar.fields.survey import project, take_camera
from avatar.io.take import Take
from avatar.train.outline_colors import VARIETY, seen_at_outline_only, take_neighbours_colors

BLUE = torch.tensor([0.1, 0.2, 0.9])
SKIN = REGIONS.index("skin")


@pytest.fixture
def head(tiny_gaussians: GaussianHead) -> GaussianHead:
    return deepcopy(tiny_gaussians).requires_grad_(False)


@pytest.fixture
def take(take_copy: Take) -> Take:
    """The tiny take with masks that end where its surface does: its Gaussians reach two pixels beyond that."""
    for index in range(len(take_copy)):
        mask = np.asarray(take_copy.mask(index), np.float32)
        take_copy.write_mask(index, cv2.erode(mask, np.ones((5, 5), np.uint8)))
    return take_copy


def skin(head: GaussianHead) -> np.ndarray:
    return ((head.regions == SKIN) & (head.triangles < len(head.head.faces))).numpy()


def test_the_outline_is_told_from_the_face(head: GaussianHead, take: Take) -> None:
    train = take.split()["train"]
    unsure = seen_at_outline_only(head, take, train)
    places = head(head.poses(take.motion()[train[:1]])[0]).means.numpy()
    pixels, _ = project(places, take_camera(take))
    mask = take.mask(int(train[0])) > 0.5
    columns = np.flatnonzero(mask.any(0))
    middle = np.abs(pixels[:, 0] - columns.mean()) < np.ptp(columns) / 8
    height = np.abs(pixels[:, 1] - np.flatnonzero(mask.any(1)).mean()) < np.ptp(columns) / 8
    assert 0 < unsure[skin(head)].mean() < 0.3
    assert not unsure[skin(head) & middle & height].any()


def test_a_stripe_takes_the_colour_beside_it(head: GaussianHead, take: Take) -> None:
    train = take.split()["train"]
    head.color_logits[:] = torch.tensor([0.6, 0.45, 0.375]).logit()
    unsure = seen_at_outline_only(head, take, train)
    head.color_logits[torch.from_numpy(unsure)] = BLUE.logit()
    before = head.color_logits.clone()
    pose = head.poses(take.motion()[train[:1]])[0]
    assert take_neighbours_colors(head, unsure, pose) >= (unsure & skin(head)).sum() > 0
    now = head.color_logits.sigmoid()[torch.from_numpy(unsure & skin(head))]
    assert (now - torch.tensor([0.6, 0.45, 0.375])).norm(dim=1).max() < VARIETY + 1e-4
    others = torch.from_numpy(~unsure) | ~torch.isin(head.regions, torch.tensor([SKIN, REGIONS.index("scalp")]))
    assert torch.equal(head.color_logits[others], before[others])


def test_hair_beside_an_ear_takes_the_colour_of_hair(head: GaussianHead, take: Take) -> None:
    pale, brown, pink = (torch.tensor(color) for color in ([0.75, 0.7, 0.6], [0.2, 0.15, 0.1], [0.8, 0.5, 0.45]))
    on_head = head.triangles < len(head.head.faces)
    ear = on_head & torch.from_numpy(ears(head.head)[head.triangles.clamp(max=len(head.head.faces) - 1)])
    pose = head.poses(take.motion()[:1])[0]
    places = head(pose).means
    hair = on_head & ~ear & (torch.cdist(places, places[ear]).min(1).values < 0.06)
    head.regions[hair | ear] = REGIONS.index("scalp")
    stripe = hair & (torch.cdist(places, places[ear]).min(1).values < 0.01)
    for which, color in ((hair, brown), (ear, pink), (stripe, pale)):
        head.color_logits[which] = color.logit()
    assert take_neighbours_colors(head, stripe.numpy(), pose) == stripe.sum() > 5
    away = (head.color_logits[stripe].sigmoid()[:, None] - torch.stack([brown, pink])).norm(dim=2)
    assert away[:, 0].max() < VARIETY + 1e-4


def test_nothing_in_doubt_changes_nothing(head: GaussianHead, take: Take) -> None:
    before = head.color_logits.clone()
    pose = head.poses(take.motion()[:1])[0]
    assert take_neighbours_colors(head, np.zeros(len(head), bool), pose) == 0
    assert torch.equal(head.color_logits, before)
