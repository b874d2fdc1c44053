"""One batch of the tracker: all frames at once, by a first-order optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess import _priors as terms
from avatar.preprocess._unknowns import PerFrame, Pinhole, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.preprocess._landmark_model import PointModel
    from avatar.preprocess.tracking_config import TrackingConfig

# Steps of Adam in each unknown's own unit (radians, metres, standard deviations).
RATES = {
    "betas": 0.04, "log_focal": 0.01, "offsets": 3e-4, "root": 0.015, "vergence": 0.005,
    "neck": 0.015, "place": 0.004, "jaw": 0.015, "gaze": 0.015, "lids": 0.02, "actions": 0.02,
}  # fmt: skip
Unknowns = TypeVar("Unknowns", Shared, PerFrame)
# Bounds of a frame's own curvature over that of all frames: a step that is shorter than it could be does no harm.
CURVATURE = (1.0, 10.0)
WARM_UP = 15
CHECK_EVERY = 20


@dataclass(frozen=True)
class Silhouettes:
    """Masks of a few frames: their rows, distances to the person (n, 1, m, m), and the points they must cover."""

    rows: Int[Tensor, " n"]
    distances: Float[Tensor, "n 1 m m"]
    model: PointModel


@dataclass(frozen=True)
class Photometric:
    """What the pictures say of n unknowns in T frames, to second order.

    Attributes:
        state: (T, n) the unknowns it was worked out at, as the Gauss-Newton solver packs them.
        gradient: (T, n) there.
        hessian: (n, n) shared by all frames.
        trust: (T,) factor on the Hessian: each frame's weight, 0 where its picture is not used.
        error: (T,) the term there.
    """

    state: Float[np.ndarray, "T n"]
    gradient: Float[np.ndarray, "T n"]
    hessian: Float[np.ndarray, "n n"]
    trust: Float[np.ndarray, " T"]
    error: Float[np.ndarray, " T"]

    @property
    def blocks(self) -> Float[np.ndarray, "T n n"]:
        """The Hessian of every frame."""
        return self.trust[:, None, None] * self.hessian

    def slope(self, state: Float[np.ndarray, "T n"]) -> Float[np.ndarray, "T n"]:
        """The gradient at another state."""
        return self.gradient + self.trust[:, None] * ((state - self.state) @ self.hessian)

    def value(self, state: Float[np.ndarray, "T n"]) -> float:
        """The term at another state, less its value at `self.state`."""
        return 0.5 * float(((state - self.state) * (self.gradient + self.slope(state))).sum())

    def curved(self, state: Float[np.ndarray, "T n"], error: Float[np.ndarray, " T"]) -> Photometric:
        """The same with each frame's trust such that the term is `error` at another state, within bounds."""
        step = state - self.state
        bent = error - self.error - (step * self.gradient).sum(1)
        expected = 0.5 * self.trust * ((step @ self.hessian) * step).sum(1)
        factor = np.divide(bent, expected, out=np.ones_like(bent), where=expected > 0)
        return replace(self, trust=self.trust * factor.clip(*CURVATURE))

    def __getitem__(self, rows: np.ndarray | slice) -> Photometric:
        by_frame = {name: getattr(self, name)[rows] for name in ("state", "gradient", "trust", "error")}
        return replace(self, **by_frame)


@dataclass(frozen=True)
class Problem:
    """What one batch is fitted to.

    Attributes:
        model: The 478 landmarks as functions of the unknowns.
        camera: The projection.
        time: (T,) seconds.
        target: (T, 2, L) pixels: landmarks and gaps, see `with_gaps`.
        weight: (T, L) trust in what is seen of each frame's landmarks and gaps, 0 to 1.
        landmark_weight: (L,) weight of each landmark and gap.
        action_weight: (A,) weight of the prior on each ARKit weight or expression coefficient.
        unit: Inter-ocular distance of the clip in pixels, whose per cents measure errors.
        focal: Median of the focal length's prior, pixels.
        iris: Diameter of an average person's iris landmarks on the model, metres.
        silhouettes: Masks, if they are used.
        photometric: The pictures, if they are used; the Gauss-Newton solver alone knows them.
        head_only: Whether the Gauss-Newton solver moves the head's turn and place alone.
    """

    model: PointModel
    camera: Pinhole
    time: Float[np.ndarray, " T"]
    target: Float[Tensor, "T 2 L"]
    weight: Float[Tensor, "T L"]
    landmark_weight: Float[Tensor, " L"]
    action_weight: Float[Tensor, " A"]
    unit: float
    focal: float
    iris: float
    silhouettes: Silhouettes | None = None
    photometric: Photometric | None = None
    head_only: bool = False

    @property
    def share(self) -> Float[Tensor, ""]:
        """What a landmark with weights of 1 counts in the mean over all."""
        return 1 / ((self.weight.sum() / self.weight.shape[1]).clamp_min(1e-6) * regions.COUNT)

    @property
    def device(self) -> torch.device:
        """Where its tensors lie, and all that is worked out of them."""
        return self.target.device


