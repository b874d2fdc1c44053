"""A plain avatar of the person, learned quickly at small size: what photometric refinement compares the frames with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import Camera
from avatar.fields.condition import condition_features
from avatar.fields.regularizers import Regularizer
from avatar.fields.sampling import EYE_BOX, IRISES, LIP_BOX, LIPS, initial_head, landmark_points
from avatar.preprocess._frame_file import FrameFile
from avatar.render.losses import l1_dssim
from avatar.render.optim import FusedAdam
from avatar.render.rigged import rasterize_rigged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.preprocess.refinement_config import RefinementLevel

HEAD = 1
# Learning rates at the first step; all decay to a tenth, positions to a fiftieth.
RATES = {
    "offsets": 4e-5, "log_scales": 8e-3, "quats": 2e-3, "opacity_logits": 2e-2, "color_logits": 1e-2, "residuals": 4e-3,
}  # fmt: skip
DECAY, POSITION_DECAY = 0.1, 0.02
ALPHA_WEIGHT = 0.1
# Blur of the region's edge in pixels, so that a silhouette pulls on the head from both sides.
EDGE = 1.0


@dataclass(frozen=True)
class SmallFrames:
    """The used frames of a take at small size, on disk: memory stays flat in the clip's length.

    Attributes:
        images: (T, h, w, 3) sRGB bytes.
        masks: (T, h, w) soft person mask, 255 is the person.
        regions: (T, h, w) where the head is compared, 255 is all of the weight.
        plate: (h, w, 3) what is behind the person, sRGB in [0, 1].
        used: (n,) the frames that are there.
    """

    images: FrameFile
    masks: FrameFile
    regions: FrameFile
    plate: Float[Tensor, "h w 3"]
    used: Int[np.ndarray, " n"]

    @classmethod
    def of_take(cls, take: Take, side: int, folder: Path) -> SmallFrames:
        """The take's frames, their longer side `side` pixels or less, kept in a folder."""
        factor = min(1.0, side / max(take.info.width, take.info.height))
        width, height = round(take.info.width * factor), round(take.info.height * factor)
        plate = torch.from_numpy(_resized(take.background(), width, height)).float() / 255
        frames = cls._empty(len(take), plate, np.flatnonzero(take.used), folder)

        def read(index: int) -> None:
            mask = _resized(np.asarray(take.mask(index), np.float32), width, height)
            head = cv2.resize(take.parts(index), (width, height), interpolation=cv2.INTER_NEAREST) == HEAD
            region = (head & (mask > 0.5)).astype(np.float32)
            frames.images[index] = _resized(take.image(index), width, height)
            frames.masks[index] = np.rint(mask * 255)
            frames.regions[index] = np.rint(cv2.GaussianBlur(region, (0, 0), EDGE) * 255)

        with ThreadPoolExecutor(max_workers=2) as readers:
            list(readers.map(read, frames.used.tolist()))
        return frames

    @classmethod
    def _empty(
        cls, count: int, plate: Float[Tensor, "h w 3"], used: Int[np.ndarray, " n"], folder: Path
    ) -> SmallFrames:
        folder.mkdir(parents=True, exist_ok=True)
        shape = (count, *plate.shape[:2])
        return cls(
            FrameFile(folder / "images", (*shape, 3)),
            FrameFile(folder / "masks", shape),
            FrameFile(folder / "regions", shape),
            plate,
            used,
        )

    def smaller(self, side: int, folder: Path) -> SmallFrames:
        """These frames with a longer side of `side` pixels, kept in a folder; themselves where they are no larger."""
        if max(self.width, self.height) <= side:
            return self
        factor = side / max(self.width, self.height)
        width, height = round(self.width * factor), round(self.height * factor)
        plate = torch.from_numpy(_resized(self.plate.numpy(), width, height))
        frames = self._empty(len(self.images), plate, self.used, folder)
        for index in self.used.tolist():
            for whole, small in zip(
                (self.images, self.masks, self.regions), (frames.images, frames.masks, frames.regions), strict=True
            ):
                small[index] = _resized(whole[index], width, height)
        return frames

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.plate.shape[1]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.plate.shape[0]

    def camera(self, take: Take) -> Camera:
        """The take's camera at this size."""
        scale = self.width / take.info.width
        camera = Camera.front(take.info.focal, take.info.width, take.info.height)
        return Camera(camera.viewmat, np.diag([scale, scale, 1.0]) @ camera.K, self.width, self.height)

    def image(self, index: int) -> Float[Tensor, "h w 3"]:
        """One frame, sRGB in [0, 1]."""
        return torch.from_numpy(self.images[index].astype(np.float32) / 255)

    def mask(self, index: int) -> Float[Tensor, "h w"]:
        """Its person mask in [0, 1]."""
        return torch.from_numpy(self.masks[index].astype(np.float32) / 255)

    def region(self, index: int) -> Float[Tensor, "h w"]:
        """The weight of its pixels in [0, 1]."""
        return torch.from_numpy(self.regions[index].astype(np.float32) / 255)


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Moments:
    """The moving parts of B frames, as `avatar.motion.Motion` has them."""

    expression: Float[Tensor, "B E"]
    joints: Float[Tensor, "B 5 3"]
    eyelids: Float[Tensor, "B 2"]
    transl: Float[Tensor, "B 3"]
    torso: Float[Tensor, "B 3"]

    @classmethod
    def of(cls, motion: Motion, index: int) -> Moments:
        """One row of a motion."""
        row = motion[index : index + 1]
        values = (row.expression, row.pose, row.eyelids, row.transl, row.torso)
        return cls(*(torch.as_tensor(value, dtype=torch.float32) for value in values))


