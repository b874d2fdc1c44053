"""Configuration of training, with its presets."""

from __future__ import annotations

from dataclasses import dataclass

from avatar.fields.sampling import Sampling


@dataclass(frozen=True)
class TrainConfig(Sampling):
    """How an avatar is fitted to a take; the seed is also that of the order of frames and of the random backgrounds.

    Attributes:
        steps: Optimiser steps, one frame each.
        residual_start: Step from which the residuals learn; before it the rig alone explains the frames.
        dssim_weight: Share of D-SSIM in the image loss; the rest is L1.
        alpha_weight: Weight of the squared error against the soft mask.
        lr_offsets: Learning rate of the positions, metres per step; decays to 2 %.
        lr_log_scales: Learning rate of the log-scales; this and the following decay to 10 %.
        lr_quats: Learning rate of the rotations.
        lr_opacity: Learning rate of the opacity logits.
        lr_colors: Learning rate of the colour logits.
        lr_residuals: Learning rate of the residual components.
        rare_share: How many frames of a round are rare ones that come again, over how many come once.
        focus_weight: Weight of the image loss within windows around mouth and eyes, on top of that of the picture.
        focus_contrast: Weight of the difference of local contrast in these windows, within that loss.
        relocations: How many times the Gaussians that show least are moved to where the error is; see
            `avatar.train.relocation`.
        relocated_share: How many of the head's Gaussians are moved each time at most, as a share.
        checkpoint_every: Steps between checkpoints.
    """

    steps: int = 2000
    residual_start: int = 300
    dssim_weight: float = 0.2
    alpha_weight: float = 0.1
    lr_offsets: float = 4e-5
    lr_log_scales: float = 8e-3
    lr_quats: float = 2e-3
    lr_opacity: float = 2e-2
    lr_colors: float = 1e-2
    lr_residuals: float = 4e-3
    rare_share: float = 0.0
    focus_weight: float = 0.1
    focus_contrast: float = 2.0
    relocations: int = 0
    relocated_share: float = 0.05
    checkpoint_every: int = 500


PRESETS = {
    "fast": TrainConfig(gaussians=10000, torso_gaussians=2000, steps=1200),
    "standard": TrainConfig(),
}
