"""Configuration of photometric refinement."""

from __future__ import annotations

from dataclasses import dataclass, field

from avatar.fields.sampling import Sampling


@dataclass(frozen=True)
class RefinementConfig:
    """How the tracked motion is corrected by the pictures.

    Attributes:
        side: Longest side of the compared pictures, pixels.
        sampling: Gaussians of the plain avatar that explains them.
        rounds: How many times the avatar is fitted and the motion corrected.
        first_steps: Optimiser steps of the avatar in the first round.
        later_steps: Optimiser steps of the avatar in each later round.
        residual_start: Step from which the avatar's residuals learn.
        sweeps: Corrections of the motion in each round.
        key_frames: Frames whose pictures give the second derivatives, which all frames share.
        photometric: Weight of the mean squared colour error inside the head's region, against the tracker's terms.
        landmarks: Factor on the landmarks' weight: the pictures know better where they can tell.
        smoothness: Factor on the weights of the accelerations: the pictures' noise is that of every frame for itself.
        threads: Threads of the rasteriser; None for as many as the machine has cores.
    """

    side: int = 256
    sampling: Sampling = field(default_factory=lambda: Sampling(gaussians=8000, torso_gaussians=2000, closed=False))
    rounds: int = 2
    first_steps: int = 500
    later_steps: int = 250
    residual_start: int = 150
    sweeps: int = 1
    key_frames: int = 6
    photometric: float = 5e3
    landmarks: float = 0.5
    smoothness: float = 2.0
    threads: int | None = None

    @property
    def all_steps(self) -> int:
        """Optimiser steps of the avatar in all rounds."""
        return self.first_steps + (self.rounds - 1) * self.later_steps