def loose_gaussians(gaussians: GaussianHead) -> Bool[Tensor, " N"]:
    """Those around the mouth and the eyes, whose looks change with the motion in ways that a rig has no names for.

    All others follow their triangles alone: what residuals could explain of a turn of the head would be lost for its
    correction.
    """
    head, rest = gaussians.head, gaussians.head.v_template.numpy()
    marks = landmark_points(head, rest)
    centers = rest[head.faces.numpy()].mean(1)
    loose = (np.abs(centers - marks[LIPS].mean(0)) < LIP_BOX).all(1)
    for iris in IRISES:
        loose |= (np.abs(centers[:, :2] - marks[iris, :2]) < EYE_BOX).all(1) & (centers[:, 2] > marks[iris, 2] - 0.03)
    torso = np.ones(len(gaussians.torso_faces), bool)
    return torch.from_numpy(np.concatenate([loose, torso]))[gaussians.triangles]


class Appearance:
    """Gaussians on the head, fitted to some frames at small size.

    Args:
        take: The take, tracked.
        head: Its head model.
        motion: The motion to start from.
        frames: The take's frames at small size.
        learnt: Rows whose pixels may be learned from; the held-out ones are never among them.
        level: Sizes and steps.
        threads: Threads of the rasteriser; None for as many as the machine has cores.
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
    ) -> None:
        self.frames, self.learnt, self.level, self.threads = frames, learnt, level, threads
        self.gaussians: GaussianHead = initial_head(take, head, motion, learnt, level.sampling)
        self._loose = loose_gaussians(self.gaussians).float()[:, None]
        self._regularizer = Regularizer(self.gaussians)
        camera = frames.camera(take)
        self._viewmat = torch.as_tensor(camera.viewmat, dtype=torch.float32)
        self._K = torch.as_tensor(camera.K, dtype=torch.float32)
        groups = [
            {"params": [getattr(self.gaussians, name)], "lr": rate, "name": name, "first": rate}
            for name, rate in RATES.items()
        ]
        self._optimizer = FusedAdam(groups, eps=1e-12)
        self._generator = np.random.default_rng(level.sampling.seed)
        self._done = 0

    def fit(self, motion: Motion, steps: int, *, progress: Callable[[], None]) -> None:
        """Takes some optimiser steps, one learnt frame each, with the head where `motion` has it."""
        self.gaussians.requires_grad_(True)
        for _ in range(steps):
            if self._done % len(self.learnt) == 0:
                self._order = self._generator.permutation(self.learnt)
            index = int(self._order[self._done % len(self.learnt)])
            self._step(index, Moments.of(motion, index))
            self._done += 1
            progress()
        self.gaussians.requires_grad_(False)

    def _step(self, index: int, moment: Moments) -> None:
        background = torch.from_numpy(self._generator.random(3, np.float32))
        condition = self._condition(moment)
        learning = self._done >= self.level.residual_start
        residual = self._residual(condition)[0] if learning else torch.zeros(len(self.gaussians), 10)
        residual = residual.detach().requires_grad_(learning)
        image, alpha = (value[0] for value in self._pictures(moment, residual[None], background))
        mask = self.frames.mask(index)
        # The plate's share of a pixel at the silhouette gives way to the plain background.
        target = self.frames.image(index) + (1 - mask[..., None]) * (background - self.frames.plate)
        loss = l1_dssim(image, target.clamp(0, 1)) + ALPHA_WEIGHT * (alpha[..., 0] - mask).square().mean()
        (loss + self._regularizer(self.gaussians, residual)).backward()
        if residual.grad is not None:
            self._optimizer.set_outer_gradient(self.gaussians.residuals, residual.grad * self._loose, condition[0])
        progress = self._done / self.level.all_steps
        for group in self._optimizer.param_groups:
            group["lr"] = group["first"] * (POSITION_DECAY if group["name"] == "offsets" else DECAY) ** progress
        self._optimizer.step()
        self._optimizer.zero_grad()

    def residuals(self, indices: Int[np.ndarray, " B"], moments: Moments) -> Float[Tensor, "B h w 3"]:
        """Renders over the clip's background less the frames, weighted by the root of their regions; differentiable."""
        image, alpha = self._pictures(moments, self._residual(self._condition(moments)), None)
        frames = torch.stack([self.frames.image(int(index)) for index in indices])
        regions = torch.stack([self.frames.region(int(index)) for index in indices])
        return (image + (1 - alpha) * self.frames.plate - frames) * regions.sqrt()[..., None]

    def _condition(self, moments: Moments) -> Float[Tensor, "B K"]:
        features = condition_features(self.gaussians.head, moments.expression, moments.joints, moments.eyelids)
        return self.gaussians.condition(features)

    def _residual(self, condition: Float[Tensor, "B K"]) -> Float[Tensor, "B N 10"]:
        return torch.stack([self.gaussians.residual(row) for row in condition]) * self._loose

    def _pictures(
        self, moments: Moments, residual: Float[Tensor, "B N 10"], background: Float[Tensor, " 3"] | None
    ) -> tuple[Float[Tensor, "B h w 3"], Float[Tensor, "B h w 1"]]:
        picture = rasterize_rigged(
            self.gaussians.rigged(),
            self.gaussians.batch_carriers(moments),
            self._viewmat,
            self._K,
            width=self.frames.width,
            height=self.frames.height,
            residual=residual,
            backgrounds=background,
            threads=self.threads,
        )
        return picture.image, picture.alpha