def solve(
    problem: Problem,
    shared: Shared,
    frames: PerFrame,
    *,
    config: TrackingConfig,
    fit_shared: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Shared, PerFrame, list[float]]:
    """Minimises reprojection error, priors and accelerations with Adam (Kingma and Ba, 2015) on a cosine schedule.

    Args:
        problem: What to fit.
        shared: First guess of the shared unknowns; kept as they are unless `fit_shared`.
        frames: First guess of the frames' unknowns.
        config: Weights and step counts.
        fit_shared: Whether the shared unknowns move too.
        progress: Called with (steps done, most steps).

    Returns:
        The unknowns, and the objective at every twentieth step.
    """
    steps = config.shared_steps if fit_shared else config.window_steps
    frames = replace(frames, **{f.name: getattr(frames, f.name).clone().requires_grad_() for f in fields(frames)})
    moving = {f.name: getattr(frames, f.name) for f in fields(frames)}
    if fit_shared:
        shared = replace(shared, **{f.name: getattr(shared, f.name).clone().requires_grad_() for f in fields(shared)})
        moving |= {f.name: getattr(shared, f.name) for f in fields(shared) if f.name != "offsets"}
        if config.offset_landmarks:
            moving["offsets"] = shared.offsets
    groups = [{"params": [value], "lr": RATES[name]} for name, value in moving.items()]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))

    def rate(step: int) -> float:
        return min(1.0, (step + 5) / (WARM_UP + 5)) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    smoothness = terms.Smoothness.of(problem.time, device=problem.device)
    history: list[float] = []
    for step in range(steps):
        loss = objective(problem, shared, frames, config=config, smoothness=smoothness, fit_shared=fit_shared)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
            history.append(float(loss.detach()))
            if progress is not None:
                progress(step + 1, steps)
            # Early in the schedule large steps keep the objective from falling, which is no sign of convergence.
            if step > steps // 2 and len(history) > 1 and history[-2] - history[-1] < config.tolerance * history[-1]:
                break
    return _detached(shared), _detached(frames), history


def objective(
    problem: Problem,
    shared: Shared,
    frames: PerFrame,
    *,
    config: TrackingConfig,
    smoothness: terms.Smoothness,
    fit_shared: bool,
) -> Float[Tensor, ""]:
    """The scalar that the tracker minimises."""
    camera, model = problem.camera, problem.model
    rotations = camera.rotations(shared, frames)
    loss = _reprojection(problem, shared, frames, config=config)
    loss = loss + terms.frame_priors(frames, camera, priors=config.priors, action_weight=problem.action_weight)
    loss = (
        loss
        + config.priors.rotation * (rotations[:, 1] - torch.eye(3, device=problem.device)).square().sum((1, 2)).mean()
    )
    loss = loss + terms.motion_smoothness(
        smoothness,
        frames,
        rotations,
        config=config,
        translation=camera.translation(shared, frames, rotations=rotations),
    )
    if fit_shared:
        rest, _ = model.identity(shared.betas, shared.offsets)
        loss = loss + terms.shared_priors(shared, rest, config=config, focal=problem.focal, iris=problem.iris)
        if problem.silhouettes is not None:
            masks = problem.silhouettes
            pixels = camera.pixels(masks.model, shared, frames[masks.rows])
            excess = terms.silhouette_excess(masks.distances, pixels, width=camera.width, height=camera.height)
            loss = loss + config.priors.silhouette * excess * (100 * camera.width / problem.unit)
    return loss


def _reprojection(problem: Problem, shared: Shared, frames: PerFrame, *, config: TrackingConfig) -> Float[Tensor, ""]:
    """Charbonnier loss of the landmarks, per cent of the inter-ocular distance (Charbonnier et al., 1994)."""
    pixels = problem.camera.pixels(problem.model, shared, frames)
    squared = ((terms.with_gaps(pixels) - problem.target) * (100 / problem.unit)).square().sum(1)
    loss = ((squared + config.charbonnier**2).sqrt() * problem.weight) @ problem.landmark_weight
    return loss.sum() * problem.share


def _detached(unknowns: Unknowns) -> Unknowns:
    return replace(unknowns, **{f.name: getattr(unknowns, f.name).detach() for f in fields(unknowns)})
