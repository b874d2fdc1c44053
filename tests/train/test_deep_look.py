"""The look of deep features in training: where it looks, what it tells apart, and that training does without it."""

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from avatar.errors import PartError
from avatar.face_mesh import OUTER_LIPS
from avatar.fields.sampling import initial_head
from avatar.heads import Head
from avatar.io.take import Take
from avatar.train import deep_look
from avatar.train.config import TrainConfig
from avatar.train.dataset import read_frame
from avatar.train.deep_look import SIDE, DeepLook
from avatar.train.fitting import Objective
from avatar.train.perceptual import LEAST_SIDE, PerceptualDistance, load_st_lpips


def gradients(picture: torch.Tensor) -> list[torch.Tensor]:
    """Slopes either way, in the place of a network's features."""
    return [picture[..., 1:, :] - picture[..., :-1, :], picture[..., :, 1:] - picture[..., :, :-1]]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> PerceptualDistance:
    """A distance that needs no network."""
    distance = PerceptualDistance(gradients, [torch.ones(3), torch.ones(3)])
    monkeypatch.setattr(deep_look, "load_st_lpips", lambda: distance)
    return distance


@pytest.fixture
def config(tiny_config: TrainConfig) -> TrainConfig:
    return replace(tiny_config, feature_weight=0.02, feature_start=0.5)


def looked(take: Take, config: TrainConfig) -> DeepLook:
    found = DeepLook.of(take, config)
    assert found is not None
    return found


def test_every_other_step_sees_the_whole_mouth_and_all_stay_in_the_picture(
    tiny_take: Take, config: TrainConfig, stand_in: PerceptualDistance
) -> None:
    look, scale, side = looked(tiny_take, config), 5, 400
    look = replace(look, landmarks=scale * look.landmarks, mouths=scale * look.mouths)
    places = set()
    for step in range(60, 100):
        rows, columns = look.window(step, 3, (side, side)) or (slice(0), slice(0))
        assert 0 <= rows.start < rows.stop <= side and 0 <= columns.start < columns.stop <= side
        lips = look.landmarks[3, list(OUTER_LIPS)]
        if step % 2 == 0:
            assert columns.start < lips[:, 0].min() and lips[:, 0].max() < columns.stop
            assert rows.start < lips[:, 1].min() and lips[:, 1].max() < rows.stop
        else:
            assert rows.stop - rows.start == columns.stop - columns.start == SIDE
            places.add((rows.start, columns.start))
    assert len(places) > 15


def test_windows_are_wide_enough_for_the_network_where_the_picture_is(
    tiny_take: Take, config: TrainConfig, stand_in: PerceptualDistance
) -> None:
    look = looked(tiny_take, config)
    for step in range(60, 80):
        for span in look.window(step, 3, (80, 80)) or ():
            assert span.start >= 0 and span.stop <= 80 and span.stop - span.start >= LEAST_SIDE


def test_a_step_draws_the_same_patch_again_and_another_seed_another(
    tiny_take: Take, config: TrainConfig, stand_in: PerceptualDistance
) -> None:
    def places(seed: int) -> list[tuple[slice, slice] | None]:
        look = looked(tiny_take, replace(config, seed=seed))
        return [look.window(step, 2, (400, 400)) for step in range(60, 90)]

    assert places(0) == places(0) != places(1)


def test_it_begins_at_its_share_of_the_steps_and_passes_over_a_lost_face(
    tiny_take: Take, config: TrainConfig, stand_in: PerceptualDistance
) -> None:
    look, picture = looked(tiny_take, config), torch.rand(80, 80, 3, generator=torch.Generator().manual_seed(0))
    assert look.start == 60
    assert look(59, 0, picture, picture.flip(0)) is None
    assert look(60, 0, picture, picture.flip(0)) is not None
    lost = replace(look, landmarks=np.full_like(look.landmarks, np.nan))
    assert lost(60, 0, picture, picture) is None


def test_it_compares_the_patch_alone_and_has_a_gradient(
    tiny_take: Take, config: TrainConfig, stand_in: PerceptualDistance
) -> None:
    look = looked(tiny_take, config)
    generator = torch.Generator().manual_seed(1)
    image, target = (torch.rand(80, 80, 3, generator=generator) for _ in range(2))
    image.requires_grad_(True)
    patch, loss = look.window(60, 0, (80, 80)), look(60, 0, image, target)
    assert patch is not None and loss is not None
    loss.backward()
    assert float(loss.detach()) == pytest.approx(
        stand_in(image.detach()[patch].numpy(), target[patch].numpy()), rel=1e-5
    )
    assert image.grad is not None and image.grad[patch].abs().sum() > 0
    rest = image.grad.clone()
    rest[patch] = 0
    assert rest.abs().sum() == 0


def test_the_objective_has_it_by_name_and_weight(
    tiny_take: Take, open_head: Head, config: TrainConfig, stand_in: PerceptualDistance
) -> None:
    gaussians = initial_head(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"], config)
    objective = Objective.of(tiny_take, gaussians, config, 1)
    pose, frame, gray = gaussians.poses(tiny_take.motion())[5], read_frame(tiny_take, 5), torch.full((3,), 0.5)

    def terms(objective: Objective, step: int | None, **changes: float) -> dict[str, torch.Tensor]:
        changed = replace(objective, config=replace(config, **changes))
        with torch.no_grad():
            return changed.terms(gaussians, pose, frame, gray, step=step)

    assert "deep features" not in terms(objective, 59) and "deep features" not in terms(objective, None)
    one, two = (float(terms(objective, 61, feature_weight=weight)["deep features"]) for weight in (0.02, 0.04))
    assert 0 < one == pytest.approx(two / 2, rel=1e-5)


def test_training_does_without_the_network_and_says_so_once(
    tiny_take: Take, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent() -> PerceptualDistance:
        raise PartError("The pretrained part could not be had", found="no network")

    monkeypatch.setattr(deep_look, "load_st_lpips", absent)
    with caplog.at_level(logging.WARNING):
        assert DeepLook.of(tiny_take, config) is None
    assert [record.message.startswith("Training goes on without deep features") for record in caplog.records] == [True]
    assert "no network" in caplog.text
    assert DeepLook.of(tiny_take, replace(config, feature_weight=0.0)) is None
    assert len(caplog.records) == 1


def test_a_blurred_picture_is_further_off_than_a_shifted_one_by_the_network() -> None:
    try:
        distance = load_st_lpips()
    except PartError as error:
        pytest.skip(str(error))
    noise = np.random.default_rng(0).random((LEAST_SIDE + 1, LEAST_SIDE, 3), np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 1.2)
    picture = (picture - picture.min()) / np.ptp(picture)
    target = torch.from_numpy(picture[1:])
    blurred = torch.from_numpy(cv2.GaussianBlur(picture, (0, 0), 2.0)[1:]).requires_grad_(True)
    far = distance.difference(blurred, target)
    away = float(far.detach())
    assert float(distance.difference(torch.from_numpy(picture[:-1]), target)) < away
    far.backward()
    assert blurred.grad is not None and blurred.grad.isfinite().all()
    # A step against the gradient comes closer.
    closer = blurred.detach() - 1e-3 * blurred.grad / blurred.grad.abs().max()
    assert float(distance.difference(closer, target)) < away
