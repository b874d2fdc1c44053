"""``avatar takes``: recordings that other tools have worked on, in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.commands._console import progress_bar, say, show
from avatar.commands._device import chosen_device
from avatar.commands._job import Job
from avatar.commands._output import check_folder
from avatar.commands._take import TakeOptions, finish_take, prepare_take
from avatar.commands.create import open_job
from avatar.errors import InputError
from avatar.heads import load_head
from avatar.heads.arkit import arkit_to_motion_parts
from avatar.io._files import replacing
from avatar.io.adnerf import is_adnerf, read_adnerf
from avatar.io.livelink import is_livelink, livelink_video, read_livelink
from avatar.io.metrical import is_metrical, read_metrical
from avatar.io.take import Take
from avatar.io.vhap import is_vhap, read_vhap, write_vhap
from avatar.motion import Motion
from avatar.render.export.writing import check_new_folder, written_whole

if TYPE_CHECKING:
    from avatar.io.imported import ImportedClip
    from avatar.options import Takes

# Pictures a second that a folder may be said to have.
RATES = (1, 240)


def run(options: Takes) -> None:
    """Imports or exports."""
    if options.action == "export":
        run_export(options, options.output or Path(f"{options.path.resolve().name}-{options.format}"))
    else:
        run_import(options, options.output or Path("take"))


def run_export(options: Takes, output: Path) -> None:
    """Writes a take in another tool's layout, whole or not at all."""
    take = Take.open(options.path)
    check_new_folder(output)
    with written_whole(output) as target:
        write_vhap(take, target)
    flame = take.info.head_id.startswith("flame")
    if not flame:
        say(
            f"The take is tracked with {take.info.head_id}: its parameters are in head_param, and flame_param is left "
            "out. Pictures, masks and cameras serve any tool."
        )
    say(f"[bold]{output}[/bold] is ready")
    show({"layout": options.format, "frames": int(take.used.sum()), "flame": flame}, as_json=options.json)


def run_import(options: Takes, output: Path) -> None:
    """Makes a tracked take of what another tool left."""
    if not RATES[0] <= options.fps <= RATES[1]:
        raise InputError(
            "The option --fps cannot be used",
            expected=f"{RATES[0]} to {RATES[1]} pictures a second",
            found=f"{options.fps:g}",
        )
    if not options.path.exists():
        raise InputError(
            f"{options.path} is not there", expected="a folder or a CSV", found="nothing", fix="check the path"
        )
    check_folder(output, options.path, "the folder to import")
    if is_livelink(options.path):
        _import_livelink(options, output)
        layout = "Live Link Face"
    else:
        clip = _recognised(options)
        _import_pictures(clip, options, output)
        layout = clip.layout
    say(f"[bold]{output}[/bold] is ready. Next: avatar train {output} -o me")
    show({"layout": layout, "stages": Take.open(output).info.stages}, as_json=options.json)


def take_options(options: Takes) -> TakeOptions:
    """How the pictures become a take; an import has one shot."""
    device = chosen_device(options.device)
    return TakeOptions(size=options.size, head=options.head, force=options.force, device=device)


def _recognised(options: Takes) -> ImportedClip:
    """What a folder holds, by its content."""
    if is_vhap(options.path):
        return read_vhap(options.path, camera=options.camera, fps=options.fps)
    if is_adnerf(options.path):
        return read_adnerf(options.path, fps=options.fps)
    if is_metrical(options.path):
        return read_metrical(options.path, fps=options.fps)
    raise InputError(
        f"{options.path} is not recognised",
        expected="an export of VHAP (transforms.json, images, fg_masks, flame_param), a folder of AD-NeRF "
        "(transforms_train.json, ori_imgs, parsing) or of metrical-tracker (checkpoint/*.frame, input), "
        "or a Live Link Face CSV beside its video",
        found=", ".join(sorted(file.name for file in options.path.iterdir())[:8]) or "an empty folder"
        if options.path.is_dir()
        else "a file",
        fix="give the folder that the tool wrote; a video goes to `avatar preprocess`",
    )


def _import_pictures(clip: ImportedClip, options: Takes, output: Path) -> None:
    from avatar.preprocess.importing import MOTION, finished_import, import_clip

    how, name = take_options(options), options.path.resolve().name
    if finished_import(clip, output, name=name) is None:
        with progress_bar("look at the pictures") as progress:
            head = load_head(how.head)
            import_clip(clip, output, name=name, size=options.size, head=head, progress=progress)
    take = Take.open(output)
    job = Job.open(output, name, take.info.source_sha256, how.settings())
    if not job.done("ingest"):
        with job.stage(output, "ingest"):
            say(f"{clip.layout}: {len(clip.images)} pictures")
    finish_take(take, output, job, how=how)
    if clip.motion is None:
        return
    if not (output / MOTION).is_file():
        say(f"The motion of {clip.layout} could not be kept: {take.info.stages['ingest'].detail['motion']}")
        return
    kept = Motion.load(output / MOTION)
    say(
        f"The motion of {clip.layout} is kept in {output / MOTION}: it is for the head {kept.head_id} only. The take "
        f"itself is tracked anew with {take.info.head_id}."
    )
    if not kept.head_hash:
        say(f"{clip.layout} does not say which FLAME that is: name yours with --head to make use of its motion.")


def _import_livelink(options: Takes, output: Path) -> None:
    """Tracks the video, and keeps the phone's own expressions on the tracked head beside it."""
    from avatar.preprocess.importing import MOTION

    track, video = read_livelink(options.path), livelink_video(options.path)
    how = take_options(options)
    job = open_job(video, output, how.settings())
    take = prepare_take(video, output, output, job, how=how)
    motion = take.motion()
    weights = np.stack([np.interp(motion.time, track.time, column) for column in track.weights.T], axis=1)
    parts = arkit_to_motion_parts(weights.astype(np.float32), load_head(how.head))
    phone = replace(motion, **vars(parts))
    replacing(output / MOTION, phone.save)
    say(f"The phone's expressions on the tracked head are in {output / MOTION}, for render --motion")
