"""Exposure of the training frames: found, taken out exactly, and only where there is any."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.survey import take_camera
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render import Rendering, rasterize
from avatar.train.config import TrainConfig
from avatar.train.dataset import TrainingFrame, read_frame
from avatar.train.evaluation import evaluate_held_out
from avatar.train.fitting import fit_avatar
from avatar.train.nuisance import Exposure, exposure_variation, take_exposure

GAIN, OFFSET = torch.tensor([1.08, 0.95, 1.02]), torch.tensor([0.01, -0.005, 0.0])


@pytest.fixture
def flickering(take_copy: Take) -> Iterator[Take]:
    """The tiny take with training frames 15 % brighter or darker, and of changing colour."""
    generator = np.random.default_rng(3)
    for index in take_copy.split()["train"]:
        gain = 1 + 0.15 * generator.uniform(-1, 1) + 0.04 * generator.uniform(-1, 1, 3)
        take_copy.write_image(int(index), np.clip(take_copy.image(int(index)) * gain + 0.5, 0, 255).astype(np.uint8))
    yield take_copy


def exposed(count: int, index: int) -> Exposure:
    """Exposures of which one is as above, and one the opposite."""
    exposure = Exposure(count)
    for row, sign in ((index, 1), (index + 1, -1)):
        exposure.log_gains[row], exposure.offsets[row] = sign * GAIN.log(), sign * OFFSET
        exposure.visited[row] = True
    return exposure


def test_an_exposed_picture_is_that_of_exposed_gaussians(
    tiny_gaussians: GaussianHead, tiny_take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, background = take_camera(tiny_take), torch.tensor([0.3, 0.6, 0.2])
    scene = tiny_gaussians(tiny_gaussians.poses(tiny_take.motion())[5])
    view, K = (torch.as_tensor(m, dtype=torch.float32) for m in (camera.viewmat, camera.K))

    def drawn(colors: torch.Tensor):
        shape = (scene.means, scene.quats, scene.scales, scene.opacities, colors)
        return rasterize(*shape, view, K, camera.width, camera.height, backgrounds=background, threads=1)

    monkeypatch.setattr(Exposure, "visit", lambda *_: None)
    colors = scene.colors.clone().requires_grad_()
    image = exposed(30, 5)(read_frame(tiny_take, 5), drawn(colors), background)
    brighter = scene.colors.clone().requires_grad_()
    expected = drawn(brighter * GAIN + OFFSET).image
    torch.testing.assert_close(image, expected, atol=2e-6, rtol=0)
    weights = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    (image * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(colors.grad, brighter.grad, atol=1e-4, rtol=1e-4)


def test_gain_and_offset_of_a_frame_are_found(tiny_gaussians: GaussianHead, tiny_take: Take) -> None:
    camera = take_camera(tiny_take)
    scene = tiny_gaussians(tiny_gaussians.poses(tiny_take.motion())[5])
    view, K = (torch.as_tensor(m, dtype=torch.float32) for m in (camera.viewmat, camera.K))
    shape = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)
    picture = rasterize(*shape, view, K, camera.width, camera.height, backgrounds=torch.zeros(3), threads=1)
    frame = read_frame(tiny_take, 5)
    seen = TrainingFrame(5, picture.image * GAIN + OFFSET, frame.alpha, frame.parts)
    exposure = Exposure(30)
    exposure.visit(seen, picture)
    torch.testing.assert_close(exposure.log_gains[5].exp(), GAIN, atol=2e-3, rtol=0)
    torch.testing.assert_close(exposure.offsets[5], OFFSET, atol=2e-3, rtol=0)
    # One frame's exposure is its own mean: nothing is left for the avatar to drift with.
    for found, identity in zip(exposure.of(5), (torch.ones(3), torch.zeros(3)), strict=True):
        torch.testing.assert_close(found, identity)
    assert not exposure.visited[4]


def test_a_frame_without_the_person_is_left_alone(tiny_take: Take) -> None:
    frame = read_frame(tiny_take, 5)
    nobody = TrainingFrame(5, frame.image, torch.zeros_like(frame.alpha), frame.parts)
    exposure = Exposure(30)
    exposure.visit(nobody, Rendering(frame.image, torch.ones(*frame.alpha.shape, 1)))
    assert not exposure.visited.any()


def test_an_even_take_has_no_exposures(tiny_take: Take, tiny_config: TrainConfig) -> None:
    train = tiny_take.split()["train"]
    assert exposure_variation(tiny_take, train) < tiny_config.even_exposure
    assert take_exposure(tiny_take, train, tiny_config) is None


def test_a_flickering_take_is_learned_better_with_exposures(
    flickering: Take, open_head: Head, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    train = flickering.split()["train"]
    assert exposure_variation(flickering, train) > 2 * tiny_config.even_exposure
    assert take_exposure(flickering, train, tiny_config) is not None
    found = {}
    for name, even in (("without", 9.0), ("with", tiny_config.even_exposure)):
        config = replace(tiny_config, even_exposure=even, exposure_start=20)
        gaussians = fit_avatar(flickering, open_head, config, threads=1)
        found[name] = evaluate_held_out(flickering, gaussians)["video_driven"]["psnr"]
    assert found["with"] > found["without"] + 0.1, found


def test_a_stopped_run_with_exposures_goes_on_to_the_same_bits(
    flickering: Take, open_head: Head, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    small = replace(tiny_config, gaussians=300, torso_gaussians=60, steps=9, residual_start=3, exposure_start=2)

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_avatar(flickering, open_head, small, checkpoint=path, progress=stop, threads=1)
    steps: list[int] = []
    resumed = fit_avatar(
        flickering, open_head, small, checkpoint=path, progress=lambda n, _: steps.append(n), threads=1
    )
    whole = fit_avatar(flickering, open_head, small, threads=1)
    assert steps[0] == 7
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
