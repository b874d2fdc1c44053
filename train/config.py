"""Configuration of training, with its presets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """How an avatar is fitted to a take.

    Attributes:
        gaussians: Number of Gaussians on the head.
        torso_gaussians: Number of Gaussians on the torso sheet below the collar.
        components: Number of linear residual components driven by the motion.
        steps: Optimiser steps, one frame each.
        residual_start: Step from which the residuals learn; before it the rig alone explains the frames.
        mouth_density: How many times denser than elsewhere the mouth region is sampled.
        dssim_weight: Share of D-SSIM in the image loss; the rest is L1.
        alpha_weight: Weight of the squared error against the soft mask.
        lr_offsets: Learning rate of the positions, metres per step; decays to 2 %.
        lr_log_scales: Learning rate of the log-scales; this and the following decay to 10 %.
        lr_quats: Learning rate of the rotations.
        lr_opacity: Learning rate of the opacity logits.
        lr_colors: Learning rate of the colour logits.
        lr_residuals: Learning rate of the residual components.
        checkpoint_every: Steps between checkpoints.
        seed: Seed of sampling, of the order of frames and of the random backgrounds.
    """

    gaussians: int = 15000
    torso_gaussians: int = 3000
    components: int = 16
    steps: int = 2000
    residual_start: int = 300
    mouth_density: float = 3.0
    dssim_weight: float = 0.2
    alpha_weight: float = 0.1
    lr_offsets: float = 4e-5
    lr_log_scales: float = 8e-3
    lr_quats: float = 2e-3
    lr_opacity: float = 2e-2
    lr_colors: float = 1e-2
    lr_residuals: float = 4e-3
    checkpoint_every: int = 500
    seed: int = 0


PRESETS = {
    "fast": TrainConfig(gaussians=10000, torso_gaussians=2000, steps=1200),
    "standard": TrainConfig(),
}
