"""Configuration of photometric refinement."""

from __future__ import annotations

from dataclasses import dataclass, field

from avatar.fields.sampling import Sampling


@dataclass(frozen=True)
class RefinementLevel:
    """One size at which pictures are compared, with an avatar of its own.

    Attributes:
        side: Longest side of the compared pictures, pixels.
        sampling: Gaussians of the plain avatar that explains them.
        first_steps: Optimiser steps of the avatar in the first round.
        later_steps: Optimiser steps of the avatar in each later round.
        rounds: How many times the avatar is fitted and the motion corrected.
        sweeps: Corrections of the motion in each round.
        residual_start: Step from which the avatar's residuals learn.
        head_only: Whether the head's turn and place alone are corrected, and what the face does stays.
        landmarks: Factor on the landmarks' weight.
        light_frames: Frames whose pictures tell the light, which stays where it is while the head turns; 0 to keep
            that of the level before, or none.
    """

    side: int
    sampling: Sampling
    first_steps: int
    later_steps: int = 0
    rounds: int = 1
    sweeps: int = 1
    residual_start: int = 150
    head_only: bool = False
    landmarks: float = 1.0
    light_frames: int = 0

    @property
    def all_steps(self) -> int:
        """Optimiser steps of the avatar in all rounds."""
        return self.first_steps + (self.rounds - 1) * self.later_steps

    def work(self, frames: int) -> int:
        """Steps of progress for a clip of so many frames."""
        return self.all_steps + self.rounds * self.sweeps * frames


# Small pictures are smooth, so that a head some degrees off still finds its way; the lips are too small to be told.
COARSE = RefinementLevel(
    side=128,
    sampling=Sampling(gaussians=3000, torso_gaussians=750, closed=False),
    first_steps=250,
    later_steps=100,
    rounds=2,
    head_only=True,
    light_frames=16,
)
FINE = RefinementLevel(
    side=256,
    sampling=Sampling(gaussians=8000, torso_gaussians=2000, closed=False),
    first_steps=350,
    later_steps=150,
    rounds=2,
    landmarks=2.0,
)


@dataclass(frozen=True)
class RefinementConfig:
    """How the tracked motion is corrected by the pictures.

    Attributes:
        levels: Sizes at which pictures are compared, coarse to fine.
        key_frames: Frames whose pictures give the second derivatives, which all frames of a level share.
        photometric: Weight of the mean squared colour error inside the head's region, against the tracker's terms.
        offsets: Factor on the prior of the landmarks' corrections: with the head where the pictures have it, they are
            about as large as the embedding's own spread.
        smoothness: Factor on the weights of the accelerations: the pictures' noise is that of every frame for itself.
        threads: Threads of the rasteriser; None for as many as the machine has cores.
    """

    levels: tuple[RefinementLevel, ...] = field(default=(COARSE, FINE))
    key_frames: int = 6
    photometric: float = 5e3
    offsets: float = 0.03
    smoothness: float = 5.0
    threads: int | None = None
