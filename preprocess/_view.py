"""The tracker's unknowns as pictures: what they look like drawn, and how the pictures change with them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.memory import in_parts
from avatar.preprocess._frame_state import DEPTH, FIXED, GAZE, JAW, LIDS, NECK, PLACE, moving_columns, pack, unpack
from avatar.preprocess._likeness import Moments
from avatar.preprocess._solve import Photometric, Problem
from avatar.preprocess._threads import map_tensors
from avatar.preprocess._unknowns import PerFrame, Shared, eye_poses, to_motion
from avatar.preprocess._windows import solve_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.heads import Head
    from avatar.memory import Items, Result
    from avatar.motion import Motion
    from avatar.preprocess._likeness import Likeness
    from avatar.preprocess.refinement_config import RefinementConfig
    from avatar.preprocess.tracking_config import TrackingConfig

# How far each unknown is moved for a derivative by differences: about what one picture can tell.
NUDGES = ((NECK, 3e-3), (PLACE, 6e-4), (DEPTH, 2e-3), (JAW, 6e-3), (GAZE, 1.5e-2), (LIDS, 3e-2))
ACTION_NUDGE = 1.5e-2
# Pixels that a thread draws at once: what autograd keeps of them is most of the memory.
DRAWN_PIXELS = 2**18
# Bytes that the pictures drawn at once may take of a GPU, and what a pixel and a Gaussian of one take there, roughly.
GPU_BYTES, GPU_PIXEL, GPU_GAUSSIAN = 2 * 10**9, 100, 1000


@dataclass(frozen=True)
class View:
    """The tracker's unknowns as pictures.

    Attributes:
        problem: What the tracker fits, without pictures.
        shared: Its shared unknowns.
        head: The head model.
        before: The motion before this level, whose shoulders stay where they are in the picture.
        appearance: The avatar that is drawn.
    """

    problem: Problem
    shared: Shared
    head: Head
    before: Motion
    appearance: Likeness

    def moments(self, state: Float[Tensor, "B n"], indices: Int[np.ndarray, " B"]) -> Moments:
        """The head as the unknowns of some frames have it; differentiable, and linear in the actions."""
        camera, frames = self.problem.camera, unpack(self.problem, self.shared, state)
        left, right = eye_poses(self.shared, frames)
        rotations = camera.rotations(self.shared, frames)
        transl = camera.translation(self.shared, frames, rotations=rotations)
        shoulders = torch.from_numpy(self.before.transl[indices] + self.before.torso[indices]).to(state.device)
        actions = state[:, FIXED:]
        return Moments(
            expression=actions @ self.head.arkit_to_psi.T if camera.arkit else actions,
            joints=torch.stack([self.shared.root.expand(len(state), 3), state[:, NECK], frames.jaw, left, right], 1),
            eyelids=frames.lids,
            transl=transl,
            torso=shoulders - transl,
        )

    def motion(self, frames: PerFrame) -> Motion:
        """The unknowns as a motion whose shoulders are where they were, of the same subject."""
        moved = to_motion(self.shared, frames, self.problem.camera, head=self.head, time=self.before.time)
        torso = self.before.torso + self.before.transl - moved.transl
        return replace(moved, torso=torso, vertex_offsets=self.before.vertex_offsets)

    def swept(
        self,
        frames: PerFrame,
        used: Int[np.ndarray, " n"],
        hessian: Float[np.ndarray, "n n"],
        *,
        config: RefinementConfig,
        tracking: TrackingConfig,
        progress: Callable[[], None],
        tried: bool = False,
    ) -> PerFrame:
        """All frames after one correction by their pictures; `progress` is called for each time one is drawn.

        Where a mouth or an eye opens, sharp pictures bend several times as much as the mean Hessian says, and a step by
        that goes too far. With `tried` it is a trial: the pictures at its end tell each frame's own curvature along it.
        """
        term = self.linearised(frames, used, hessian, weight=config.photometric, progress=progress)
        if tried:
            frames = self._solved(frames, term, replace(tracking, window_steps=1))
            state = pack(self.problem, self.shared, frames)
            term = term.curved(state, self._errors(state, used, progress) * (config.photometric / len(used)))
        return self._solved(frames, term, tracking)

    def _solved(self, guess: PerFrame, term: Photometric, tracking: TrackingConfig) -> PerFrame:
        problem = replace(self.problem, photometric=term)
        return solve_windows(problem, self.shared, guess, config=tracking, progress=lambda _: None)

    def _errors(
        self, state: Float[np.ndarray, "T n"], used: Int[np.ndarray, " n"], progress: Callable[[], None]
    ) -> Float[np.ndarray, " T"]:
        """Mean squared error of each of the frames `used`."""
        errors = np.zeros(len(state))

        @torch.no_grad()
        def look(indices: np.ndarray) -> int:
            errors[indices] = self._mean_squares(self._values(state[indices]), indices).cpu().numpy()
            return len(indices)

        _told(self._in_parts(look, used), progress)
        return errors

    def hessian(self, frames: PerFrame, keys: np.ndarray) -> Float[np.ndarray, "n n"]:
        """Mean Gauss-Newton matrix of the mean squared error over the learnt frames `keys`, by differences.

        It is zero for what this level leaves as it is.
        """
        state = pack(self.problem, self.shared, frames)
        nudges = torch.full((state.shape[1],), ACTION_NUDGE, device=self.problem.device)
        for columns, nudge in NUDGES:
            nudges[columns] = nudge
        moving = moving_columns(self.problem, state.shape[1])
        steps = nudges.diag()[moving]
        total = np.zeros((state.shape[1],) * 2)
        for index in self.appearance.learnt[keys].tolist():
            row = self._values(state[index])
            seen = self._looks(torch.cat([row[None], row + steps]), index)
            slopes = (seen[1:] - seen[0]).flatten(1).div_(nudges[moving, None])
            total[moving, moving] += 2 * (slopes @ slopes.T).double().cpu().numpy() / self._size(index)
        return total / len(keys)

    def _looks(self, states: Float[Tensor, "B n"], index: int) -> Float[Tensor, "B p 3"]:
        """Residuals of one frame in several states where it is compared, without gradients."""
        compared = (self.appearance.frames.region(index) > 0).to(states.device)

        @torch.no_grad()
        def look(rows: Tensor) -> Tensor:
            return self._residuals(rows, np.full(len(rows), index))[:, compared]

        return torch.cat(list(self._in_parts(look, states)))

    def linearised(
        self,
        frames: PerFrame,
        used: np.ndarray,
        hessian: Float[np.ndarray, "n n"],
        *,
        weight: float,
        progress: Callable[[], None],
    ) -> Photometric:
        """The mean over `used` of `weight` times the mean squared error, to second order around `frames`."""
        state = pack(self.problem, self.shared, frames)
        gradient, error, trust = np.zeros_like(state), np.zeros(len(state)), np.zeros(len(state))
        moving = moving_columns(self.problem, state.shape[1])

        def differentiate(indices: np.ndarray) -> int:
            rows = self._values(state[indices]).requires_grad_()
            errors = self._mean_squares(rows, indices)
            errors.sum().backward()
            assert rows.grad is not None
            gradient[indices, moving] = rows.grad.double().cpu().numpy()[:, moving]
            error[indices] = errors.detach().cpu().numpy()
            return len(indices)

        _told(self._in_parts(differentiate, used), progress)
        share = weight / len(used)
        # Covered, a head tells as much less of what moves it.
        trust[used] = share * self.appearance.frames.shown[used]
        return Photometric(state, gradient * share, hessian, trust, error * share)

    def _mean_squares(self, state: Float[Tensor, "B n"], indices: Int[np.ndarray, " B"]) -> Float[Tensor, " B"]:
        """Mean squared error of frames in given states; differentiable."""
        sizes = torch.tensor([self._size(int(index)) for index in indices], device=state.device)
        return self._residuals(state, indices).square().sum((1, 2, 3)) / sizes

    def _residuals(self, state: Float[Tensor, "B n"], indices: Int[np.ndarray, " B"]) -> Float[Tensor, "B h w 3"]:
        return self.appearance.residuals(indices, self.moments(state, indices))

    def _values(self, state: Float[np.ndarray, "*rows n"]) -> Float[Tensor, "*rows n"]:
        return torch.from_numpy(state.astype(np.float32)).to(self.problem.device)

    def _in_parts(self, work: Callable[[Items], Result], items: Items) -> Iterator[Result]:
        """What `work` makes of parts of `items` that fit into memory: each in a thread, or one by one on a GPU."""
        pixels, device = self.appearance.frames.width * self.appearance.frames.height, self.problem.device
        if device.type != "cpu":
            picture = GPU_PIXEL * pixels + GPU_GAUSSIAN * len(self.appearance.gaussians)
            return in_parts(work, items, size=max(1, GPU_BYTES // picture))
        batch = max(1, DRAWN_PIXELS // pixels)
        parts = (items[start : start + batch] for start in range(0, len(items), batch))
        every = map_tensors(lambda part: list(in_parts(work, part, size=len(part))), parts, device=device)
        return itertools.chain.from_iterable(every)

    def _size(self, index: int) -> float:
        """Colour values of the head in a frame, covered ones too; at least a few, where no head is to be seen."""
        frames = self.appearance.frames
        return 3 * max(float(frames.region(index).sum()) / max(float(frames.shown[index]), 1e-3), 100.0)


def _told(parts: Iterable[int], progress: Callable[[], None]) -> None:
    """Goes through parts of a work, and tells of every frame that one says it has done."""
    for done in parts:
        for _ in range(done):
            progress()
