"""``avatar create``: the main job, from a video to an avatar with its report; and its two halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.markup import escape

from avatar.commands._console import progress_bar, say, show
from avatar.commands._device import chosen_device
from avatar.commands._job import Job
from avatar.commands._output import check_folder, check_outputs
from avatar.commands._page import PAGE, draw_report, next_commands, open_page
from avatar.commands._preview import show_preview
from avatar.commands._take import CPU, OVERLAY, TakeOptions, prepare_take
from avatar.commands._training import train
from avatar.commands.capture import require_go_of
from avatar.config import read_json, write_json
from avatar.errors import InputError
from avatar.heads import load_head
from avatar.io.aligned import ALIGNMENT
from avatar.io.avatar import MANIFEST, AvatarInfo, load_avatar
from avatar.io.take import Take
from avatar.io.video import probe
from avatar.memory import MemoryCap
from avatar.models.cache import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from avatar.options import Create, Preprocess, Train
    from avatar.train.config import TrainConfig

REPORT = "report.json"
SMALLEST = 64


def run(options: Create) -> None:
    """Makes the avatar and says what to do next."""
    report = create(
        options.video,
        options.output,
        options.preset,
        changes=options.set,
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
    from avatar.train.config import train_config
    from avatar.train.evaluation import require_held_out

    config, device = train_config(options.preset, options.set), chosen_device(options.device)
    check_folder(options.output, options.take, "the take")
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
    job = Job.open(options.output, take.info.source_name, take.info.source_sha256, train_settings(config))
    with memory.watched():
        report = make_avatar(take, options.output, job, config, consent=options.consent, memory=memory, device=device)
    finish(options.output, report, as_json=options.json, in_browser=options.open)


def finish(output: Path, report: dict[str, Any], *, as_json: bool, in_browser: bool) -> None:
    """Shows the result, and says where it is and what to run next."""
    show(report, as_json=as_json)
    if not as_json:
        show_preview(output)
    say(f"[bold]{escape(str(output))}[/bold] is ready; its report is {escape(str(output / PAGE))}")
    say(f"Next: {escape(next_commands(output)[0][1])}")
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
    check_outputs([output / OVERLAY, output / "take" / OVERLAY], {"VIDEO": video})
    return Job.open(output, video.name, sha256_of(video), settings)


def train_settings(config: TrainConfig) -> dict[str, Any]:
    """What a trained avatar depends on, beside its take."""
    return {"train": msgspec.to_builtins(config)}


def require_memory(video: Path, size: int, memory: MemoryCap) -> None:
    """Raises InputError where a clip cannot be worked on within the limit, before anything is written."""
    info = probe(video)
    memory.require(video.name, frames=info.frames, side=min(size, info.width, info.height))


def create(
    video: Path,
    output: Path,
    preset: str,
    *,
    changes: Sequence[str] = (),
    how: TakeOptions | None = None,
    consent: str | None = None,
    memory: MemoryCap | None = None,
) -> dict[str, Any]:
    """Runs every stage that is not done yet; returns the report. `changes` are those of `train_config`."""
    from avatar.train.config import train_config

    config = train_config(preset, changes)
    how, memory = how or TakeOptions(), memory or MemoryCap.of(None)
    require_memory(video, how.size, memory)
    job = open_job(video, output, how.settings() | train_settings(config))
    with memory.watched():
        take = prepare_take(video, output / "take", output, job, how=how)
        return make_avatar(take, output, job, config, consent=consent, memory=memory, device=how.device)


def make_avatar(
    take: Take,
    output: Path,
    job: Job,
    config: TrainConfig,
    *,
    consent: str | None,
    memory: MemoryCap | None = None,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Training, speech, evaluation and the report; returns the report."""
    from avatar.train.checkpoint import take_key

    job.apply(output, {"take": take_key(take)})
    if "frames" not in job.stages.get("evaluation", {}):
        # An earlier version did not keep what the page's curves show.
        job.forget("evaluation")
    before = set(job.stages)
    if not (job.done("training") and job.done("speech")):
        train(take, output, job, config, consent=consent, memory=memory, device=device)
    if consent is not None:
        set_consent(output, consent)
    if not job.done("evaluation"):
        evaluate(take, output, job, device)
    if before == set(job.stages) and all((output / name).is_file() for name in (REPORT, PAGE)):
        return read_json(output / REPORT, dict)
    return write_reports(take, output, job, device)


def set_consent(output: Path, consent: str) -> None:
    """Keeps another consent statement in a finished avatar."""
    manifest = output / MANIFEST
    info = read_json(manifest, AvatarInfo)
    if info.consent != consent:
        write_json(manifest, replace(info, consent=consent))


def evaluate(take: Take, output: Path, job: Job, device: torch.device) -> None:
    """Held-out figures of the avatar as written to disk."""
    from avatar.train.evaluation import evaluate_frames

    with job.stage(output, "evaluation") as row, progress_bar("held-out frames") as progress:
        gaussians = load_avatar(output).on(device).gaussians
        row["figures"], row["frames"] = evaluate_frames(take, gaussians, progress=progress)


def write_reports(take: Take, output: Path, job: Job, device: torch.device) -> dict[str, Any]:
    """Writes report.json, report.html and contact.png from what the stages have found."""
    stored = load_avatar(output).on(device)
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

    ``frames_per_second`` is without identity detail, the search for what is before the face, and photometric
    refinement; ``refined_frames_per_second`` has them.
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
        seconds += sum(stages[name].seconds for name in ("detail", "covered", "refinement") if name in stages)
        rates["refined_frames_per_second"] = len(take) / seconds
    return figures | fit | rates
