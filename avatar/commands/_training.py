"""From a tracked take to an avatar on disk: Gaussians, aligned motion, speech; each stage can be killed and resumed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.commands._console import progress_bar
from avatar.heads import load_head
from avatar.io.aligned import ALIGNMENT
from avatar.io.avatar import MANIFEST, AvatarInfo, load_avatar, save_avatar
from avatar.io.restart import restartable
from avatar.memory import MemoryCap

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from avatar.commands._job import Job
    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take
    from avatar.train.config import TrainConfig

CHECKPOINT = "checkpoint.safetensors"
TRAINED = ".trained"


def train(
    take: Take,
    output: Path,
    job: Job,
    config: TrainConfig,
    *,
    consent: str | None,
    memory: MemoryCap | None = None,
) -> None:
    """Fits the Gaussians, aligns the motion with them, fits the speech model, and writes the avatar."""
    from avatar.preprocess.alignment import align_take, can_align
    from avatar.train.fitting import fit_avatar
    from avatar.train.limits import seen_limits
    from avatar.train.projection import projection_loss
    from avatar.train.speaking import fit_speaking
    from avatar.train.view_cone import safe_view_cone

    head = load_head(take.info.head_id)
    checkpoint, trained = output / CHECKPOINT, output / TRAINED
    if not (job.done("training") and (trained / MANIFEST).is_file()):
        job.forget(ALIGNMENT)
        with job.stage(output, "training") as row, progress_bar("train the avatar") as progress:

            def compare(field: GaussianHead, projected: GaussianHead) -> None:
                row["projection"] = projection_loss(take, field, projected)

            has_room = (memory or MemoryCap.of(None)).has_room
            gaussians = fit_avatar(
                take,
                head,
                config,
                checkpoint=checkpoint,
                progress=progress,
                has_room=has_room,
                on_projection=compare,
            )
            row["steps"] = config.steps
            # What comes next changes the motion, from which training could not be resumed.
            save_trained(trained, take, gaussians, consent=consent)
        checkpoint.unlink(missing_ok=True)
    gaussians = load_avatar(trained).gaussians
    if can_align(take) and not job.done(ALIGNMENT):
        with (
            restartable(take, ALIGNMENT),
            job.stage(output, ALIGNMENT),
            progress_bar("align the motion") as progress,
        ):
            align_take(take, gaussians, progress=progress)
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
    shutil.rmtree(trained, ignore_errors=True)


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
