"""Photometric refinement: the tracked motion, corrected until a plain avatar of the person explains the pictures.

Landmarks say where lips and lids are to half a pixel, and nothing of cheeks and ears; the pictures say more. Gaussians
on the tracked head are fitted to the training frames at small size; then the motion of every frame, held out or not,
is moved to where their render agrees with the frame, by Gauss-Newton over all moments with the tracker's own smoothness
and priors. The second derivatives of the pictures hardly differ between frames of one clip or between rounds, so a few
key frames give them once for all, and a frame costs one render and one backward pass a sweep (a quasi-Newton form of
direct image alignment: Baker and Matthews, "Lucas-Kanade 20 Years On", IJCV 2004).

It goes from coarse to fine. Detectors compress nods, by a quarter and more, and errors of some degrees lie beyond the
reach of fine texture; small pictures first turn and move the head alone, as one rigid body whose skin must look the
same in all frames of the clip.
"""

from __future__ import annotations

import itertools
import time as clock
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.memory import in_parts
from avatar.preprocess._appearance import Appearance
from avatar.preprocess._frame_file import working_folder
from avatar.preprocess._frame_state import DEPTH, FIXED, GAZE, JAW, LIDS, NECK, PLACE, moving_columns, pack, unpack
from avatar.preprocess._landmark_offsets import relearnt_offsets
from avatar.preprocess._likeness import Moments
from avatar.preprocess._observations import Observations
from avatar.preprocess._small_frames import SmallFrames
from avatar.preprocess._solve import Photometric, Problem
from avatar.preprocess._threads import map_tensors, one_thread
from avatar.preprocess._unknowns import PerFrame, Shared, eye_poses, frames_of, to_motion
from avatar.preprocess._windows import evenly, solve_windows
from avatar.preprocess.refinement_config import RefinementConfig
from avatar.preprocess.tracking import modelled_landmarks, report_of, tracking_problem
from avatar.preprocess.tracking_config import TrackingConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.memory import Items, Result
    from avatar.motion import Motion
    from avatar.preprocess._likeness import Likeness

STAGE = "refinement"
# How far each unknown is moved for a derivative by differences: about what one picture can tell.
NUDGES = ((NECK, 3e-3), (PLACE, 6e-4), (DEPTH, 2e-3), (JAW, 6e-3), (GAZE, 1.5e-2), (LIDS, 3e-2))
ACTION_NUDGE = 1.5e-2
# Pixels that a thread draws at once: what autograd keeps of them is most of the memory.
DRAWN_PIXELS = 2**19
# Bytes that the pictures drawn at once may take of a GPU, and what a pixel and a Gaussian of one take there, roughly.
GPU_BYTES, GPU_PIXEL, GPU_GAUSSIAN = 2 * 10**9, 100, 1000


