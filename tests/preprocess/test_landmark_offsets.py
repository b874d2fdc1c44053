"""Where a detector sees a person's landmarks, from frames whose motion is known."""

from dataclasses import replace

import numpy as np
import torch

from avatar.heads import Head
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess._landmark_offsets import relearnt_offsets
from avatar.preprocess._observations import Observations
from avatar.preprocess._priors import with_gaps
from avatar.preprocess._solve import Problem
from avatar.preprocess._unknowns import PerFrame, Shared, frames_of
from avatar.preprocess.tracking import tracking_problem
from avatar.preprocess.tracking_config import TrackingConfig, TrackingPriors

CONFIG = TrackingConfig(priors=TrackingPriors(offsets=10.0))


def displaced(take: Take, head: Head, motion: Motion) -> tuple[Problem, Shared, PerFrame]:
    """A clip whose landmarks lie some millimetres off the head, with the exact motion; the true corrections too."""
    motion = replace(motion, global_orient=motion.global_orient[:1].repeat(len(motion), 0))
    problem = tracking_problem(Observations.of_take(take), head, config=CONFIG)
    truth = Shared(
        betas=torch.cat([torch.as_tensor(motion.betas), torch.zeros(100 - len(motion.betas))]),
        log_focal=torch.tensor(take.info.focal).log(),
        offsets=2e-3 * torch.randn((3, 478), generator=torch.Generator().manual_seed(0)),
        root=torch.as_tensor(motion.global_orient[0]),
        vergence=torch.tensor(0.0),
    )
    frames = frames_of(motion, truth, problem.camera, head=head)
    return replace(problem, target=with_gaps(problem.camera.pixels(problem.model, truth, frames))), truth, frames


def misses(problem: Problem, shared: Shared, frames: PerFrame, rows: np.ndarray) -> float:
    """Mean distance of the landmarks from where they are seen, pixels."""
    away = (with_gaps(problem.camera.pixels(problem.model, shared, frames)) - problem.target)[rows]
    return float(away.norm(dim=1)[:, :478].mean())


def test_the_corrections_are_found_from_the_frames_that_may_be_learnt_from(
    tiny_take: Take, open_head: Head, tiny_motion: Motion
):
    problem, truth, frames = displaced(tiny_take, open_head, tiny_motion)
    start = replace(truth, offsets=torch.zeros(3, 478))
    rows, rest = np.arange(0, len(tiny_motion), 2), np.arange(1, len(tiny_motion), 2)
    # What is not learnt from may lie anywhere.
    problem.target[rest] += 50
    found = relearnt_offsets(problem, start, frames, rows, config=CONFIG)
    assert misses(problem, found, frames, rows) < 0.05 * misses(problem, start, frames, rows)
    assert torch.equal(found.betas, truth.betas)
    # Along the view nothing is seen of them; across it they are right.
    assert (found.offsets - truth.offsets)[:2].abs().median() < 2e-4


def test_a_strong_prior_keeps_the_corrections_small(tiny_take: Take, open_head: Head, tiny_motion: Motion):
    problem, truth, frames = displaced(tiny_take, open_head, tiny_motion)
    rows = np.arange(len(tiny_motion))
    sizes = []
    for weight in (10.0, 1e5, 1e9):
        config = replace(CONFIG, priors=TrackingPriors(offsets=weight))
        found = relearnt_offsets(problem, replace(truth, offsets=truth.offsets * 0), frames, rows, config=config)
        sizes.append(float(found.offsets.norm()))
    assert sizes[0] > 1.1 * sizes[1] > 10 * sizes[2]
