"""Where on this person the detector puts its landmarks, given a motion that other evidence has corrected."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess._windows import batches

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.preprocess._solve import Problem
    from avatar.preprocess._unknowns import PerFrame, Shared
    from avatar.preprocess.tracking_config import TrackingConfig

REWEIGHTINGS = 3


def relearnt_offsets(
    problem: Problem, shared: Shared, frames: PerFrame, rows: Int[np.ndarray, " n"], *, config: TrackingConfig
) -> Shared:
    """The shared unknowns with the landmarks' corrections that suit the frames best; all else stays.

    A detector sees each landmark of a person at a place of its own. Once the head has moved away from where the
    landmarks alone had it, corrections that belong to the old motion would pull at it, and their errors, all alike,
    would drown what an iris or a lid says in a single frame.

    Each landmark's correction is a weighted least-squares problem of three unknowns: the reprojection loss of the
    tracker, linear in them but for perspective, and its prior, by iterated reweighting.

    Args:
        problem: What the frames are fitted to.
        shared: The shared unknowns.
        frames: The frames' unknowns.
        rows: Frames that may be learnt from.
        config: Weights.
    """
    learnt = torch.from_numpy(rows)
    chosen, weight = frames[learnt], problem.weight[learnt]
    target = problem.target[learnt][..., : regions.COUNT]
    weight = weight[:, : regions.COUNT] / (weight.sum() / weight.shape[1]).clamp_min(1e-6)
    scale, ridge = 100 / problem.unit, 2 * config.priors.offsets
    for _ in range(REWEIGHTINGS):
        pull = torch.zeros(regions.COUNT, 3, device=problem.device)
        hold = ridge * torch.eye(3, device=problem.device).repeat(regions.COUNT, 1, 1)
        first = 0
        for part in batches(chosen, config=config):
            among = slice(first, first + len(part))
            first = among.stop
            slopes, pixels = _slopes(problem, shared, part)
            residual = (target[among] - pixels) * scale
            share = weight[among] / (residual.square().sum(1) + config.charbonnier**2).sqrt()
            share = share * problem.landmark_weight[: regions.COUNT]
            slopes = slopes * scale
            # The residual of a correction that starts from zero.
            whole = residual + torch.einsum("tkil,kl->til", slopes, shared.offsets)
            pull += torch.einsum("tl,tkil,til->lk", share, slopes, whole)
            hold += torch.einsum("tl,tkil,tjil->lkj", share, slopes, slopes)
        shared = replace(shared, offsets=torch.linalg.solve(hold, pull).T.contiguous())
    return shared


def _slopes(
    problem: Problem, shared: Shared, frames: PerFrame
) -> tuple[Float[Tensor, "T 3 2 L"], Float[Tensor, "T 2 L"]]:
    """Derivatives of the landmarks' pixels by their places on the head at rest, and the pixels."""
    camera, model = problem.camera, problem.model
    points = camera.points(model, shared, frames)
    _, joints = model.identity(shared.betas, shared.offsets)
    turn = model.blended(joints, camera.rotations(shared, frames))[:, :, :3]
    return camera.slopes(points, shared, moves=turn.transpose(1, 2)), camera.project(points, shared)