def refine_take(
    take: Take,
    head: Head,
    *,
    config: RefinementConfig | None = None,
    tracking: TrackingConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Corrects the motion of a tracked take by its pictures: writes it, and records the tracker's figures anew.

    What is learnt is learnt from the training frames; the motion of held-out frames is corrected by the same code.

    Args:
        take: The take, tracked, its shoulders too.
        head: Its head model, on the device to work on.
        config: Settings; the defaults suit any talking-head clip.
        tracking: The settings it was tracked with.
        progress: Called with (steps done, all steps).

    Returns:
        The figures of `tracking_report`, plain JSON values.

    Raises:
        InputError: The take has not been tracked.
    """
    config, tracking = config or RefinementConfig(), smoothed(tracking or TrackingConfig(), config)
    looser = replace(tracking, priors=replace(tracking.priors, offsets=tracking.priors.offsets * config.offsets))
    started = clock.perf_counter()
    clip = TrackedClip.of(take, head, tracking)
    shared, frames, motion = clip.shared, clip.frames, clip.motion
    step = counted(progress, sum(level.work(len(clip.used)) for level in config.levels))
    with one_thread(), working_folder(take.path / ".refinement") as folder:
        pictures = SmallFrames.of_take(take, max(level.side for level in config.levels), folder / "whole")
        for number, level in enumerate(config.levels):
            appearance = Appearance(
                take,
                head,
                motion,
                pictures.smaller(level.side, folder / str(number)),
                learnt=take.split()["train"],
                level=level,
                threads=config.threads,
            )
            weights = clip.problem.landmark_weight * level.landmarks
            weighted = replace(clip.problem, landmark_weight=weights, head_only=level.head_only)
            view = View(weighted, shared, head, motion, appearance)
            frames = corrected(view, frames, clip.used, config=config, tracking=tracking, progress=step)
            motion = view.motion(frames)
            shared = relearnt_offsets(clip.problem, shared, frames, appearance.learnt, config=looser)
        report = replace(clip, shared=shared, frames=frames, motion=motion).write(tracking)
    report["seconds"] = clock.perf_counter() - started
    take.record(STAGE, **report)
    return report


def smoothed(tracking: TrackingConfig, config: RefinementConfig | None) -> TrackingConfig:
    """The tracker's settings with the smoothness that pictures want."""
    smoothness = (config or RefinementConfig()).smoothness
    return replace(tracking, smoothness=tracking.smoothness.scaled(smoothness))


def counted(progress: Callable[[int, int], None] | None, work: int) -> Callable[[], None]:
    """A callback for one step of so many."""
    done = itertools.count(1)
    return (lambda: progress(next(done), work)) if progress else lambda: None


@dataclass(frozen=True)
class TrackedClip:
    """A tracked take as the tracker's unknowns.

    Attributes:
        take: The take.
        observations: What was seen of it.
        problem: What the tracker fits.
        shared: Its unknowns that all frames share.
        frames: Those of every frame.
        motion: The same as a motion.
    """

    take: Take
    observations: Observations
    problem: Problem
    shared: Shared
    frames: PerFrame
    motion: Motion

    @classmethod
    def of(cls, take: Take, head: Head, tracking: TrackingConfig) -> TrackedClip:
        """Reads a take; raises InputError where it has not been tracked."""
        observations, motion = Observations.of_take(take), take.motion()
        shared = Shared.of_arrays(take.tracking(), head.device)
        with one_thread():
            problem = tracking_problem(observations, head, config=tracking)
            frames = frames_of(motion, shared, problem.camera, head=head)
        return cls(take, observations, problem, shared, frames, motion)

    @property
    def used(self) -> Int[np.ndarray, " n"]:
        """Rows that have a picture."""
        return np.flatnonzero(self.take.used)

    def write(self, tracking: TrackingConfig) -> dict[str, Any]:
        """Writes motion and corrections into the take; returns the tracker's figures."""
        landmarks = modelled_landmarks(self.problem, self.shared, self.frames, config=tracking)
        self.take.write_motion(self.motion, focal=self.take.info.focal)
        self.take.write_tracking(self.shared.to_arrays())
        return report_of(self.observations, landmarks, config=tracking)


def corrected(
    view: View,
    frames: PerFrame,
    used: Int[np.ndarray, " n"],
    *,
    config: RefinementConfig,
    tracking: TrackingConfig,
    progress: Callable[[], None],
) -> PerFrame:
    """The frames after all rounds of one level.

    Args:
        view: The clip at this level, its avatar not yet fitted.
        frames: The unknowns so far.
        used: Rows that have a picture.
        config: Settings of all levels.
        tracking: The tracker's own.
        progress: Called after each step of the avatar, and for each picture of a sweep.
    """
    appearance, hessian = view.appearance, None
    assert isinstance(appearance, Appearance)
    level = appearance.level
    for round_ in range(level.rounds):
        appearance.fit(view.motion(frames), level.later_steps if round_ else level.first_steps, progress=progress)
        if hessian is None:
            hessian = view.hessian(frames, evenly(len(appearance.learnt), config.key_frames))
        for _ in range(level.sweeps):
            frames = view.swept(frames, used, hessian, config=config, tracking=tracking, progress=progress)
    return frames


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
    ) -> PerFrame:
        """All frames after one correction by their pictures; `progress` is called for each of `used`."""
        term = self.linearised(frames, used, hessian, weight=config.photometric, progress=progress)
        problem = replace(self.problem, photometric=term)
        return solve_windows(problem, self.shared, frames, config=tracking, progress=lambda _: None)

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
        gradient, trust = np.zeros_like(state), np.zeros(len(state))
        moving = moving_columns(self.problem, state.shape[1])

        def differentiate(indices: np.ndarray) -> int:
            rows = self._values(state[indices]).requires_grad_()
            self._residuals(rows, indices).square().sum().backward()
            assert rows.grad is not None
            sizes = np.array([self._size(int(index)) for index in indices])
            gradient[indices, moving] = rows.grad.double().cpu().numpy()[:, moving] / sizes[:, None]
            return len(indices)

        for done in self._in_parts(differentiate, used):
            for _ in range(done):
                progress()
        share = weight / len(used)
        trust[used] = share
        return Photometric(state=state, gradient=gradient * share, hessian=hessian, trust=trust)

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
        """Colour values compared in a frame; at least a few, for a frame where no head is to be seen."""
        return 3 * max(float(self.appearance.frames.region(index).sum()), 100.0)
