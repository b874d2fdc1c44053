"""The unknowns of frames as rows of numbers, in coordinates in which smoothness is exactly quadratic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from roma import rotmat_to_rotvec, special_gramschmidt

from avatar.heads.lbs import rotation_matrices
from avatar.preprocess._unknowns import PerFrame

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.preprocess._solve import Problem
    from avatar.preprocess._unknowns import Shared

# Columns of a frame's unknowns: neck, x, y, log scale, jaw, gaze, lids, then the actions.
NECK, PLACE, DEPTH, JAW, GAZE, LIDS = (slice(0, 3), slice(3, 5), slice(5, 6), slice(6, 9), slice(9, 11), slice(11, 13))
POSE = 11
FIXED = 13
HEAD = slice(0, DEPTH.stop)


def moving_columns(problem: Problem, count: int) -> slice:
    """Columns of a state of `count` unknowns that are solved for; the others stay."""
    return HEAD if problem.head_only else slice(0, count)


def pack(problem: Problem, shared: Shared, frames: PerFrame) -> Float[np.ndarray, "T n"]:
    """Unknowns in coordinates whose accelerations are penalised, so that smoothness is exactly quadratic."""
    with torch.no_grad():
        rotations = problem.camera.rotations(shared, frames)
        place = frames.place[:, :2] - problem.camera.turned_anchor(rotations)[:, :2]
        columns = [rotmat_to_rotvec(special_gramschmidt(frames.neck)), place, frames.place[:, 2:]]
        columns += [frames.jaw, frames.gaze, frames.lids, problem.camera.weights(frames)]
        return torch.cat(columns, dim=1).double().cpu().numpy()


def unpack(problem: Problem, shared: Shared, state: Float[Tensor, "T n"]) -> PerFrame:
    """The inverse of `pack`."""
    neck = rotation_matrices(state[:, NECK])
    frames = PerFrame(
        neck=neck[:, :, :2],
        place=state[:, 3:6],
        jaw=state[:, JAW],
        gaze=state[:, GAZE],
        lids=state[:, LIDS],
        actions=state[:, FIXED:],
    )
    anchor = problem.camera.turned_anchor(problem.camera.rotations(shared, frames))
    place = torch.cat([state[:, PLACE] + anchor[:, :2], state[:, DEPTH]], dim=1)
    return PerFrame(frames.neck, place, frames.jaw, frames.gaze, frames.lids, frames.actions)
