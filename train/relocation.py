"""Gaussians that are moved to where the picture's error is; their number stays.

Which Gaussians an error belongs to follows from the blending: a pixel is the sum of the Gaussians' colours by certain
weights, so the gradient of an error-weighted picture with respect to one colour is the sum of the error by that
Gaussian's weights. One backward pass gives it for all Gaussians (Rota Bulò et al. 2024, "Revising densification in
Gaussian splatting", section 3.2); that of the unweighted picture is what they cover.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.fields.gaussian_head import REGIONS
from avatar.fields.rig import place_gaussians, quat_rotate
from avatar.render.losses import ssim_map
from avatar.render.rigged import rasterize_rigged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.fields.regularizers import Regularizer
    from avatar.fields.rig import RiggedGaussians
    from avatar.train.config import TrainConfig
    from avatar.train.dataset import TrainingFrame

log = logging.getLogger(__name__)

# Frames that the error is measured on; rounds end this far into the training, so that the moved ones can settle.
MEASURED, LAST = 24, 0.6
# What stays at least of each region; mouth and eyes hide much that other views and faces show.
FLOORS = {"skin": 0.7, "scalp": 0.7, "mouth": 1.0, "eyes": 1.0, "torso": 1.0, "unseen": 1.0}
# So many others must lie within a deviation of a Gaussian that leaves.
COVERED_BY = 3
# A split one is this much shorter, its halves so many deviations from its middle.
SHRINKAGE, APART = 1.6, 0.5
FIXED = ("torso", "unseen")


class Seen(Protocol):
    """What relocation needs of a training objective: the take's camera and plate, and what keeps Gaussians in place."""

    @property
    def viewmat(self) -> Float[Tensor, "4 4"]: ...  # noqa: D102
    @property
    def K(self) -> Float[Tensor, "3 3"]: ...  # noqa: D102
    @property
    def plate(self) -> Float[Tensor, "H W 3"]: ...  # noqa: D102
    @property
    def regularizer(self) -> Regularizer: ...  # noqa: D102
    @property
    def config(self) -> TrainConfig: ...  # noqa: D102
    @property
    def threads(self) -> int | None: ...  # noqa: D102


class Shares(NamedTuple):
    """What part each Gaussian has in the measured pictures.

    Attributes:
        error: (N,) the image error times its blending weight, summed over pixels.
        coverage: (N,) its blending weight, summed over pixels: its opacity times the area that is seen of it.
    """

    error: Float[Tensor, " N"]
    coverage: Float[Tensor, " N"]


@dataclass(frozen=True)
class Relocation:
    """The rounds of a training run in which Gaussians are moved.

    Attributes:
        read: Reads the take's frames as training does.
        steps: The steps that begin with such a round.
        count: How many Gaussians are moved in a round at most.
        floors: (R,) how many Gaussians each of `REGIONS` keeps at least.
        order: The frames of some steps; a round measures the error on those that come next.
        seed: Seed of the draws.
    """

    read: Callable[[Iterable[int]], Iterable[TrainingFrame]]
    steps: tuple[int, ...]
    count: int
    floors: Int[np.ndarray, " R"]
    order: Callable[[range], Iterable[int]]
    seed: int

    @classmethod
    def of(
        cls,
        read: Callable[[Iterable[int]], Iterable[TrainingFrame]],
        gaussians: GaussianHead,
        config: TrainConfig,
        order: Callable[[range], Iterable[int]],
    ) -> Relocation:
        """The rounds, evenly spread from where the residuals learn to 60 % of all steps; `gaussians` as they start."""
        span = np.linspace(config.residual_start, LAST * config.steps, config.relocations + 1)[1:]
        kept = np.array([FLOORS[name] for name in REGIONS])
        floors = np.ceil(kept * np.bincount(gaussians.regions.cpu().numpy(), minlength=len(REGIONS))).astype(int)
        count = round(config.relocated_share * config.gaussians)
        steps = tuple(span.round().astype(int).tolist())
        return cls(read, steps, count, floors, order, config.seed)

    def __call__(
        self,
        step: int,
        gaussians: GaussianHead,
        optimizer: torch.optim.Optimizer,
        objective: Seen,
        poses: list[Pose],
    ) -> None:
        """Holds the round of a step that has one; what it does depends on the step and the Gaussians alone."""
        if step not in self.steps:
            return
        coming = list(self.order(range(step, step + MEASURED)))
        shares = measured_shares(gaussians, objective, poses, self.read(coming))
        generator = np.random.default_rng([self.seed, step, self.count])
        pose = poses[coming[0]]
        moved = relocate(gaussians, optimizer, shares, pose, floors=self.floors, count=self.count, generator=generator)
        objective.regularizer.follow(gaussians)
        log.debug("step %d: %d Gaussians moved", step, len(moved))


