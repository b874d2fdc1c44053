"""Frames of a clip of any length, in overlapping windows with the shared unknowns fixed."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.preprocess._newton import refine
from avatar.preprocess._solve import Problem
from avatar.preprocess._unknowns import PerFrame, Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from avatar.preprocess.tracking_config import TrackingConfig

    Part = Callable[[int], Callable[[int, int], None] | None]


def subset(problem: Problem, rows: np.ndarray | slice) -> Problem:
    """The same problem on some of its frames, without silhouettes."""
    index = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
    return replace(
        problem,
        time=problem.time[rows],
        target=problem.target[index],
        weight=problem.weight[index],
        silhouettes=None,
        photometric=None if problem.photometric is None else problem.photometric[rows],
    )


def solve_windows(
    problem: Problem, shared: Shared, frames: PerFrame, *, config: TrackingConfig, progress: Part
) -> PerFrame:
    """Solves for all frames window by window, cross-faded where windows meet.

    Args:
        problem: The whole clip.
        shared: Its shared unknowns.
        frames: First guess of every frame.
        config: Settings.
        progress: Gives the progress callback of a pass of so many steps.
    """
    total: dict[str, torch.Tensor] = {f.name: torch.zeros_like(getattr(frames, f.name)) for f in fields(frames)}
    mass = torch.zeros(len(frames), device=problem.device)
    for start, stop in windows(len(frames), config=config):
        rows = slice(start, stop)
        solved, _ = refine(
            subset(problem, rows), shared, frames[rows], config=config, progress=progress(config.window_steps)
        )
        fade = _fade(start, stop, len(frames), overlap=config.window_overlap).to(problem.device)
        mass[rows] += fade
        for name, value in total.items():
            solution = getattr(solved, name)
            if name == "neck":
                # Columns of unequal length would give the longer one more say in the cross-fade.
                solution = solution / solution.norm(dim=1, keepdim=True)
            value[rows] += solution * fade.reshape(-1, *[1] * (value.dim() - 1))
    return PerFrame(**{name: value / mass.reshape(-1, *[1] * (value.dim() - 1)) for name, value in total.items()})


def windows(count: int, *, config: TrackingConfig) -> list[tuple[int, int]]:
    """Overlapping windows [start, stop) of about equal length that cover `count` frames."""
    overlap = config.window_overlap
    if count <= config.window_frames:
        return [(0, count)]
    pieces = -(-(count - overlap) // (config.window_frames - overlap))
    edges = np.linspace(0, count - overlap, pieces + 1).round().astype(int)
    return [(int(start), int(stop) + overlap) for start, stop in pairwise(edges)]


def _fade(start: int, stop: int, count: int, *, overlap: int) -> torch.Tensor:
    """Weight of a window's frames: ramps over the overlaps, never zero.

    The outer quarter of an overlap counts for next to nothing, because a window's ends lack their neighbours.
    """
    fade = torch.ones(stop - start)
    ramp = ((torch.arange(overlap) + 0.5) / max(overlap, 1) * 2 - 0.5).clamp(1e-3, 1 - 1e-3)
    if start > 0:
        fade[:overlap] = ramp
    if stop < count:
        fade[len(fade) - overlap :] = ramp.flip(0)
    return fade


def evenly(count: int, wanted: int) -> np.ndarray:
    """Up to `wanted` of `count` indices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int))


def batches(frames: PerFrame, *, config: TrackingConfig) -> Iterator[PerFrame]:
    """The frames in pieces of a window's length, without overlap."""
    for start in range(0, len(frames), config.window_frames):
        yield frames[start : start + config.window_frames]
