"""Closes pinholes: small gaps between two surfaces, through which views from the side show the background.

No frame tells where the neck meets the inside of a collar, so one training leaves a few pixels open there and the next
does not. When it has ended, the avatar is looked at from around, and what lies at the edge of a pinhole grows and
thickens until it is closed: some dozens of Gaussians, which the take's own view hardly shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.fields.survey import take_camera
from avatar.render.flaws import OPAQUE, find_holes, large_pieces
from avatar.render.rigged import rasterize_rigged
from avatar.render.shots import head_centers
from avatar.render.trajectories import around, resized
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.cameras import Camera
    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.io.take import Take
    from avatar.motion import Motion

# First so many moments are looked at, the take's calmest among them, on a grid of views that lies elsewhere for each by
# half its step at most, degrees. What is open there is then looked for again, so many times in so many views of other
# moments beside the open ones.
MOMENTS = 5
YAWS, PITCHES, STEP = range(-40, 41, 10), (-20, 0, 20), 10
LOOKS, BESIDE = 5, 32
# Pixels of a view's longer side, and how many square metres a pinhole has at most.
SIDE, LARGEST = 256, 1e-4
# What a round changes at most in the logit of an opacity and in the logarithm of a size; what would change by a
# smaller share of that stays as it is. In all a logit grows by no more than the first, a size to the second, metres.
ROUND, LEAST = (0.4, 0.1), 0.1
THICKEST, WIDEST = 3.0, 0.01
# What is open is closed in so many rounds at most. A Gaussian that changes so many frames of the take by more than
# this, as a squared difference of colours and alpha over all pixels, stays as it was.
ROUNDS, FILMED, SPOILT = 20, 6, 3e-6


@dataclass(frozen=True)
class View:
    """A camera that looks at a moment.

    Attributes:
        pose: The moment.
        camera: The camera.
        yaw: Where it is among views around the head, degrees; so is `pitch`.
        pitch: Up from the front.
        calm: Whether the moment is the take's calmest.
    """

    pose: Pose
    camera: Camera
    yaw: float = 0.0
    pitch: float = 0.0
    calm: bool = False


@dataclass(frozen=True)
class Growth:
    """Opacities and sizes of an avatar's Gaussians while these grow.

    Attributes:
        gaussians: The avatar, which is left as it is.
        values: (N,) logits of opacity, and (N, 3) logarithms of sizes in metres, with gradients.
        start: The same before anything grew.
        most: What they may become.
        free: (N,) which Gaussians may grow.
    """

    gaussians: GaussianHead
    values: tuple[Tensor, Tensor]
    start: tuple[Tensor, Tensor]
    most: tuple[Tensor, Tensor]
    free: Bool[Tensor, " N"]

    @classmethod
    def of(cls, gaussians: GaussianHead) -> Growth:
        """Nothing has grown; what training has left translucent will not, since it would come out in front."""
        opacities, sizes = (value.detach().clone() for value in (gaussians.opacity_logits, gaussians.log_scales))
        most = opacities + THICKEST, torch.maximum(sizes, sizes.new_tensor(math.log(WIDEST)))
        values = opacities.clone().requires_grad_(), sizes.clone().requires_grad_()
        return cls(gaussians, values, (opacities, sizes), most, opacities > 0)

    def picture(self, view: View, threads: int | None) -> Float[Tensor, "H W 4"]:
        """The avatar as it has grown, over black, and its alpha."""
        camera, device = view.camera, self.free.device
        viewmat, K = (torch.as_tensor(m, dtype=torch.float32, device=device) for m in (camera.viewmat, camera.K))
        opacity_logits, log_scales = self.values
        with torch.no_grad():
            carriers, residual = self.gaussians.carriers(view.pose), self.gaussians.residual(view.pose.condition)
        rendering = rasterize_rigged(
            replace(self.gaussians.rigged(), opacity_logits=opacity_logits, log_scales=log_scales),
            carriers,
            viewmat,
            K,
            width=camera.width,
            height=camera.height,
            residual=residual,
            threads=threads,
        )
        return torch.cat([rendering.image, rendering.alpha], -1)

    @torch.no_grad()
    def step(self) -> None:
        """Goes against the gradients, and forgets them; what matters most goes furthest."""
        for value, limit, step in zip(self.values, self.most, ROUND, strict=True):
            gradient = torch.where(_rows(self.free, value), _gradient(value), 0.0).clamp(max=0)
            share = gradient / gradient.min().clamp(max=-1e-12)
            value.copy_(torch.minimum(value + step * share.where(share > LEAST, 0.0), limit))
        self.forget_gradients()

    @torch.no_grad()
    def take_back(self, most: float) -> None:
        """Sets back for good whatever has more than that part in what the gradients belong to, and forgets these."""
        pairs = list(zip(self.values, self.start, strict=True))
        parts = [(_gradient(value) * (value - start)).reshape(len(value), -1).sum(1) for value, start in pairs]
        self.free.logical_and_(torch.stack(parts).sum(0) < most)
        for value, start in pairs:
            value.copy_(torch.where(_rows(self.free, value), value, start))
        self.forget_gradients()

    def state(self) -> tuple[Tensor, ...]:
        """A copy of all that has grown."""
        return tuple(value.detach().clone() for value in self.values)

    @torch.no_grad()
    def restore(self, state: tuple[Tensor, ...]) -> None:
        """Goes back to an earlier `state`."""
        for value, earlier in zip(self.values, state, strict=True):
            value.copy_(earlier)

    def forget_gradients(self) -> None:
        """Sets all gradients to none."""
        for value in self.values:
            value.grad = None

    @torch.no_grad()
    def settle(self) -> int:
        """Gives the avatar what has grown, and says of how many Gaussians."""
        opacities, sizes = self.values
        self.gaussians.opacity_logits.copy_(opacities)
        self.gaussians.log_scales.copy_(sizes)
        return int(((opacities != self.start[0]) | (sizes != self.start[1]).any(1)).sum())


def close_pinholes(
    gaussians: GaussianHead, take: Take, indices: Int[np.ndarray, " n"], *, seed: int, threads: int | None = None
) -> int:
    """Grows what lies around the pinholes of an avatar, in place.

    Args:
        gaussians: The trained avatar.
        take: Its take.
        indices: Frames that give the moments.
        seed: Of the views.
        threads: Threads of the rasteriser.

    Returns:
        How many Gaussians have grown.
    """
    motion, generator = take.motion()[indices], np.random.default_rng(seed)
    camera = take_camera(take)
    filmed = [View(pose, camera) for pose in gaussians.poses(motion[evenly_spread(np.arange(len(motion)), FILMED)])]
    side = resized(camera, SIDE)
    growth = Growth.of(gaussians)
    with torch.no_grad():
        before = [growth.picture(view, threads) for view in filmed]
    views = _around(gaussians, motion, side, generator)
    judged = [view for view in views if view.calm]
    best, fewest = growth.state(), np.inf
    found: list[View] = []
    for _ in range(1 + LOOKS):
        open_ = [view for view in views if _is_open(growth, view, threads)]
        open_ = [open_[place] for place in evenly_spread(np.arange(len(open_)), BESIDE)]
        found += open_
        if not found:
            return 0
        if np.isinf(fewest):
            judged += open_
            fewest = sum(_open_pixels(growth, view, threads) for view in judged)
        for _ in range(ROUNDS if open_ else 0):
            growth.step()
            open_ = [view for view in open_ if _is_open(growth, view, threads)]
            if not open_:
                break
        growth.forget_gradients()
        for view, picture in zip(filmed, before, strict=True):
            (growth.picture(view, threads) - picture).square().sum(-1).mean().div(FILMED).backward()
        growth.take_back(SPOILT)
        # What grows over a gap's mouth only would make a hole of it.
        left = sum(_open_pixels(growth, view, threads) for view in judged)
        if left <= fewest:
            best, fewest = growth.state(), left
        else:
            growth.restore(best)
        views = _beside(found, gaussians, motion, side, generator)
    return growth.settle()


def _around(gaussians: GaussianHead, motion: Motion, camera: Camera, generator: np.random.Generator) -> list[View]:
    """Some moments from all their sides."""
    others = generator.choice(len(motion), min(MOMENTS - 1, len(motion)), replace=False)
    calm, result = calmest(motion), []
    for index in np.union1d(calm, others):
        yaw, pitch = (0, 0) if index == calm else generator.uniform(-STEP / 2, STEP / 2, 2)
        pose = gaussians.poses(motion[index : index + 1])[0]
        views = [_view(gaussians, pose, camera, y + yaw, p + pitch) for p in PITCHES for y in YAWS]
        result += [replace(view, calm=bool(index == calm)) for view in views]
    return result


def _beside(
    found: Sequence[View], gaussians: GaussianHead, motion: Motion, camera: Camera, generator: np.random.Generator
) -> list[View]:
    """Other moments from beside where something was open."""
    result = []
    for near, index in generator.integers([len(found), len(motion)], size=(BESIDE, 2)):
        yaw, pitch = generator.uniform(-STEP / 2, STEP / 2, 2)
        pose = gaussians.poses(motion[index : index + 1])[0]
        result.append(_view(gaussians, pose, camera, found[near].yaw + yaw, found[near].pitch + pitch))
    return result


def _view(gaussians: GaussianHead, pose: Pose, camera: Camera, yaw: float, pitch: float) -> View:
    center = head_centers(gaussians, [pose])[0]
    return View(pose, around(camera, center, yaw=yaw, pitch=pitch), yaw, pitch)


def calmest(motion: Motion) -> int:
    """The moment that is nearest to the mean of face and head, each channel over its own deviation."""
    rows = np.concatenate([motion.expression, motion.pose.reshape(len(motion), -1)], 1)
    away = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-6)
    return int(np.square(away).sum(1).argmin())


def _is_open(growth: Growth, view: View, threads: int | None) -> bool:
    """Whether a view has pinholes; the gradient of what shows through them is added to what was there."""
    alpha = growth.picture(view, threads)[..., 3]
    holes = _holes(growth, view, alpha)
    distance = float(growth.gaussians.vertices(view.pose).norm(dim=1).mean())
    pinholes = holes & ~large_pieces(holes, LARGEST * (float(view.camera.K[0, 0]) / distance) ** 2)
    if not pinholes.any():
        return False
    ((1 - alpha) * torch.from_numpy(pinholes).to(alpha.device)).sum().backward()
    return True


@torch.no_grad()
def _open_pixels(growth: Growth, view: View, threads: int | None) -> int:
    """The pixels of all holes of a view, large ones too."""
    return int(_holes(growth, view, growth.picture(view, threads)[..., 3]).sum())


def _holes(growth: Growth, view: View, alpha: Float[Tensor, "H W"]) -> Bool[np.ndarray, "H W"]:
    opaque = alpha.detach().cpu().numpy() > OPAQUE
    return find_holes(growth.gaussians, view.pose, view.camera, opaque)


def _gradient(value: Tensor) -> Tensor:
    """A leaf's gradient, zero where there is none."""
    return torch.zeros_like(value) if value.grad is None else value.grad


def _rows(some: Bool[Tensor, " N"], value: Tensor) -> Tensor:
    """`some` in the shape of what has one or more columns."""
    return some if value.ndim == 1 else some[:, None]
