"""Photometric refinement: the tracked motion, corrected until a plain avatar of the person explains the pictures.

Landmarks say where lips and lids are to half a pixel, and nothing of cheeks and ears; the pictures say more. Gaussians
on the tracked head are fitted to the training frames at small size; then the motion of every frame, held out or not,
is moved to where their render agrees with the frame, by Gauss-Newton over all moments with the tracker's own smoothness
and priors. Second derivatives of small pictures hardly differ between frames of one clip or between rounds, so a few
key frames give them once for all, and a frame costs one render and one backward pass a sweep (a quasi-Newton form of
direct image alignment: Baker and Matthews, "Lucas-Kanade 20 Years On", IJCV 2004).

It goes from coarse to fine. Detectors compress nods, by a quarter and more, and errors of some degrees lie beyond the
reach of fine texture; small pictures first turn and move the head alone, as one rigid body whose skin must look the
same in all frames of the clip, but for what a light that stays where it is does to skin that turns.
"""

from __future__ import annotations

import itertools
import time as clock
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.preprocess._appearance import Appearance
from avatar.preprocess._frame_file import working_folder
from avatar.preprocess._landmark_offsets import relearnt_offsets
from avatar.preprocess._light import COUNT
from avatar.preprocess._observations import Observations
from avatar.preprocess._small_frames import SmallFrames
from avatar.preprocess._solve import Problem
from avatar.preprocess._threads import one_thread
from avatar.preprocess._unknowns import PerFrame, Shared, frames_of
from avatar.preprocess._view import View
from avatar.preprocess._windows import evenly
from avatar.preprocess.refinement_config import RefinementConfig
from avatar.preprocess.surface_pictures import photometric_offsets
from avatar.preprocess.tracking import modelled_landmarks, report_of, tracking_problem
from avatar.preprocess.tracking_config import TrackingConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Int

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

STAGE = "refinement"


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
        light = torch.zeros(COUNT) if any(level.light_frames for level in config.levels) else None
        for number, level in enumerate(config.levels):
            appearance = Appearance(
                take,
                head,
                motion,
                pictures.smaller(level.side, folder / str(number)),
                learnt=take.split()["train"],
                level=level,
                threads=config.threads,
                light=light,
            )
            weights = clip.problem.landmark_weight * level.landmarks
            weighted = replace(clip.problem, landmark_weight=weights, head_only=level.head_only)
            view = View(weighted, shared, head, motion, appearance)
            frames = corrected(view, frames, clip.used, config=config, tracking=tracking, progress=step)
            motion, light = view.motion(frames), appearance.light and appearance.light.weights
            if level.head_only:
                motion = photometric_offsets(take, head, motion, learnt=take.split()["train"])
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
        if level.light_frames:
            appearance.learn_light(view.motion(frames))
        if hessian is None:
            hessian = view.hessian(frames, evenly(len(appearance.learnt), config.key_frames))
        for _ in range(level.sweeps):
            frames = view.swept(frames, used, hessian, config=config, tracking=tracking, progress=progress)
    return frames
