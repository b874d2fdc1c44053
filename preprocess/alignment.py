"""Alignment: the tracked motion, moved to where the finished avatar itself explains the pictures best.

Refinement has only a plain avatar of its own to compare the pictures with; the trained one is sharper, and its
residuals know more. The landmarks, the priors and the smoothness of the tracker keep the motion from drifting to
wherever an error of the avatar would like it. Each correction is tried first: where the mouth opens, sharp pictures
change several times as much as the mean over the clip, and frames would go too far and, corrected again, further.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from avatar.io.aligned import ALIGNMENT, alignment_record, tracked_motion
from avatar.preprocess._frame_file import working_folder
from avatar.preprocess._likeness import Likeness
from avatar.preprocess._small_frames import SmallFrames
from avatar.preprocess._threads import one_thread
from avatar.preprocess._view import View
from avatar.preprocess._windows import evenly
from avatar.preprocess.photometric import TrackedClip, counted, smoothed
from avatar.preprocess.refinement_config import FINE, RefinementConfig
from avatar.preprocess.tracking_config import TrackingConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take


@dataclass(frozen=True)
class AlignmentConfig:
    """How a motion is aligned to an avatar.

    Attributes:
        side: Longest side of the compared pictures, pixels: what blurred pictures say best fits sharp ones worse.
        sweeps: Corrections of the motion.
        landmarks: Factor on the landmarks' weight.
        refinement: The settings it shares with refinement.
    """

    side: int = 512
    sweeps: int = 2
    landmarks: float = FINE.landmarks
    refinement: RefinementConfig = field(default_factory=RefinementConfig)


def can_align(take: Take) -> bool:
    """Whether a take was tracked by this tracker, whose unknowns are what is corrected."""
    return "refinement" in take.info.stages


def align_take(
    take: Take,
    gaussians: GaussianHead,
    *,
    config: AlignmentConfig | None = None,
    tracking: TrackingConfig | None = None,
    pictures: Callable[[int], UInt8[np.ndarray, "H W 3"]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Corrects the motion of a take by its pictures and an avatar of it, and records the tracker's figures anew.

    The avatar has learnt from training frames alone; the motion of held-out frames is corrected by the same code.

    Args:
        take: The take, tracked and refined.
        gaussians: Its avatar, on the device to work on.
        config: Settings.
        tracking: The settings the take was tracked with.
        pictures: Gives the picture of a frame, sRGB, as the avatar has learnt it, where that is not the take's own.
        progress: Called with (steps done, all steps).

    Returns:
        The figures of `tracking_report`, plain JSON values.

    Raises:
        InputError: The take has not been tracked.
    """
    config = config or AlignmentConfig()
    shared_settings, tracking = config.refinement, smoothed(tracking or TrackingConfig(), config.refinement)
    started, tracked = clock.perf_counter(), tracked_motion(take)
    clip = TrackedClip.of(take, gaussians.head, tracking)
    # Each correction draws a frame for its gradient and for the trial.
    step = counted(progress, config.sweeps * 2 * len(clip.used))
    frames = clip.frames
    with one_thread(), working_folder(take.path / f".{ALIGNMENT}") as folder:
        shown = SmallFrames.of_take(take, config.side, folder / "whole", pictures)
        threads = shared_settings.threads
        likeness = Likeness(gaussians, take, shown, learnt=take.split()["train"], threads=threads)
        weighted = replace(clip.problem, landmark_weight=clip.problem.landmark_weight * config.landmarks)
        view = View(weighted, clip.shared, gaussians.head, clip.motion, likeness)
        hessian = view.hessian(frames, evenly(len(likeness.learnt), shared_settings.key_frames))
        for _ in range(config.sweeps):
            frames = view.swept(
                frames, clip.used, hessian, config=shared_settings, tracking=tracking, progress=step, tried=True
            )
        aligned = replace(clip, frames=frames, motion=view.motion(frames))
        report = aligned.write(tracking)
    report["seconds"] = clock.perf_counter() - started
    take.record(ALIGNMENT, **report, **alignment_record(take, tracked))
    return report
