"""From a tracked take to an avatar on disk: aligned motion, Gaussians, speech; each stage can be killed and resumed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.commands._console import progress_bar
from avatar.commands._take import CPU
from avatar.heads import load_head
from avatar.io._files import writing
from avatar.io.aligned import ALIGNMENT
from avatar.io.avatar import MANIFEST, AvatarInfo, load_avatar, save_avatar
from avatar.io.restart import restartable
from avatar.memory import MemoryCap

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from jaxtyping import UInt8

    from avatar.commands._job import Job
    from avatar.fields.gaussian_head import GaussianHead
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.train.config import TrainConfig

CHECKPOINT = "checkpoint.safetensors"
DRAFT, TRAINED = ".draft", ".trained"
REALIGNMENT = "realignment"
BARS = {
    "draft": "draft the avatar",
    ALIGNMENT: "align the motion",
    "training": "train the avatar",
    REALIGNMENT: "align the motion again",
}


def train(
    take: Take,
    output: Path,
    job: Job,
    config: TrainConfig,
    *,
    consent: str | None,
    memory: MemoryCap | None = None,
    device: torch.device = CPU,
) -> None:
    """Aligns the motion with a first avatar and with the last one, fits its speech model, and writes the avatar."""
    from avatar.preprocess.alignment import can_align
    from avatar.train.dataset import taught_pictures
    from avatar.train.limits import seen_limits
    from avatar.train.speaking import fit_speaking
    from avatar.train.spill import Spill
    from avatar.train.view_cone import safe_view_cone

    head = load_head(take.info.head_id).on(device)
    has_room = (memory or MemoryCap.of(None)).has_room
    aligns = bool(config.draft_share) and can_align(take)
    if aligns and not job.done(ALIGNMENT):
        # A draft is thrown away: what makes it nice to look at is left out, and it explains the frames as they are.
        steps = max(round(config.draft_share * config.steps), 1)
        draft = replace(config, steps=steps, feature_weight=0.0, side_weight=0.0, despill=False, close_pinholes=False)
        gaussians = fitted(output / DRAFT, "draft", take, head, job, draft, consent=consent, has_room=has_room)
        # The motion is aligned again with what is trained on it.
        align(take, gaussians, output, job, ALIGNMENT, sweeps=1)
    gaussians = fitted(output / TRAINED, "training", take, head, job, config, consent=consent, has_room=has_room)
    if aligns and not job.done(REALIGNMENT):
        taught = taught_pictures(take, config.outline, Spill.of(take.background())) if config.despill else None
        align(take, gaussians, output, job, REALIGNMENT, sweeps=2, pictures=taught)
    with job.stage(output, "speech") as row, progress_bar("learn to speak") as progress:
        speech, life, row["figures"] = fit_speaking(take, head, progress=progress)
        # The stage ends with the avatar on disk: a kill before that runs it again.
        save_avatar(
            output,
            replace(
                avatar_info(take, gaussians, consent=consent),
                speech=speech.settings(),
                limits=seen_limits(take),
                view_cone=safe_view_cone(take, gaussians),
            ),
            gaussians,
            speech=speech.to_tensors(),
            life=life.to_tensors(),
            plate=take.background(),
            preview=preview(take, gaussians),
        )
    for folder in (DRAFT, TRAINED):
        shutil.rmtree(output / folder, ignore_errors=True)


def align(
    take: Take,
    gaussians: GaussianHead,
    output: Path,
    job: Job,
    stage: str,
    *,
    sweeps: int,
    pictures: Callable[[int], UInt8[np.ndarray, "H W 3"]] | None = None,
) -> None:
    """Moves the take's motion to where an avatar explains its pictures best: a stage of its own."""
    from avatar.preprocess.alignment import AlignmentConfig, align_take

    with restartable(take, ALIGNMENT), job.stage(output, stage), progress_bar(BARS[stage]) as progress:
        align_take(take, gaussians, config=AlignmentConfig(sweeps=sweeps), pictures=pictures, progress=progress)


def fitted(
    folder: Path,
    stage: str,
    take: Take,
    head: Head,
    job: Job,
    config: TrainConfig,
    *,
    consent: str | None,
    has_room: Callable[[int], bool],
) -> GaussianHead:
    """Gaussians fitted where the head lies: a stage of its own, which leaves them in a hidden `folder`."""
    from avatar.train.fitting import fit_avatar
    from avatar.train.projection import projection_loss

    if not (job.done(stage) and (folder / MANIFEST).is_file()):
        with job.stage(folder.parent, stage) as row, progress_bar(BARS[stage]) as progress:

            def compare(field: GaussianHead, projected: GaussianHead) -> None:
                row["projection"] = projection_loss(take, field, projected)

            writing(folder, lambda path: path.mkdir(exist_ok=True))
            gaussians = fit_avatar(
                take,
                head,
                config,
                checkpoint=folder / CHECKPOINT,
                progress=progress,
                has_room=has_room,
                on_projection=compare,
            )
            row["steps"] = config.steps
            # What follows a draft changes the motion, with which it could not be fitted again.
            save_trained(folder, take, gaussians, consent=consent)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return load_avatar(folder).on(head.device).gaussians


def avatar_info(take: Take, gaussians: GaussianHead, *, consent: str | None) -> AvatarInfo:
    """What an avatar of a take says of itself before it has learnt to speak."""
    return AvatarInfo(
        head_id=take.info.head_id,
        head_hash=take.info.head_hash,
        gaussians=len(gaussians),
        width=take.info.width,
        height=take.info.height,
        focal=take.info.focal,
        fps=take.info.fps,
        provenance={"source_sha256": take.info.source_sha256, "headsplat": version("headsplat")},
        consent=consent,
    )


def save_trained(folder: Path, take: Take, gaussians: GaussianHead, *, consent: str | None) -> None:
    """Keeps the trained Gaussians as an avatar without a voice of its own, for the stages to come."""
    info = avatar_info(take, gaussians, consent=consent)
    save_avatar(folder, info, gaussians, speech={}, life={}, plate=take.background(), preview=preview(take, gaussians))


def preview(take: Take, gaussians: GaussianHead) -> UInt8[np.ndarray, "H W 3"]:
    """The avatar at the first training frame, over the recording's own background."""
    from avatar.cameras import Camera
    from avatar.render.playback import render_over

    front = Camera.front(take.info.focal, take.info.width, take.info.height)
    pose = gaussians.poses(take.motion()[take.split()["train"][:1]])[0]
    return render_over(gaussians, pose, front, background=take.background() / 255.0)