def measured_shares(
    gaussians: GaussianHead, objective: Seen, poses: list[Pose], frames: Iterable[TrainingFrame]
) -> Shares:
    """Each Gaussian's shares in the pictures of some frames, over the clip's own background.

    Args:
        gaussians: The head.
        objective: The camera, the plate and the weight of D-SSIM.
        poses: The poses of all rows of the take.
        frames: The frames to look at.
    """
    colors = torch.zeros_like(gaussians.color_logits, requires_grad=True)
    weight = objective.config.dssim_weight
    for frame in (frame.on(colors.device) for frame in frames):
        pose, (height, width) = poses[frame.index], frame.alpha.shape
        with torch.no_grad():
            residual, carriers = gaussians.residual(pose.condition), gaussians.carriers(pose)
            rigged = _detached(gaussians.rigged())
            place = (carriers, objective.viewmat, objective.K)
            settings = {"width": width, "height": height, "threads": objective.threads}
            image, alpha, *_ = rasterize_rigged(rigged, *place, residual=residual, **settings)
            image = image + (1 - alpha) * objective.plate
            target = frame.taught(frame.image, image)
            apart = (1 - weight) * (image - target).abs() + weight * (1 - ssim_map(image, target))
            gains = torch.stack([apart.mean(-1), torch.ones_like(frame.alpha), torch.zeros_like(frame.alpha)], -1)
            residual = residual.clone()
            residual[:, 7:] = 0
        # In grey, so that the derivative of the sigmoid is a quarter everywhere.
        painted = rasterize_rigged(replace(rigged, color_logits=colors), *place, residual=residual, **settings)
        (painted.image * gains).sum().backward()
    assert colors.grad is not None
    return Shares(4 * colors.grad[:, 0], 4 * colors.grad[:, 1])


def _detached(rigged: RiggedGaussians) -> RiggedGaussians:
    return replace(rigged, **{field.name: getattr(rigged, field.name).detach() for field in fields(rigged)})


def relocate(
    gaussians: GaussianHead,
    optimizer: torch.optim.Optimizer,
    shares: Shares,
    pose: Pose,
    *,
    floors: Int[np.ndarray, " R"],
    count: int,
    generator: np.random.Generator,
) -> Int[np.ndarray, " n"]:
    """Moves the Gaussians that cover least to those with the largest error, which are split along their longest axis.

    A child inherits triangle, region, colour and residuals; the optimiser's momentum of both halves is forgotten.

    Args:
        gaussians: The head; changed in place.
        optimizer: Its optimiser.
        shares: Who covers what and errs where.
        pose: A moment, to tell who lies beside whom.
        floors: How many Gaussians each of `REGIONS` keeps at least.
        count: How many to move at most.
        generator: Draws those that are split.

    Returns:
        The rows that were moved.
    """
    regions = gaussians.regions.cpu().numpy()
    movable = ~np.isin(regions, [REGIONS.index(name) for name in FIXED])
    leaving = _superfluous(gaussians, shares, pose, movable, floors, count)
    chances = np.where(movable, shares.error.cpu().numpy().clip(min=0), 0.0).astype(np.float64)
    chances[leaving] = 0
    leaving = leaving[: np.count_nonzero(chances)]
    if not len(leaving):
        return leaving
    parents = generator.choice(len(chances), len(leaving), replace=False, p=chances / chances.sum())
    split, freed = (torch.as_tensor(rows, device=gaussians.regions.device) for rows in (parents, leaving))
    _split(gaussians, split, freed)
    _forget(gaussians, optimizer, split, freed)
    return leaving


def _superfluous(
    gaussians: GaussianHead,
    shares: Shares,
    pose: Pose,
    movable: Bool[np.ndarray, " N"],
    floors: Int[np.ndarray, " R"],
    count: int,
) -> Int[np.ndarray, " n"]:
    """Rows that cover least, where others cover their place and their region can spare them."""
    regions = gaussians.regions.cpu().numpy()
    with torch.no_grad():
        world = place_gaussians(gaussians.rigged(), gaussians.carriers(pose), gaussians.residual(pose.condition))
    centers, reach = world.means.cpu().numpy(), world.scales.amax(-1).cpu().numpy()
    spare = np.bincount(regions, minlength=len(REGIONS)) - floors
    stays, tree = np.ones(len(regions), bool), KDTree(centers)
    candidates = np.flatnonzero(movable)
    candidates = candidates[np.argsort(shares.coverage.cpu().numpy()[candidates], kind="stable")][: 4 * count]
    leaving: list[int] = []
    for row in candidates.tolist():
        if len(leaving) == count:
            break
        if spare[regions[row]] <= 0:
            continue
        beside = tree.query_ball_point(centers[row], reach[row])
        if np.count_nonzero(stays[beside]) - 1 < COVERED_BY:
            continue
        stays[row] = False
        spare[regions[row]] -= 1
        leaving.append(row)
    return np.array(leaving, int)


@torch.no_grad()
def _split(gaussians: GaussianHead, parents: Int[Tensor, " n"], children: Int[Tensor, " n"]) -> None:
    """Makes the children halves of their parents, in place."""
    for value in gaussians.parameters(recurse=False):
        value[children] = value[parents]
    triangles, barycentric, regions = (
        value.clone() for value in (gaussians.triangles, gaussians.barycentric, gaussians.regions)
    )
    for value in (triangles, barycentric, regions):
        value[children] = value[parents]
    longest = gaussians.log_scales[parents].argmax(1)
    axis = torch.eye(3, device=longest.device)[longest] * (APART * gaussians.log_scales[parents].exp())
    shift = quat_rotate(torch.nn.functional.normalize(gaussians.quats[parents], dim=-1), axis)
    gaussians.offsets[parents] += shift
    gaussians.offsets[children] -= shift
    for rows in (parents, children):
        gaussians.log_scales[rows, longest] -= float(np.log(SHRINKAGE))
    gaussians.rebind(triangles, barycentric, regions)


def _forget(
    gaussians: GaussianHead, optimizer: torch.optim.Optimizer, parents: Int[Tensor, " n"], children: Int[Tensor, " n"]
) -> None:
    """Both halves begin without momentum, and with the parent's size of gradient."""
    for value in gaussians.parameters(recurse=False):
        state = optimizer.state.get(value)
        if state:
            state["exp_avg"][parents] = 0
            state["exp_avg"][children] = 0
            state["exp_avg_sq"][children] = state["exp_avg_sq"][parents]
