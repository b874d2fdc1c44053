"""``avatar create``: the main job, from a video to an avatar with its report; and its two halves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.markup import escape

from avatar.commands._console import progress_bar, say, show
from avatar.commands._job import PREPROCESSING, Job
from avatar.commands._page import PAGE, draw_report, next_commands, open_page
from avatar.commands._preview import show_preview
from avatar.commands.capture import judge_take, require_go_of
from avatar.config import read_json, write_json
from avatar.errors import InputError
from avatar.heads import load_head
from avatar.io.aligned import ALIGNMENT
from avatar.io.avatar import MANIFEST, AvatarInfo, load_avatar, save_avatar
from avatar.io.restart import forget_start, restartable
from avatar.io.take import Take
from avatar.io.video import probe
from avatar.memory import MemoryCap
from avatar.models.cache import sha256_of
from avatar.speech.feature_kinds import feature_kind
from avatar.speech.take import take_features

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from avatar.cli import Create, Preprocess, Train
    from avatar.fields.gaussian_head import GaussianHead
    from avatar.train.config import TrainConfig

CHECKPOINT = "checkpoint.safetensors"
TRAINED = ".trained"
REPORT = "report.json"
SMALLEST = 64


@dataclass(frozen=True)
class TakeOptions:
    """How a recording becomes a take.

    Attributes:
        size: Largest side of the square crop, pixels.
        all_shots: Use all shots of a clip with cuts, not the longest one alone.
        head: Name or path of the head model.
        force: Go on whatever the capture report says.
        speech_features: Id of the features that speech is learned from; the best that can be had when None.
    """

    size: int = 512
    all_shots: bool = False
    head: str = "open"
    force: bool = False
    speech_features: str | None = None

    @classmethod
    def of(cls, options: Create | Preprocess) -> TakeOptions:
        """Those of a command line."""
        kind = None if options.speech_features is None else feature_kind(options.speech_features)
        return cls(options.size, options.all_shots, options.head, options.force, kind)

    def settings(self) -> dict[str, Any]:
        """What a take depends on, beside its clip."""
        facts = {"size": self.size, "all_shots": self.all_shots, "head": load_head(self.head).hash}
        return facts | {"speech_features": self.speech_features}


def run(options: Create) -> None:
    """Makes the avatar and says what to do next."""
    report = create(
        options.video,
        options.output,
        options.preset,
        how=TakeOptions.of(options),
        consent=options.consent,
        memory=MemoryCap.of(options.max_memory),
    )
    finish(options.output, report, as_json=options.json, in_browser=options.open)


def run_preprocess(options: Preprocess) -> None:
    """Makes a take."""
    how, memory = TakeOptions.of(options), MemoryCap.of(options.max_memory)
    require_memory(options.video, how.size, memory)
    job = open_job(options.video, options.output, how.settings())
    with memory.watched():
        prepare_take(options.video, options.output, options.output, job, how=how)
    say(f"[bold]{options.output}[/bold] is ready. Next: avatar train {options.output} -o me")
    show(job.stages, as_json=options.json)


def run_train(options: Train) -> None:
    """Makes an avatar from a take."""
    from avatar.train.evaluation import require_held_out

    take = Take.open(options.take)
    # An unfinished take is refused before the output folder is touched.
    take.motion()
    require_held_out(take)
    require_go_of(take, force=options.force)
    if load_head(take.info.head_id).hash != take.info.head_hash:
        raise InputError(
            f"The take {options.take} was tracked with another version of the head {take.info.head_id}",
            expected=f"content {load_head(take.info.head_id).hash[:12]}",
            found=f"content {take.info.head_hash[:12]}",
            fix="make the take again with `avatar preprocess`",
        )
    memory = MemoryCap.of(options.max_memory)
    memory.require(str(options.take), frames=len(take), side=take.info.width)
    settings = train_settings(options.preset)
    job = Job.open(options.output, take.info.source_name, take.info.source_sha256, settings)
    with memory.watched():
        report = make_avatar(take, options.output, job, options.preset, consent=options.consent, memory=memory)
    finish(options.output, report, as_json=options.json, in_browser=options.open)


def finish(output: Path, report: dict[str, Any], *, as_json: bool, in_browser: bool) -> None:
    """Shows the result, and says where it is and what to run next."""
    show(report, as_json=as_json)
    if not as_json:
        show_preview(output)
    say(f"[bold]{escape(str(output))}[/bold] is ready; its report is {escape(str(output / PAGE))}")
    say(f"Next: {escape(next_commands(output, driven=report['speech']['driven'])[0][1])}")
    if in_browser:
        open_page(output / PAGE)


def open_job(video: Path, output: Path, settings: dict[str, Any]) -> Job:
    """The job of a clip in a folder; a clip that cannot be read is refused before the folder is touched."""
    if settings["size"] < SMALLEST:
        raise InputError(
            "The option --size cannot be used",
            expected=f"at least {SMALLEST} pixels",
            found=str(settings["size"]),
            fix="leave it out for 512",
        )
    probe(video)
    return Job.open(output, video.name, sha256_of(video), settings)


def train_settings(preset: str) -> dict[str, Any]:
    """What a trained avatar depends on, beside its take."""
    from avatar.train.config import PRESETS

    return {"train": msgspec.to_builtins(PRESETS[preset])}


def require_memory(video: Path, size: int, memory: MemoryCap) -> None:
    """Raises InputError where a clip cannot be worked on within the limit, before anything is written."""
    info = probe(video)
    memory.require(video.name, frames=info.frames, side=min(size, info.width, info.height))


def create(
    video: Path,
    output: Path,
    preset: str,
    *,
    how: TakeOptions | None = None,
    consent: str | None = None,
    memory: MemoryCap | None = None,
) -> dict[str, Any]:
    """Runs every stage that is not done yet; returns the report."""
    how, memory = how or TakeOptions(), memory or MemoryCap.of(None)
    require_memory(video, how.size, memory)
    job = open_job(video, output, how.settings() | train_settings(preset))
    with memory.watched():
        take = prepare_take(video, output / "take", output, job, how=how)
        return make_avatar(take, output, job, preset, consent=consent, memory=memory)


def prepare_take(video: Path, folder: Path, output: Path, job: Job, *, how: TakeOptions) -> Take:
    """Everything up to a tracked take with its speech features and its capture report; what is done is skipped.

    Raises:
        InputError: The clip cannot be used, or is judged a no-go after ingest or after tracking and not forced.
    """
    from avatar.preprocess.ingest import ingest

    if not (folder / "take.json").is_file():
        job.forget(*PREPROCESSING)
    if not job.done("ingest"):
        with job.stage(output, "ingest"), progress_bar("look at the clip") as progress:
            ingest(video, folder, size=how.size, all_shots=how.all_shots, progress=progress)
    take = Take.open(folder)
    for note in take.info.stages["ingest"].detail.get("notes", ()):
        say(note)
    return finish_take(take, output, job, how=how)


def finish_take(take: Take, output: Path, job: Job, *, how: TakeOptions) -> Take:
    """Everything from an ingested take to a tracked and judged one; what is done is skipped.

    Raises:
        InputError: The take is judged a no-go after ingest or after tracking and not forced.
    """
    from avatar.preprocess.identity_detail import detail_take
    from avatar.preprocess.photometric import refine_take
    from avatar.preprocess.shoulders import track_shoulders
    from avatar.preprocess.tracking import track
    from avatar.preprocess.tracking_overlay import tracking_overlay

    head = load_head(how.head)
    judge_take(take, output, job, "capture", force=how.force)
    if not job.done("tracking"):
        forget_start(take, "refinement")
        with job.stage(output, "tracking"), progress_bar("track the head") as progress:
            track(take, head, progress=progress)
    if not job.done("shoulders"):
        with job.stage(output, "shoulders"), progress_bar("track the shoulders") as progress:
            track_shoulders(take, progress=progress)
    if not job.done("detail"):
        with job.stage(output, "detail"), progress_bar("shape the head") as progress:
            detail_take(take, head, progress=progress)
    if not job.done("refinement"):
        with (
            restartable(take, "refinement"),
            job.stage(output, "refinement"),
            progress_bar("refine the tracking") as progress,
        ):
            refine_take(take, head, progress=progress)
    if not job.done("overlay"):
        with job.stage(output, "overlay"), progress_bar("draw the tracking") as progress:
            tracking_overlay(take, take.path / "tracking.mp4", head=head, progress=progress)
    if not job.done("features"):
        with job.stage(output, "features"):
            take_features(take, how.speech_features)
    judge_take(take, output, job, "verdict", force=how.force)
    return take


def make_avatar(
    take: Take, output: Path, job: Job, preset: str, *, consent: str | None, memory: MemoryCap | None = None
) -> dict[str, Any]:
    """Training, speech, evaluation and the report; returns the report."""
    from avatar.train.checkpoint import take_key
    from avatar.train.config import PRESETS

    job.apply(output, {"take": take_key(take)})
    if "frames" not in job.stages.get("evaluation", {}):
        # An earlier version did not keep what the page's curves show.
        job.forget("evaluation")
    before = set(job.stages)
    if not (job.done("training") and job.done("speech")):
        train(take, output, job, PRESETS[preset], consent=consent, memory=memory)
    if consent is not None:
        set_consent(output, consent)
    if not job.done("evaluation"):
        evaluate(take, output, job)
    if before == set(job.stages) and all((output / name).is_file() for name in (REPORT, PAGE)):
        return read_json(output / REPORT, dict)
    return write_reports(take, output, job)


def set_consent(output: Path, consent: str) -> None:
    """Keeps another consent statement in a finished avatar."""
    manifest = output / MANIFEST
    info = read_json(manifest, AvatarInfo)
    if info.consent != consent:
        write_json(manifest, replace(info, consent=consent))


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
    """Keeps the trained Gaussians as an avatar that cannot speak, for the stages to come."""
    info = avatar_info(take, gaussians, consent=consent)
    save_avatar(folder, info, gaussians, speech={}, life={}, plate=take.background(), preview=preview(take, gaussians))


def preview(take: Take, gaussians: GaussianHead) -> UInt8[np.ndarray, "H W 3"]:
    """The avatar at the first training frame, over the recording's own background."""
    from avatar.cameras import Camera
    from avatar.render.playback import render_over

    front = Camera.front(take.info.focal, take.info.width, take.info.height)
    pose = gaussians.poses(take.motion()[take.split()["train"][:1]])[0]
    return render_over(gaussians, pose, front, background=take.background() / 255.0)


