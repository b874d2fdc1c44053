"""An avatar drawn as the frames of its take show it, and what is left between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from avatar.fields.condition import condition_features
from avatar.render.rigged import rasterize_rigged

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.preprocess._light import Light
    from avatar.preprocess._small_frames import SmallFrames

# Of the ten residuals of a Gaussian, those of its colour.
COLOR = slice(7, 10)
# What a colour at most lacks to white counts as this much.
DIMMEST = 0.05


@dataclass(frozen=True)
class Moments:
    """The moving parts of B frames, as `avatar.motion.Motion` has them."""

    expression: Float[Tensor, "B E"]
    joints: Float[Tensor, "B 5 3"]
    eyelids: Float[Tensor, "B 2"]
    transl: Float[Tensor, "B 3"]
    torso: Float[Tensor, "B 3"]

    @classmethod
    def of(cls, motion: Motion, indices: Int[np.ndarray, " B"], *, device: torch.device) -> Moments:
        """Rows of a motion, in any order, on a device."""
        values = (motion.expression, motion.pose, motion.eyelids, motion.transl, motion.torso)
        return cls(*(torch.as_tensor(value[indices], dtype=torch.float32, device=device) for value in values))


class Likeness:
    """Gaussians beside the frames of their take, compared where the Gaussians lie.

    Attributes:
        light: The light that shines on the Gaussians; none at first.

    Args:
        gaussians: The avatar.
        take: Its take.
        frames: The take's frames at the size they are compared at.
        learnt: Rows whose pixels may be learned from; the held-out ones are never among them.
        residuals: (N, 1) how far each Gaussian follows its residuals; all of them wholly when None.
        threads: Threads of the rasteriser; None for as many as the machine has cores.
    """

    def __init__(
        self,
        gaussians: GaussianHead,
        take: Take,
        frames: SmallFrames,
        *,
        learnt: Int[np.ndarray, " n"],
        residuals: Float[Tensor, "N 1"] | None = None,
        threads: int | None = None,
    ) -> None:
        self.gaussians, self.frames, self.learnt, self.threads = gaussians, frames, learnt, threads
        self._loose = torch.ones(len(gaussians), 1, device=self.device) if residuals is None else residuals
        camera = frames.camera(take)
        self._viewmat = torch.as_tensor(camera.viewmat, dtype=torch.float32, device=self.device)
        self._K = torch.as_tensor(camera.K, dtype=torch.float32, device=self.device)
        self._plate = frames.plate.to(self.device)
        self.light: Light | None = None

    @property
    def device(self) -> torch.device:
        """Where the Gaussians lie."""
        return self.gaussians.offsets.device

    def residuals(
        self, indices: Int[np.ndarray, " B"], moments: Moments, weights: Float[Tensor, "B 8"] | None = None
    ) -> Float[Tensor, "B h w 3"]:
        """Renders over the clip's background less the frames, weighted by the root of their regions; differentiable.

        On one thread, so that several may ask at once. `weights` stand for the light's own.
        """
        residual = self._lit(self._residual(self._condition(moments)), indices, weights)
        image, alpha = self._pictures(self.gaussians.batch_carriers(moments), residual, None, threads=1)
        frames, regions = (self._read(read, indices) for read in (self.frames.image, self.frames.region))
        return (image + (1 - alpha) * self._plate - frames) * regions.sqrt()[..., None]

    def _read(self, read: Callable[[int], Tensor], indices: Int[np.ndarray, " B"]) -> Float[Tensor, "B h w *c"]:
        """What `read` has of some frames, moved to the Gaussians at once."""
        return torch.stack([read(int(index)) for index in indices]).to(self.device)

    def _condition(self, moments: Moments) -> Float[Tensor, "B K"]:
        features = condition_features(self.gaussians.head, moments.expression, moments.joints, moments.eyelids)
        moved = self.gaussians.condition(features)
        # Residuals that listen hear nothing here.
        return nn.functional.pad(moved, (0, self.gaussians.residuals.shape[2] - moved.shape[1]))

    def _residual(self, condition: Float[Tensor, "B K"]) -> Float[Tensor, "B N 10"]:
        return torch.stack([self.gaussians.residual(row) for row in condition]) * self._loose

    def _lit(
        self,
        residual: Float[Tensor, "B N 10"],
        indices: Int[np.ndarray, " B"],
        weights: Float[Tensor, "B 8"] | None = None,
    ) -> Float[Tensor, "B N 10"]:
        """The residuals of some frames with what the light adds to the colours."""
        if self.light is None:
            return residual
        rigged = self.gaussians.rigged()
        # By what its logit grows where a colour does by a small share of itself; bright ones saturate.
        share = rigged.units[:, COLOR] * (1 - rigged.color_logits.detach().sigmoid()).clamp_min(DIMMEST)
        added = self.light.gains(indices, weights)[..., None] / share
        return residual + nn.functional.pad(added, (COLOR.start, 0))

    def _pictures(
        self,
        vertices: Float[Tensor, "B V 3"],
        residual: Float[Tensor, "B N 10"],
        background: Float[Tensor, " 3"] | None,
        *,
        threads: int | None,
    ) -> tuple[Float[Tensor, "B h w 3"], Float[Tensor, "B h w 1"]]:
        picture = rasterize_rigged(
            self.gaussians.rigged(),
            vertices,
            self._viewmat,
            self._K,
            width=self.frames.width,
            height=self.frames.height,
            residual=residual,
            backgrounds=background,
            threads=threads,
        )
        return picture.image, picture.alpha
