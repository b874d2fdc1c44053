"""Exposure and white balance of each training frame: taken out of what the avatar learns, and absent at playback.

A camera that adjusts itself makes frames differ in ways that no motion explains. Each frame gets a gain and an offset
for every channel, which act on the rendered person before the loss. A frame is visited only a few times in a training,
too seldom for a gradient to find six numbers, but given the render they are those of a small linear least-squares
problem, which is solved at every visit (variable projection: Golub and Pereyra, 1973). Held out frames have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import nn

from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.io.take import Take
    from avatar.render.rasterization import Rendering
    from avatar.train.config import TrainConfig
    from avatar.train.dataset import TrainingFrame

# A picture is compared at every so many pixels: six unknowns need no more.
STRIDE = 3
# Spread of gains and of offsets that a camera is expected to make, and the error that a picture tells them with.
GAIN_SPREAD, OFFSET_SPREAD, PICTURE_ERROR = 0.1, 0.02, 0.002
# Training frames that tell whether the exposure varies.
SAMPLED = 240
DARKEST = 8.0


class Exposure(nn.Module):
    """Gain and offset of every frame of a take, by channel; identity for frames that were not visited.

    Args:
        count: Frames of the take.
    """

    log_gains: Float[Tensor, "T 3"]
    offsets: Float[Tensor, "T 3"]
    visited: Bool[Tensor, " T"]

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("log_gains", torch.zeros(count, 3))
        self.register_buffer("offsets", torch.zeros(count, 3))
        self.register_buffer("visited", torch.zeros(count, dtype=torch.bool))

    def forward(
        self, frame: TrainingFrame, picture: Rendering, background: Float[Tensor, " 3"]
    ) -> Float[Tensor, "H W 3"]:
        """The picture as the camera had taken it in that frame; gradients flow to the picture."""
        self.visit(frame, picture)
        gain, offset = self.of(frame.index)
        # gain * (C - (1 - a) bg) + a offset + (1 - a) bg for the premultiplied person C - (1 - a) bg.
        behind = background * (1 - gain)
        return picture.image * gain + behind - picture.alpha * (behind - offset)

    @torch.no_grad()
    def visit(self, frame: TrainingFrame, picture: Rendering) -> None:
        """Finds gain and offset that take the rendered person to the one in the frame."""
        some = (slice(None, None, STRIDE), slice(None, None, STRIDE))
        alpha = picture.alpha[some][..., 0]
        solid = (alpha > 0.99) & (frame.alpha[some] > 0.99)
        if frame.covered is not None:
            solid &= ~frame.covered[some]
        if not solid.any():
            return
        rendered, seen = picture.image[some][solid].double(), frame.image[some][solid].double()
        # The normal equations of each channel, with the priors of one observation of PICTURE_ERROR.
        tightness = rendered.new_tensor([GAIN_SPREAD, OFFSET_SPREAD]).reciprocal() * PICTURE_ERROR
        matrix = torch.diag(tightness.square()).repeat(3, 1, 1)
        mean = rendered.mean(0)
        matrix[:, 0, 0] += rendered.square().mean(0)
        matrix[:, 0, 1] += mean
        matrix[:, 1, 0] += mean
        matrix[:, 1, 1] += 1
        wanted = seen - rendered
        right = torch.stack([(rendered * wanted).mean(0), wanted.mean(0)], 1)
        found = torch.linalg.solve(matrix, right)
        self.log_gains[frame.index] = found[:, 0].clamp(-0.9, 9).log1p().float()
        self.offsets[frame.index] = found[:, 1].float()
        self.visited[frame.index] = True

    def of(self, index: int) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
        """Gain and offset of a frame, less their means over the take, so that the avatar's own colours cannot drift."""
        if not self.visited[index]:
            return self.log_gains.new_ones(3), self.offsets.new_zeros(3)
        gains, offsets = (values[self.visited].mean(0) for values in (self.log_gains, self.offsets))
        return (self.log_gains[index] - gains).exp(), self.offsets[index] - offsets


def take_exposure(take: Take, indices: Int[np.ndarray, " n"], config: TrainConfig) -> Exposure | None:
    """The exposures to be learned with a take, or None where its training frames `indices` are evenly exposed."""
    if exposure_variation(take, indices) < config.even_exposure:
        return None
    return Exposure(len(take))


def exposure_variation(take: Take, indices: Int[np.ndarray, " n"]) -> float:
    """How much the skin's colour varies between frames in ways that the head's turn and place do not explain.

    Colours are looked up at the landmarks, which stay on the same skin; their median over the face neither sees the
    mouth nor the lids move. What is a quadratic function of turn and place is shading.

    Args:
        take: A tracked take.
        indices: Rows to look at; some of them, evenly chosen, where they are many.

    Returns:
        Standard deviation of the remaining log intensity, the mean of the three channels.
    """
    seen = take.perception()["landmarks"]
    indices = indices[np.isfinite(seen[indices]).all((1, 2))]
    if not len(indices):
        return 0.0
    indices = evenly_spread(indices, SAMPLED)
    levels = np.stack([_skin(take.image(int(i)), seen[i]) for i in indices])
    levels = np.median(levels - np.median(levels, axis=0), axis=1)
    motion = take.motion()[indices]
    place = np.concatenate([motion.global_orient + motion.neck_pose, motion.transl], axis=1).astype(np.float64)
    place = (place - place.mean(0)) / (place.std(0) + 1e-6)
    pairs = [place[:, i] * place[:, j] for i in range(place.shape[1]) for j in range(i + 1)]
    known = np.column_stack([np.ones(len(place)), place, *pairs])
    if len(known) <= 2 * known.shape[1]:
        known = known[:, : 1 + place.shape[1]]
    left = levels - known @ np.linalg.lstsq(known, levels, rcond=None)[0]
    freedom = max(len(left) - known.shape[1], 1)
    return float(np.sqrt((left**2).sum(0) / freedom).mean())


def _skin(image: np.ndarray, landmarks: Float[np.ndarray, "L 3"]) -> Float[np.ndarray, "L 3"]:
    """Log intensity at the landmarks."""
    points = landmarks[:, None, :2].astype(np.float32) - 0.5
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    looked_up = cv2.remap(smooth, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return np.log(looked_up[:, 0] + DARKEST)