def evaluate(take: Take, output: Path, job: Job) -> None:
    """Held-out figures of the avatar as written to disk."""
    from avatar.train.evaluation import evaluate_frames

    with job.stage(output, "evaluation") as row, progress_bar("held-out frames") as progress:
        row["figures"], row["frames"] = evaluate_frames(take, load_avatar(output).gaussians, progress=progress)


def write_reports(take: Take, output: Path, job: Job) -> dict[str, Any]:
    """Writes report.json, report.html and contact.png from what the stages have found."""
    stored = load_avatar(output)
    figures = {name: row.get("figures", {}) for name, row in job.stages.items()}
    report = {
        "source": job.source,
        "clip": clip_figures(take),
        "held_out": figures["evaluation"],
        "held_out_frames": msgspec.to_builtins(job.stages["evaluation"]["frames"]),
        "tracking": tracking_figures(take),
        "speech": figures["speech"],
        "stages": {
            name: {key: value for key, value in row.items() if key not in ("figures", "frames")}
            for name, row in job.stages.items()
        },
        "avatar": {
            "head": stored.info.head_id,
            "gaussians": stored.info.gaussians,
            "bytes": sum((output / name).stat().st_size for name in ("avatar.json", "weights.safetensors")),
            "limits": msgspec.to_builtins(stored.info.limits),
            "view_cone": msgspec.to_builtins(stored.info.view_cone),
        },
    }
    # Its absence tells a run after an interruption that the page is still to be drawn.
    (output / PAGE).unlink(missing_ok=True)
    write_json(output / REPORT, report)
    draw_report(take, stored, output, report)
    return report


