"""The light of a clip beneath which a head turns."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mistracking import mistracked, turn_error
from rebinding import bound_like

from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.rig import triangle_frames
from avatar.fields.sampling import Sampling
from avatar.fields.survey import take_camera
from avatar.heads import Head, rotation_matrices
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess._appearance import Appearance
from avatar.preprocess._light import COUNT, Light, harmonics, turned
from avatar.preprocess._small_frames import SmallFrames
from avatar.preprocess.photometric import refine_take
from avatar.preprocess.refinement_config import RefinementConfig, RefinementLevel
from avatar.render.compose import compose
from avatar.render.playback import render_pose

TOWARDS = torch.nn.functional.normalize(torch.tensor([0.8, 0.4, 0.45]), dim=0)
LEVEL = RefinementLevel(
    side=72,
    sampling=Sampling(gaussians=2000, torso_gaussians=200, components=4, closed=False),
    first_steps=200,
    later_steps=60,
    rounds=2,
    # Of so few frames residuals would learn what is wrong with each.
    residual_start=1000,
    landmarks=0.01,
    light_frames=16,
)
CONFIG = RefinementConfig(levels=(LEVEL,), key_frames=3, photometric=2e4, threads=1)


def lambertian(normals: torch.Tensor) -> torch.Tensor:
    """A lamp from one side and the light of a room, on matt skin."""
    return 0.35 + 0.65 * (normals @ TOWARDS).clamp_min(0)


@pytest.fixture(scope="module")
def lit(tiny_take: Take, tiny_gaussians: GaussianHead, tiny_motion: Motion, tmp_path_factory) -> Take:
    """The tiny take beneath a lamp that stays where it is."""
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path_factory.mktemp("lit") / "take"))
    shaded, camera = bound_like(tiny_gaussians), take_camera(take)
    shaded.load_state_dict(tiny_gaussians.state_dict())
    shaded.requires_grad_(False)
    plate = take.background().astype(np.float32) / 255
    for index, pose in enumerate(tiny_gaussians.poses(tiny_motion)):
        corners = tiny_gaussians.carriers(pose)[tiny_gaussians.rigged().corners]
        light = lambertian(triangle_frames(corners).rotations[..., 1])[:, None]
        shaded.color_logits.copy_((tiny_gaussians.color_logits.sigmoid() * light).clamp(0.01, 0.99).logit())
        image, alpha, *_ = render_pose(shaded, pose, camera)
        take.write_image(index, compose(image, alpha, plate))
    return take


def learnt(take: Take, head: Head, motion: Motion, folder: Path, steps: tuple[int, ...]) -> Light:
    """The light that a plain avatar of a take learns after so many steps each time, with the head where it is."""
    appearance = Appearance(
        take,
        head,
        motion,
        SmallFrames.of_take(take, LEVEL.side, folder),
        learnt=take.split()["train"],
        level=LEVEL,
        threads=1,
        light=torch.zeros(COUNT),
    )
    for count in steps:
        appearance.fit(motion, count, progress=lambda: None)
        appearance.learn_light(motion)
    assert appearance.light is not None
    return appearance.light


@pytest.fixture(scope="module")
def light(lit: Take, open_head: Head, tiny_motion: Motion, tmp_path_factory) -> Light:
    """What is learned of the lamp."""
    return learnt(lit, open_head, tiny_motion, tmp_path_factory.mktemp("light"), (200, 80))


def test_weights_turn_as_normals_do():
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator), dim=1)
    turns = rotation_matrices(torch.randn(4, 3, generator=generator))
    weights = torch.randn(8, generator=generator)
    there = torch.stack([harmonics(normals @ turn.T) @ weights for turn in turns])
    assert torch.allclose(turned(weights, turns) @ harmonics(normals).T, there, atol=1e-5)
    assert torch.allclose(turned(weights.expand(4, 8), turns), turned(weights, turns), atol=1e-6)


def test_only_skin_that_turns_is_changed(tiny_gaussians: GaussianHead, tiny_motion: Motion):
    frame, weights = np.array([3]), torch.linspace(-0.4, 0.4, COUNT)
    away = replace(tiny_motion, neck_pose=tiny_motion.neck_pose + np.array([0, 0.3, 0], np.float32))
    light = Light.on(tiny_gaussians, tiny_motion, frame, weights)
    assert torch.allclose(light.gains(frame), torch.zeros(1), atol=1e-5)
    assert light.under(away).gains(frame).abs().max() > 0.1
    eyes = bound_like(tiny_gaussians, regions=torch.full_like(tiny_gaussians.regions, REGIONS.index("eyes")))
    assert (Light.on(eyes, tiny_motion, frame, weights).under(away).gains(frame) == 0).all()


def test_the_lamp_is_found(light: Light):
    normals = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    # What faces away is never seen.
    normals = normals[normals[:, 2] > 0.3]
    found, true = harmonics(normals) @ light.weights, lambertian(normals).log()
    assert np.corrcoef(found, true)[0, 1] > 0.9
    sideways = light.weights[:2] / light.weights[:2].norm()
    assert sideways @ TOWARDS[:2] / TOWARDS[:2].norm() > 0.9


def test_without_a_lamp_there_is_less_light(
    light: Light, tiny_take: Take, open_head: Head, tiny_motion: Motion, tmp_path: Path
):
    none = learnt(tiny_take, open_head, tiny_motion, tmp_path, (200,))
    sizes = [float(each.gains(np.arange(len(tiny_motion))).square().mean().sqrt()) for each in (none, light)]
    assert sizes[0] < 0.5 * sizes[1]


def test_held_out_frames_teach_no_light(lit: Take, open_head: Head, tiny_motion: Motion, tmp_path: Path):
    dark = Take.open(shutil.copytree(lit.path, tmp_path / "dark"))
    for index in dark.split()["test"].tolist():
        dark.write_image(index, np.zeros_like(dark.image(index)))
    weights = [
        learnt(take, open_head, tiny_motion, tmp_path / name, (20,)).weights for name, take in (("a", lit), ("b", dark))
    ]
    assert weights[0].norm() > 0
    assert torch.equal(weights[0], weights[1])


def test_light_is_not_taken_for_a_turn(lit: Take, open_head: Head, tiny_motion: Motion, tmp_path: Path):
    before = Take.open(shutil.copytree(lit.path, tmp_path / "before"))
    mistracked(before, open_head, tiny_motion)
    errors = []
    for frames in (0, 16):
        take = Take.open(shutil.copytree(before.path, tmp_path / str(frames)))
        refine_take(take, open_head, config=replace(CONFIG, levels=(replace(LEVEL, light_frames=frames),)))
        errors.append(turn_error(take.motion(), tiny_motion, np.arange(len(tiny_motion))))
    assert errors[1] < 0.8 * errors[0]
