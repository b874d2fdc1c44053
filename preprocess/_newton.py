"""The frames of a window by Gauss-Newton: one banded system over all moments, with the shared unknowns fixed.

Smoothness ties each frame to the next two, so that the normal equations are block-pentadiagonal and solved exactly; a
first-order optimiser needs hundreds of steps to carry what one frame knows to its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.preprocess import _priors as terms
from avatar.preprocess._banded import DAMPING, bounded_step, smoothed
from avatar.preprocess._frame_state import (
    DEPTH,
    FIXED,
    GAZE,
    HEAD,
    JAW,
    LIDS,
    NECK,
    PLACE,
    POSE,
    moving_columns,
    pack,
    unpack,
)
from avatar.preprocess._threads import map_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from avatar.preprocess._solve import Problem
    from avatar.preprocess._unknowns import PerFrame, Shared
    from avatar.preprocess.tracking_config import TrackingConfig

# Frames whose derivatives are worked out at once, by a thread and by a GPU: about a megabyte a frame.
CHUNK, GPU_CHUNK = 64, 1024
# The damping grows up to this where the objective would not fall else.
MOST_DAMPING = 1.0
SHORTEST = 2.0**-6
NUDGE = 2e-3  # rad; single precision leaves an error of about 1e-4 of the derivative.


@dataclass(frozen=True)
class Quadratic:
    """Second-order model of the objective around a state of n unknowns in T frames, m of which move.

    Attributes:
        gradient: (T, n); that of the landmarks is there for what moves alone.
        blocks: (T, m, m) Hessian within a frame, without smoothness.
    """

    gradient: Float[np.ndarray, "T n"]
    blocks: Float[np.ndarray, "T m m"]


def refine(
    problem: Problem,
    shared: Shared,
    frames: PerFrame,
    *,
    config: TrackingConfig,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[PerFrame, list[float]]:
    """Solves for the frames' unknowns by Gauss-Newton with an active set for the ARKit weights' lower bound.

    The Charbonnier loss is reweighted in each iteration. The objective is that of the first-order pass, but that it
    measures the neck's acceleration on its axis-angle, which is the same for all but wild motion.

    Args:
        problem: What to fit.
        shared: The shared unknowns, which stay.
        frames: First guess.
        config: Weights, most iterations, and the tolerance at which to end.
        progress: Called with (iterations done, most iterations).

    Returns:
        The frames, and the objective before each iteration and at the end.
    """
    state = pack(problem, shared, frames)
    stiffness, scale = _stiffness(problem, state.shape[1], config=config)
    value = _value(problem, shared, state, config=config, stiffness=stiffness, scale=scale)
    history, moving, damping = [value], moving_columns(problem, state.shape[1]), DAMPING
    for iteration in range(config.window_steps):
        model = _quadratic(problem, shared, state, config=config)
        gradient = model.gradient + smoothed(stiffness, state) * scale
        floor = np.full(state.shape, -np.inf)
        if problem.camera.arkit:
            floor[:, FIXED:] = -state[:, FIXED:]
        step = np.zeros_like(state)
        step[:, moving] = bounded_step(
            model.blocks, gradient[:, moving], stiffness, scale=scale[moving], floor=floor[:, moving], damping=damping
        )
        length, moved, found = 1.0, state, value
        while length >= SHORTEST:
            moved = state + length * step
            found = _value(problem, shared, moved, config=config, stiffness=stiffness, scale=scale)
            if found < value:
                break
            length /= 2
        if progress is not None:
            progress(iteration + 1, config.window_steps)
        if not found < value:
            # A direction that hardly anything holds goes too far to be told from the others by its length.
            if damping >= MOST_DAMPING:
                break
            damping *= 100
            continue
        gain, state, value = value - found, moved, found
        history.append(value)
        if gain < config.tolerance * value:
            break
    return unpack(problem, shared, _values(problem, state)), history


def _values(problem: Problem, state: Float[np.ndarray, "T n"]) -> Float[Tensor, "T n"]:
    """A state as the tensor that the head model takes."""
    return torch.from_numpy(state.astype(np.float32)).to(problem.device)


def _stiffness(
    problem: Problem, count: int, *, config: TrackingConfig
) -> tuple[Float[np.ndarray, "3 T"], Float[np.ndarray, " n"]]:
    """Hessian of the smoothness: its three upper diagonals over time, and its weight for each unknown."""
    moments = len(problem.time)
    bands = np.zeros((3, moments))
    if moments > 2:
        smoothness = terms.Smoothness.of(problem.time)
        rate, middle = smoothness.rates[:, 0].double().numpy(), smoothness.accelerations[:, 0].double().numpy()
        share = 2 * smoothness.weight.double().numpy()
        # One acceleration is a combination of three neighbours.
        row = [rate[:-1] * middle, -(rate[:-1] + rate[1:]) * middle, rate[1:] * middle]
        for first in range(3):
            for second in range(first, 3):
                bands[second - first, first : first + moments - 2] += share * row[first] * row[second]
    weights = config.smoothness
    scale = np.full(count, weights.actions)
    # The rotation's weight is stated for a matrix, whose squared distance is twice that of the angle.
    for columns, weight in (
        (NECK, 2 * weights.rotation),
        (PLACE, weights.place),
        (DEPTH, weights.depth),
        (JAW, weights.jaw),
        (GAZE, weights.gaze),
        (LIDS, weights.lids),
    ):
        scale[columns] = weight
    return bands, scale


def _value(
    problem: Problem,
    shared: Shared,
    state: Float[np.ndarray, "T n"],
    *,
    config: TrackingConfig,
    stiffness: Float[np.ndarray, "3 T"],
    scale: Float[np.ndarray, " n"],
) -> float:
    """The objective."""
    values = _values(problem, state)

    @torch.no_grad()
    def of_landmarks(rows: slice) -> float:
        pixels = problem.camera.pixels(problem.model, shared, unpack(problem, shared, values[rows]))
        squared = ((terms.with_gaps(pixels) - problem.target[rows]) * (100 / problem.unit)).square().sum(1)
        loss = ((squared + config.charbonnier**2).sqrt() * problem.weight[rows]) @ problem.landmark_weight
        return float(loss.sum(dtype=torch.float64))

    total = sum(map_tensors(of_landmarks, _chunks(problem), device=problem.device)) * float(problem.share)
    if problem.photometric is not None:
        total += problem.photometric.value(state)
    prior = _priors(problem, state, config=config)[0]
    return total + prior + 0.5 * float((state * smoothed(stiffness, state) * scale).sum())


def _chunks(problem: Problem) -> list[slice]:
    """Rows that are worked on at once."""
    chunk = CHUNK if problem.device.type == "cpu" else GPU_CHUNK
    return [slice(start, start + chunk) for start in range(0, len(problem.time), chunk)]


def _priors(
    problem: Problem, state: Float[np.ndarray, "T n"], *, config: TrackingConfig
) -> tuple[float, Float[np.ndarray, "T n"], Float[np.ndarray, "T n"]]:
    """Priors on single frames: value, gradient and diagonal of the Hessian."""
    priors, arkit = config.priors, problem.camera.arkit
    actions = problem.action_weight.double().cpu().numpy()
    # Each prior is a weight times a squared distance from what costs nothing.
    weight, away = np.zeros_like(state), state.copy()
    weight[:, NECK] = 2 * priors.rotation
    weight[:, JAW] = priors.jaw_sideways
    weight[:, JAW.start] = priors.jaw_closing
    away[:, JAW.start] = state[:, JAW.start].clip(max=0)
    weight[:, GAZE] = priors.gaze
    weight[:, LIDS] = priors.bounds
    away[:, LIDS] = state[:, LIDS] - state[:, LIDS].clip(0, 1)
    weight[:, FIXED:] = priors.bounds if arkit else actions
    if arkit:
        away[:, FIXED:] = (state[:, FIXED:] - 1).clip(0)
    weight /= len(state)
    gradient = 2 * weight * away
    value = float((weight * away**2).sum())
    if arkit:
        value += float((state[:, FIXED:] @ actions).mean())
        gradient[:, FIXED:] += actions / len(state)
    return value, gradient, 2 * weight * (away != 0)


def _quadratic(
    problem: Problem, shared: Shared, state: Float[np.ndarray, "T n"], *, config: TrackingConfig
) -> Quadratic:
    """Reweighted least squares of the landmarks, the priors, and the pictures where they are used."""
    moving = moving_columns(problem, state.shape[1])
    _, gradient, diagonal = _priors(problem, state, config=config)
    blocks = np.zeros((len(state), moving.stop, moving.stop))
    blocks[:, np.arange(moving.stop), np.arange(moving.stop)] = diagonal[:, moving]
    if problem.photometric is not None:
        gradient += problem.photometric.slope(state)
        blocks += problem.photometric.blocks[:, moving, moving]
    values = _values(problem, state)
    unit, share = 100 / problem.unit, float(problem.share)

    def add_landmarks(rows: slice) -> None:
        pixels, slopes = map(terms.with_gaps, _slopes(problem, shared, values[rows]))
        error = (pixels - problem.target[rows]) * unit
        weight = problem.landmark_weight / (error.square().sum(1) + config.charbonnier**2).sqrt()
        weight = weight * problem.weight[rows] * share
        slopes = slopes * unit
        weighted = (slopes * weight[:, None, None]).flatten(2)
        blocks[rows] += (weighted @ slopes.flatten(2).transpose(1, 2)).double().cpu().numpy()
        gradient[rows, moving] += (weighted @ error.flatten(1)[..., None])[..., 0].double().cpu().numpy()

    for _ in map_tensors(add_landmarks, _chunks(problem), device=problem.device):
        pass
    return Quadratic(gradient, blocks)


def _slopes(
    problem: Problem, shared: Shared, state: Float[Tensor, "T n"]
) -> tuple[Float[Tensor, "T 2 P"], Float[Tensor, "T m 2 P"]]:
    """Pixels and their derivatives by what moves: rotations by central differences, all else in closed form."""
    camera, model = problem.camera, problem.model

    def posed(values: Tensor) -> Tensor:
        return camera.points(model, shared, unpack(problem, shared, values))

    frames = unpack(problem, shared, state)
    points = camera.points(model, shared, frames)
    depth = (shared.log_focal + frames.place[:, 2]).exp()
    posing = HEAD.stop if problem.head_only else POSE
    moves = torch.zeros(len(state), posing, *points.shape[1:], device=state.device)
    turns = (*range(*NECK.indices(posing)), *range(*JAW.indices(posing)), *range(*GAZE.indices(posing)))
    for column in turns:
        nudge = torch.zeros(state.shape[1], device=state.device)
        nudge[column] = NUDGE
        moves[:, column] = (posed(state + nudge) - posed(state - nudge)) / (2 * NUDGE)
    moves[:, PLACE.start, 0] = 1
    moves[:, PLACE.start + 1, 1] = 1
    moves[:, DEPTH.start, 2] = -depth[:, None]
    if not problem.head_only:
        moves = torch.cat([moves, _deforming(problem, shared, frames)], 1)
    return camera.project(points, shared), camera.slopes(points, shared, moves=moves)


def _deforming(problem: Problem, shared: Shared, frames: PerFrame) -> Float[Tensor, "T n 3 P"]:
    """How lids and actions move the points."""
    camera, model = problem.camera, problem.model
    blend = model.blended(model.identity(shared.betas)[1], camera.rotations(shared, frames))[:, :, :3]
    # The deformation basis holds the actions before the lids; the state holds them the other way round.
    actions = frames.actions.shape[1]
    order = [actions, actions + 1, *range(actions)]
    basis = model.deform[order].view(len(order), 3, -1)
    return torch.einsum("tijp,djp->tdip", blend, basis)
