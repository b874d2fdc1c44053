"""A plain avatar of the person, learned quickly at small size: what photometric refinement compares the frames with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.fields.regularizers import Regularizer
from avatar.fields.sampling import EYE_BOX, IRISES, LIP_BOX, LIPS, initial_head, landmark_points
from avatar.preprocess._light import Light, equations, nudged, solved
from avatar.preprocess._likeness import Likeness, Moments
from avatar.preprocess._threads import map_tensors
from avatar.preprocess.identity_detail import chosen_frames
from avatar.render.losses import l1_dssim
from avatar.render.optim import FusedAdam

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.preprocess._small_frames import SmallFrames
    from avatar.preprocess.refinement_config import RefinementLevel

# Learning rates at the first step; all decay to a tenth, positions to a fiftieth.
RATES = {
    "offsets": 4e-5, "log_scales": 8e-3, "quats": 2e-3, "opacity_logits": 2e-2, "color_logits": 1e-2, "residuals": 4e-3,
}  # fmt: skip
DECAY, POSITION_DECAY = 0.1, 0.02
ALPHA_WEIGHT = 0.1
# Frames whose mesh is posed at once.
AHEAD = 64


def loose_gaussians(gaussians: GaussianHead) -> Bool[Tensor, " N"]:
    """Those around the mouth and the eyes, whose looks change with the motion in ways that a rig has no names for.

    All others follow their triangles alone: what residuals could explain of a turn of the head would be lost for its
    correction.
    """
    head, rest = gaussians.head, gaussians.head.v_template.cpu().numpy()
    marks = landmark_points(head, rest)
    centers = rest[head.faces.cpu().numpy()].mean(1)
    loose = (np.abs(centers - marks[LIPS].mean(0)) < LIP_BOX).all(1)
    for iris in IRISES:
        loose |= (np.abs(centers[:, :2] - marks[iris, :2]) < EYE_BOX).all(1) & (centers[:, 2] > marks[iris, 2] - 0.03)
    torso = np.ones(len(gaussians.torso_faces), bool)
    return torch.from_numpy(np.concatenate([loose, torso])).to(gaussians.triangles.device)[gaussians.triangles]


class Appearance(Likeness):
    """Gaussians on the head, fitted to some frames at small size where the head lies.

    Args:
        take: The take, tracked.
        head: Its head model.
        motion: The motion to start from.
        frames: The take's frames at small size.
        learnt: Rows whose pixels may be learned from; the held-out ones are never among them.
        level: Sizes and steps.
        threads: Threads of the rasteriser; None for as many as the machine has cores.
        light: (8,) weights of the clip's light to start from; none is modelled without.
    """

    def __init__(
        self,
        take: Take,
        head: Head,
        motion: Motion,
        frames: SmallFrames,
        *,
        learnt: Int[np.ndarray, " n"],
        level: RefinementLevel,
        threads: int | None = None,
        light: Float[Tensor, " 8"] | None = None,
    ) -> None:
        gaussians = initial_head(take, head, motion, learnt, level.sampling)
        loose = loose_gaussians(gaussians).float()[:, None]
        super().__init__(gaussians, take, frames, learnt=learnt, residuals=loose, threads=threads)
        if light is not None:
            self.light = Light.on(self.gaussians, motion, learnt, light)
        self.level = level
        self._regularizer = Regularizer(self.gaussians)
        groups = [
            {"params": [getattr(self.gaussians, name)], "lr": rate, "name": name, "first": rate}
            for name, rate in RATES.items()
        ]
        self._optimizer = FusedAdam(groups, eps=1e-12)
        self._generator = np.random.default_rng(level.sampling.seed)
        self._done = 0

    def fit(self, motion: Motion, steps: int, *, progress: Callable[[], None]) -> None:
        """Takes some optimiser steps, one learnt frame each, with the head where `motion` has it."""
        self.light = self.light and self.light.under(motion)
        self.gaussians.requires_grad_(True)
        goal = self._done + steps
        while self._done < goal:
            place = self._done % len(self.learnt)
            if place == 0:
                self._order = self._generator.permutation(self.learnt)
            coming = self._order[place : place + min(AHEAD, goal - self._done)]
            with torch.no_grad():
                moments = Moments.of(motion, coming, device=self.device)
                posed = zip(self.gaussians.batch_carriers(moments), self._condition(moments), strict=True)
            for index, (vertices, condition) in zip(coming.tolist(), posed, strict=True):
                self._step(index, vertices, condition)
                self._done += 1
                progress()
        self.gaussians.requires_grad_(False)

    def learn_light(self, motion: Motion) -> None:
        """Solves for the light as the avatar looks now, with the head where `motion`, that of the last fit, has it.

        The learnt frames whose turns are spread most widely tell it.
        """
        light = self.light
        assert light is not None
        weights = nudged(light.weights)

        @torch.no_grad()
        def asked(index: int) -> tuple[Tensor, Tensor]:
            indices = np.full(len(weights), index)
            moments = Moments.of(motion, indices, device=self.device)
            return equations(self.residuals(indices, moments, weights), light.weights)

        indices = chosen_frames(motion, self.learnt, self.level.light_frames).tolist()
        parts = list(map_tensors(asked, indices, device=self.device))
        compared = 3 * sum(float(self.frames.region(index).sum()) for index in indices)
        self.light = replace(light, weights=solved(parts, max(compared, 1.0)))

    def _step(self, index: int, vertices: Float[Tensor, "V 3"], condition: Float[Tensor, " K"]) -> None:
        background = torch.from_numpy(self._generator.random(3, np.float32)).to(self.device)
        learning = self._done >= self.level.residual_start
        still = torch.zeros(len(self.gaussians), 10, device=self.device)
        residual = self._residual(condition[None])[0] if learning else still
        residual = residual.detach().requires_grad_(learning)
        lit = self._lit(residual[None], np.array([index]))
        image, alpha = (value[0] for value in self._pictures(vertices[None], lit, background, threads=self.threads))
        mask, shown = (read(index).to(self.device) for read in (self.frames.mask, self.frames.image))
        # The plate's share of a pixel at the silhouette gives way to the plain background.
        target = (shown + (1 - mask[..., None]) * (background - self._plate)).clamp(0, 1)
        covered = self.frames.covered(index)
        if covered is not None:
            covered = covered.to(self.device)
            target = torch.where(covered[..., None], image.detach(), target)
            mask = torch.where(covered, alpha[..., 0].detach(), mask)
        loss = l1_dssim(image, target) + ALPHA_WEIGHT * (alpha[..., 0] - mask).square().mean()
        (loss + self._regularizer(self.gaussians, residual)).backward()
        if residual.grad is not None:
            self._optimizer.set_outer_gradient(self.gaussians.residuals, residual.grad * self._loose, condition)
        progress = self._done / self.level.all_steps
        for group in self._optimizer.param_groups:
            group["lr"] = group["first"] * (POSITION_DECAY if group["name"] == "offsets" else DECAY) ** progress
        self._optimizer.step()
        self._optimizer.zero_grad()
