"""What is before the face in some frames is not learnt."""

from dataclasses import replace

import numpy as np
import torch
from patches import pasted, with_patch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.survey import take_camera
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render.playback import render_over
from avatar.train.config import TrainConfig
from avatar.train.dataset import TrainingFrame, read_ahead, read_frame
from avatar.train.fitting import Objective, fit_avatar


def test_covered_pixels_teach_nothing(tiny_gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    objective = Objective.of(tiny_take, tiny_gaussians, tiny_config, 1)
    pose, background = tiny_gaussians.poses(tiny_take.motion())[5], torch.tensor([0.2, 0.5, 0.3])
    frame = read_frame(tiny_take, 5)
    hidden = torch.zeros(frame.alpha.shape, dtype=torch.bool)
    hidden[:, : hidden.shape[1] // 2] = True

    def seen(frame: TrainingFrame) -> list[float]:
        terms = objective.terms(tiny_gaussians, pose, frame, background)
        return [float(terms["image (L1 and D-SSIM)"].detach()), float(terms["alpha"].detach())]

    painted = replace(
        frame,
        image=torch.where(hidden[..., None], 0.9, frame.image),
        alpha=torch.where(hidden, 1 - frame.alpha, frame.alpha),
    )
    covered_frames = [replace(one, covered=hidden) for one in (frame, painted)]
    assert seen(covered_frames[0]) == seen(covered_frames[1])
    assert all(more > less for more, less in zip(seen(painted), seen(covered_frames[1]), strict=True))


def test_frames_are_read_with_what_hides_them(tiny_take: Take) -> None:
    hidden = np.zeros((tiny_take.info.height, tiny_take.info.width), bool)
    hidden[3:9] = True
    kept = read_ahead(
        tiny_take, [1, 2, 1], has_room=lambda _: True, covered=lambda index: hidden if index == 1 else None
    )
    first, second, again = kept
    assert second.covered is None
    for frame in (first, again):
        assert frame.covered is not None and np.array_equal(frame.covered.numpy(), hidden)


def test_training_leaves_out_what_is_before_the_face(
    take_copy: Take, tiny_take: Take, open_head: Head, tiny_config: TrainConfig
) -> None:
    with_patch(take_copy, range(5, 16))
    for index in range(5, 16):
        take_copy.write_covered(index, pasted(take_copy, index))
    truth, camera = tiny_take.image(10).astype(float), take_camera(take_copy)
    hidden, errors = pasted(take_copy, 10), []
    for skip in (True, False):
        config = replace(tiny_config, skip_covered=skip)
        gaussians = fit_avatar(take_copy, open_head, config, threads=1)
        pose = gaussians.poses(take_copy.motion()[10:11])[0]
        shown = render_over(gaussians, pose, camera, background=take_copy.background() / 255.0)
        errors.append(float(np.abs(shown - truth)[hidden].mean()))
    assert errors[0] < 0.95 * errors[1]
