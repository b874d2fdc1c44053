"""From a recording to a tracked take: for an avatar, stage by stage in a job; or at once, for what drives one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avatar.commands._console import progress_bar, say
from avatar.commands._device import chosen_device
from avatar.commands._job import PREPROCESSING, Job
from avatar.commands.capture import judge_take
from avatar.heads import load_head
from avatar.io.restart import forget_start, restartable
from avatar.io.take import Take
from avatar.speech.feature_kinds import feature_kind, require_library
from avatar.speech.take import take_features

if TYPE_CHECKING:
    from avatar.heads import Head
    from avatar.options import Create, Preprocess


CPU = torch.device("cpu")
OVERLAY = "tracking.mp4"


@dataclass(frozen=True)
class TakeOptions:
    """How a recording becomes a take.

    Attributes:
        size: Largest side of the square crop, pixels.
        all_shots: Use all shots of a clip with cuts, not the longest one alone.
        head: Name or path of the head model.
        force: Go on whatever the capture report says.
        speech_features: Id of the features that speech is learned from; the best that can be had when None.
        device: Where the head is tracked, which the take does not depend on but for rounding.
    """

    size: int = 512
    all_shots: bool = False
    head: str = "open"
    force: bool = False
    speech_features: str | None = None
    device: torch.device = CPU

    @classmethod
    def of(cls, options: Create | Preprocess) -> TakeOptions:
        """Those of a command line.

        Raises:
            InputError: The speech features are unknown, or the device cannot be used.
            PartError: The speech features need a library that is not installed.
        """
        kind = None if options.speech_features is None else feature_kind(options.speech_features)
        if kind is not None:
            require_library(kind)
        device = chosen_device(options.device)
        return cls(options.size, options.all_shots, options.head, options.force, kind, device)

    def settings(self) -> dict[str, Any]:
        """What a take depends on, beside its clip."""
        facts = {"size": self.size, "all_shots": self.all_shots, "head": load_head(self.head).hash}
        return facts | {"speech_features": self.speech_features}


def prepare_take(video: Path, folder: Path, output: Path, job: Job, *, how: TakeOptions) -> Take:
    """Everything up to a tracked take with its speech features and its capture report; what is done is skipped.

    Raises:
        InputError: The clip cannot be used, or is judged a no-go after ingest or after tracking and not forced.
    """
    if not (folder / "take.json").is_file():
        job.forget(*PREPROCESSING)
    if not job.done("ingest"):
        with job.stage(output, "ingest"):
            _look_at_clip(video, folder, size=how.size, all_shots=how.all_shots)
    take = Take.open(folder)
    for note in take.info.stages["ingest"].detail.get("notes", ()):
        say(note)
    return finish_take(take, output, job, how=how)


def finish_take(take: Take, output: Path, job: Job, *, how: TakeOptions) -> Take:
    """Everything from an ingested take to a tracked and judged one; what is done is skipped.

    Raises:
        InputError: The take is judged a no-go after ingest or after tracking and not forced.
    """
    from avatar.preprocess.covered import cover_take
    from avatar.preprocess.identity_detail import detail_take
    from avatar.preprocess.photometric import refine_take
    from avatar.preprocess.tracking_overlay import tracking_overlay

    head = load_head(how.head).on(how.device)
    judge_take(take, output, job, "capture", force=how.force)
    if not job.done("tracking"):
        forget_start(take, "refinement")
        with job.stage(output, "tracking"):
            _track_head(take, head)
    if not job.done("shoulders"):
        with job.stage(output, "shoulders"):
            _track_shoulders(take)
    if not job.done("detail"):
        with job.stage(output, "detail"), progress_bar("shape the head") as progress:
            detail_take(take, head, progress=progress)
    if not job.done("covered"):
        with job.stage(output, "covered") as row:
            row |= cover_take(take, head)
    if not job.done("refinement"):
        with (
            restartable(take, "refinement"),
            job.stage(output, "refinement"),
            progress_bar("refine the tracking") as progress,
        ):
            refine_take(take, head, progress=progress)
    if not job.done("overlay"):
        with job.stage(output, "overlay"), progress_bar("draw the tracking") as progress:
            tracking_overlay(take, take.path / OVERLAY, head=head, progress=progress)
    if not job.done("features"):
        with job.stage(output, "features"):
            take_features(take, how.speech_features)
    judge_take(take, output, job, "verdict", force=how.force)
    return take


def track_clip(video: Path, folder: Path, head: Head, *, size: int) -> Take:
    """A clip's take in a folder, tracked without what learns the looks.

    Raises:
        InputError: The clip cannot be read, or shows too little of a face or two equal ones.
    """
    take = _look_at_clip(video, folder, size=size)
    _track_head(take, head)
    _track_shoulders(take)
    return Take.open(take.path)


def _look_at_clip(video: Path, folder: Path, *, size: int, all_shots: bool = False) -> Take:
    from avatar.preprocess.ingest import ingest

    with progress_bar("look at the clip") as progress:
        return ingest(video, folder, size=size, all_shots=all_shots, progress=progress)


def _track_head(take: Take, head: Head) -> None:
    from avatar.preprocess.tracking import track

    with progress_bar("track the head") as progress:
        track(take, head, progress=progress)


def _track_shoulders(take: Take) -> None:
    from avatar.preprocess.shoulders import track_shoulders

    with progress_bar("track the shoulders") as progress:
        track_shoulders(take, progress=progress)
