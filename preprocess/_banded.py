"""Newton steps over a window: one banded system, as smoothness ties each frame to the next two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solveh_banded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

ROUNDS = 6
# Of each unknown's own curvature.
DAMPING = 1e-4


def smoothed(stiffness: Float[np.ndarray, "3 T"], state: Float[np.ndarray, "T n"]) -> Float[np.ndarray, "T n"]:
    """The smoothness's Hessian over time applied to every column."""
    product = stiffness[0][:, None] * state
    for away in (1, 2):
        band = stiffness[away][:-away, None]
        product[:-away] += band * state[away:]
        product[away:] += band * state[:-away]
    return product


def bounded_step(
    blocks: Float[np.ndarray, "T n n"],
    gradient: Float[np.ndarray, "T n"],
    stiffness: Float[np.ndarray, "3 T"],
    *,
    scale: Float[np.ndarray, " n"],
    floor: Float[np.ndarray, "T n"],
    damping: float,
) -> Float[np.ndarray, "T n"]:
    """The Newton step that goes nowhere below `floor`: what would, is put there and the rest solved again."""
    bound = (floor >= -1e-9) & (gradient > 0)
    step = np.zeros_like(gradient)
    for _ in range(ROUNDS):
        fixed = np.where(bound, floor, 0.0)
        pull = gradient + (blocks @ fixed[..., None])[..., 0] + smoothed(stiffness, fixed) * scale
        step = np.where(bound, fixed, _solve_free(blocks, pull, stiffness, scale=scale, free=~bound, damping=damping))
        below = step < floor - 1e-9
        if not below.any():
            break
        bound |= below
    return np.maximum(step, floor)


def _solve_free(
    blocks: Float[np.ndarray, "T n n"],
    gradient: Float[np.ndarray, "T n"],
    stiffness: Float[np.ndarray, "3 T"],
    *,
    scale: Float[np.ndarray, " n"],
    free: Bool[np.ndarray, "T n"],
    damping: float,
) -> Float[np.ndarray, "T n"]:
    """Newton step of the free unknowns alone, damped after Levenberg and Marquardt; zero for the others."""
    moments, count = gradient.shape
    mask = free.astype(np.float64)
    within = blocks * mask[:, :, None] * mask[:, None, :]
    diagonal = np.arange(count)
    within[:, diagonal, diagonal] += (stiffness[0][:, None] * scale) * mask
    own = within[:, diagonal, diagonal]
    # What nothing holds has no curvature of its own to be damped by.
    within[:, diagonal, diagonal] += damping * own + (damping - DAMPING) * np.median(own)
    # A frame without landmarks has priors and neighbours, but a column may have neither.
    within[:, diagonal, diagonal] += (1 - mask) + 1e-9 / moments
    width = 2 * count
    bands = np.zeros((width + 1, moments, count))
    for away in range(count):
        # Lower form: row `away` holds the entry `away` places below the diagonal of each column.
        bands[away, :, : count - away] = np.diagonal(within, offset=away, axis1=1, axis2=2)
    for away in (1, 2):
        bands[away * count, :-away] += stiffness[away][:-away, None] * scale * mask[:-away] * mask[away:]
    lower = bands.reshape(width + 1, -1)
    solution = solveh_banded(lower, -(gradient * mask).ravel(), lower=True, overwrite_ab=True, check_finite=False)
    return solution.reshape(moments, count)