def clip_figures(take: Take) -> dict[str, Any]:
    """What of the clip became the take: its shots, and which frames show the face."""
    detail = take.info.stages["ingest"].detail if "ingest" in take.info.stages else {}
    names = ("frames", "used", "covered", "bridged", "all_shots", "shots", "notes")
    return {name: detail[name] for name in names if name in detail}


def tracking_figures(take: Take) -> dict[str, Any]:
    """The figures of the motion as it is used; frames per second count everything from the clip to the motion.

    ``frames_per_second`` is without identity detail and photometric refinement; ``refined_frames_per_second`` has both.
    """
    stages = take.info.stages
    if "tracking" not in stages:
        return {"note": "the motion was not made by this tracker"}
    later = [stages[name].detail if name in stages else {} for name in ("detail", "refinement", ALIGNMENT)]
    figures = stages["tracking"].detail | later[0] | later[1] | later[2]
    for name in ("tracked", "aligned"):
        figures.pop(name, None)
    seconds = sum(stages[name].seconds for name in ("ingest", "tracking", "shoulders") if name in stages)
    fit = {"fit_frames_per_second": figures.get("frames_per_second")}
    rates = {"frames_per_second": len(take) / seconds if seconds else 0.0}
    if later[1]:
        seconds += sum(stages[name].seconds for name in ("detail", "refinement") if name in stages)
        rates["refined_frames_per_second"] = len(take) / seconds
    return figures | fit | rates
