"""Fits the Gaussians to a take: the training loop, to be read from top to bottom."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.fields.regularizers import Regularizer
from avatar.fields.sampling import initial_head
from avatar.fields.survey import take_camera
from avatar.memory import is_out_of_memory
from avatar.render.losses import l1_dssim
from avatar.render.optim import FusedAdam
from avatar.render.rigged import rasterize_rigged
from avatar.train.checkpoint import load_checkpoint, save_checkpoint, take_key
from avatar.train.dataset import read_ahead
from avatar.train.deep_look import DeepLook
from avatar.train.focus import Focus
from avatar.train.health import require_sound
from avatar.train.listening import listen, muted
from avatar.train.nuisance import take_exposure
from avatar.train.outline_colors import seen_at_outline_only, take_neighbours_colors
from avatar.train.palette import keep_to_own_colors, own_colors
from avatar.train.pinholes import close_pinholes
from avatar.train.projection import condition_gradient, current_condition, learn_condition, projected
from avatar.train.relocation import Relocation
from avatar.train.schedule import drawn, rarity
from avatar.train.shortage import too_little_memory, tried_again
from avatar.train.side_views import SideViews
from avatar.train.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.train.config import TrainConfig
    from avatar.train.dataset import TrainingFrame
    from avatar.train.nuisance import Exposure

log = logging.getLogger(__name__)
POSITION_DECAY, OTHER_DECAY = 0.02, 0.1


def fit_avatar(
    take: Take,
    head: Head,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    has_room: Callable[[int], bool] | None = None,
    on_projection: Callable[[GaussianHead, GaussianHead], None] | None = None,
) -> GaussianHead:
    """Trains a Gaussian head on the take's training frames; the held-out frames are never read.

    It is trained where the head lies: on a GPU, each frame is moved there for its step.

    Args:
        take: A tracked take.
        head: The head model it was tracked with.
        config: The settings.
        checkpoint: File to resume from and to save to; none is kept where it is None.
        progress: Called with the steps done and the steps in all.
        threads: Threads of the rasteriser; None for as many as the machine has cores.
        has_room: Whether so many bytes more of decoded frames may be kept; none are where it is None.
        on_projection: Called with the avatar as it was trained and as its players will evaluate it, where these differ.

    Raises:
        TrainingError: A step is not finite; the last checkpoint is kept.
        MemoryLimitError: Memory runs out, on the machine or on its GPU; likewise.
    """
    motion, indices = take.motion(), take.split()["train"]
    gaussians = initial_head(take, head, motion, indices, config)
    covered = take.covered if config.skip_covered else None
    motion = listen(take, gaussians, indices, config.sound_components)
    features = learn_condition(gaussians, motion, indices, config)
    objective = Objective.of(take, gaussians, config, threads)
    poses = gaussians.poses(motion)
    optimizer = make_optimizer(gaussians, config)
    leaves = dict(gaussians.named_parameters())
    sunk = gaussians.sunk_torso
    key = take_key(take)
    order = partial(drawn, indices, rarity(take, indices), extra=config.rare_share, seed=config.seed)
    spill = Spill.of(take.background()) if config.despill else None
    read = partial(read_ahead, take, outline=config.outline, spill=spill, covered=covered)
    relocation = Relocation.of(read, gaussians, config, order)
    exposure = take_exposure(take, indices, config)
    exposure = exposure and exposure.to(head.device)
    start = load_checkpoint(checkpoint, gaussians, optimizer, key, config, exposure) if checkpoint else 0

    objective.regularizer.follow(gaussians)
    device, done = head.device, start
    steps = range(start, config.steps)
    frames = read(order(steps), has_room=has_room)
    try:
        for step, frame in zip(steps, frames, strict=True):
            relocation(step, gaussians, optimizer, objective, poses)
            background = torch.from_numpy(np.random.default_rng([config.seed, step]).random(3, np.float32)).to(device)
            pose = muted(poses[frame.index], gaussians, config.sound_dropout, config.seed, step)
            learning = step >= config.residual_start
            condition = current_condition(gaussians, pose, features[frame.index])
            pose = replace(pose, condition=condition.detach())
            developed = exposure if step >= config.exposure_start else None
            shown = (pose, frame.on(device), background)
            terms = partial(objective.terms, gaussians, *shown, exposure=developed, step=step)
            loss, residual = tried_again(partial(descend, gaussians, pose, terms, learning=learning))
            require_sound(step, frame.index, loss, leaves | {"residual": residual}, partial(terms, residual))
            hold(sunk, gaussians, residual)
            if residual.grad is not None:
                # The gradient of all components, ten times the size of the others together, stays an outer product.
                optimizer.set_outer_gradient(gaussians.residuals, residual.grad, pose.condition)
                if condition.requires_grad:
                    condition.backward(condition_gradient(gaussians, residual.grad))
            decay_learning_rates(optimizer, step / config.steps)
            optimizer.step()
            optimizer.zero_grad()
            done = step + 1
            if progress:
                progress(done, config.steps)
            if checkpoint and (done % config.checkpoint_every == 0 or done == config.steps):
                save_checkpoint(checkpoint, gaussians, optimizer, done, key, config, exposure)
    except KeyboardInterrupt:
        if checkpoint:
            save_checkpoint(checkpoint, gaussians, optimizer, done, key, config, exposure)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_little_memory(error, device, step=done, side=max(take.info.width, take.info.height)) from error
    moved = take_neighbours_colors(gaussians, seen_at_outline_only(gaussians, take, indices), poses[int(indices[0])])
    log.debug("%d Gaussians had colours of the outline", moved)
    moved = keep_to_own_colors(gaussians, own_colors(take, indices))
    log.debug("%d Gaussians had colours of the background", moved)
    avatar = projected(gaussians, features[indices], config.components)
    if on_projection and config.projects:
        on_projection(gaussians.requires_grad_(False), avatar)
    avatar.requires_grad_(False)
    if config.close_pinholes:
        grown = close_pinholes(avatar, take, indices, seed=config.seed, threads=threads)
        log.debug("%d Gaussians have grown over pinholes", grown)
    return avatar


def descend(
    gaussians: GaussianHead,
    pose: Pose,
    terms: Callable[[Float[Tensor, "N 10"]], Mapping[str, Float[Tensor, ""]]],
    *,
    learning: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N 10"]]:
    """The loss of a step, and the residual that it was seen with; their gradients are in both and in the parameters.

    Args:
        gaussians: The avatar; gradients that it has are forgotten.
        pose: The moment.
        terms: From a residual to the objective's summands.
        learning: Whether the residuals have begun to learn; before, they are zero.
    """
    gaussians.zero_grad()
    residual = (
        gaussians.residual(pose.condition).detach() if learning else gaussians.offsets.new_zeros(len(gaussians), 10)
    )
    residual.requires_grad_(learning)
    loss = total(terms(residual))
    loss.backward()
    return loss, residual


@dataclass(frozen=True)
class Objective:
    """What training minimises for one frame.

    Attributes:
        viewmat: (4, 4) of the take's camera.
        K: (3, 3) of the take's camera.
        plate: (H, W, 3) the clip's own background.
        regularizer: Keeps the Gaussians in place.
        config: The settings.
        threads: Threads of the rasteriser.
        focus: Where mouth and eyes are; None where they are looked at no closer.
        deep_look: What compares deep features; None where nothing does.
        side_views: What looks from the side; None where nothing does.
    """

    viewmat: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]
    plate: Float[Tensor, "H W 3"]
    regularizer: Regularizer
    config: TrainConfig
    threads: int | None
    focus: Focus | None = None
    deep_look: DeepLook | None = None
    side_views: SideViews | None = None

    @classmethod
    def of(cls, take: Take, gaussians: GaussianHead, config: TrainConfig, threads: int | None) -> Objective:
        """The objective of a take."""
        camera = take_camera(take)
        device = gaussians.offsets.device
        viewmat, K = (torch.as_tensor(m, dtype=torch.float32, device=device) for m in (camera.viewmat, camera.K))
        plate = torch.from_numpy(take.background()).to(device).float() / 255
        focus = Focus.of(take) if config.focus_weight else None
        deep_look = DeepLook.of(take, config)
        side_views = SideViews.of(gaussians, config.seed) if config.side_weight else None
        return cls(viewmat, K, plate, Regularizer(gaussians), config, threads, focus, deep_look, side_views)

    def __call__(
        self,
        gaussians: GaussianHead,
        pose: Pose,
        frame: TrainingFrame,
        background: Float[Tensor, " 3"],
        residual: Float[Tensor, "N 10"] | None = None,
    ) -> Float[Tensor, ""]:
        """Image loss before a plain `background`, mask loss and penalties; `residual` overrides the pose's own."""
        return total(self.terms(gaussians, pose, frame, background, residual))

    def terms(
        self,
        gaussians: GaussianHead,
        pose: Pose,
        frame: TrainingFrame,
        background: Float[Tensor, " 3"],
        residual: Float[Tensor, "N 10"] | None = None,
        exposure: Exposure | None = None,
        step: int | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted summands of the objective by name; the picture is exposed like the frame, if that is known.

        Without a `step` nothing is drawn for deep features and views from the side, which are left out then.
        """
        residual = gaussians.residual(pose.condition) if residual is None else residual
        height, width = frame.alpha.shape
        picture = rasterize_rigged(
            gaussians.rigged(),
            gaussians.carriers(pose),
            self.viewmat,
            self.K,
            width=width,
            height=height,
            residual=residual,
            backgrounds=background,
            threads=self.threads,
        )
        image = exposure(frame, picture, background) if exposure else picture.image
        target = frame.taught(frame.over(background, self.plate), image)
        photometric = l1_dssim(image, target, dssim_weight=self.config.dssim_weight, threads=self.threads)
        if self.focus is not None:
            closely = self.focus(
                frame.index,
                image,
                target,
                dssim_weight=self.config.dssim_weight,
                contrast_weight=self.config.focus_contrast,
                threads=self.threads,
            )
            photometric = photometric + self.config.focus_weight * closely
        alpha = picture.alpha[..., 0]
        mask = (alpha - frame.taught(frame.alpha, alpha)).square().mean()
        penalties = {
            f"regulariser {name}": value for name, value in self.regularizer.terms(gaussians, residual).items()
        }
        named = {"image (L1 and D-SSIM)": photometric, "alpha": self.config.alpha_weight * mask}
        if self.deep_look is not None and step is not None:
            apart = self.deep_look(step, frame.index, image, target)
            if apart is not None:
                named["deep features"] = self.config.feature_weight * apart
        if self.side_views is not None and step is not None:
            flaws = self.side_views(step, gaussians, pose, residual, threads=self.threads)
            if flaws is not None:
                named["side views"] = self.config.side_weight * flaws
        return named | penalties


def total(terms: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The sum of an objective's terms."""
    return torch.stack(list(terms.values())).sum()


def hold(some: Bool[Tensor, " N"], gaussians: GaussianHead, residual: Float[Tensor, "N 10"]) -> None:
    """Takes the gradients of place, shape and `residual` from some Gaussians, as the shoulders that no frame shows.

    What little a frame tells of those, at their edge or through what is before them, would fray them for other views.
    """
    for value in (gaussians.offsets, gaussians.log_scales, gaussians.quats, residual):
        if value.grad is not None:
            value.grad[some] = 0


def make_optimizer(gaussians: GaussianHead, config: TrainConfig) -> FusedAdam:
    """One parameter group for each kind of parameter; `base_lr` keeps the rate before decay."""
    rates = {
        "offsets": config.lr_offsets,
        "log_scales": config.lr_log_scales,
        "quats": config.lr_quats,
        "opacity_logits": config.lr_opacity,
        "color_logits": config.lr_colors,
        "residuals": config.lr_residuals,
    }
    groups = [
        {"params": [getattr(gaussians, name)], "lr": lr, "base_lr": lr, "name": name} for name, lr in rates.items()
    ]
    groups += [
        {"params": [value], "lr": config.lr_condition, "base_lr": config.lr_condition, "name": f"condition.{name}"}
        for name, value in gaussians.condition.named_parameters()
    ]
    return FusedAdam(groups, eps=1e-12)


def decay_learning_rates(optimizer: FusedAdam, progress: float) -> None:
    """Exponential decay to 2 % for positions and 10 % for the rest as `progress` goes from 0 to 1."""
    for group in optimizer.param_groups:
        final = POSITION_DECAY if group["name"] == "offsets" else OTHER_DECAY
        group["lr"] = group["base_lr"] * final**progress
