"""``avatar render``: speech, a motion or somebody's video in, a film out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape

from avatar.commands._console import say, show
from avatar.commands._device import chosen_device
from avatar.commands._driver import driven_motion, track_driver
from avatar.commands._edits import check_motion_name, driving_motion, edited_for, write_motion
from avatar.commands._film import Sound, beside, footage_notes, render_shot
from avatar.commands._head_pose import chosen_pose, posed_as
from avatar.commands._output import check_outputs
from avatar.commands._speech import Speech, check_driver, sound_to_say
from avatar.commands._unused import unused_options
from avatar.errors import InputError
from avatar.io._files import check_place, writing
from avatar.io.avatar import load_avatar
from avatar.io.picture_folder import check_picture_folder
from avatar.io.sound import SoundFile, store_sound
from avatar.io.video import check_video_name
from avatar.render import motions
from avatar.render.head_alone import head_alone
from avatar.render.motions import SPEECH_RATE
from avatar.render.moving_background import background_file
from avatar.render.shots import Shot
from avatar.render.stereo import Stereo
from avatar.speech.stand_in import able_speaker

if TYPE_CHECKING:
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.options import Render
    from avatar.speech.life import Pose
    from avatar.speech.stand_in import AbleSpeaker

SOUND_RATE = 48_000
# Sound and motion that differ by more are worth a line.
WORTH_SAYING_SECONDS = 0.1
# Options that name a file to read.
READ = ("audio", "text_file", "motion", "video", "keys")
MOST_PROSODY = MOST_BREATHING = 3.0
TRANSPARENT = (".mov", ".webm")


def run(options: Render) -> None:
    """Renders what the options ask for and says what was written."""
    shot, device = shot_of(options), chosen_device(options.device)
    stored = load_avatar(options.avatar).on(device)
    if options.part == "head":
        stored = replace(stored, gaussians=head_alone(stored.gaussians))
    fps = Fraction(options.fps).limit_denominator(1001) if options.fps else Fraction(*stored.info.fps)
    pose, notes = chosen_pose(stored, options.pose), [*unused_options(options), *footage_notes(shot.background)]
    for note in notes:
        say(escape(note))
    with sound_to_say(options) as speech:
        facts: dict[str, Any] = {}
        if options.video is not None:
            driver = track_driver(options.video, stored.gaussians.head)
            motion, sound, facts = driven_motion(
                stored, driver, fps=fps, pose=options.video_pose, still=pose == "still"
            )
            if not isinstance(pose, str):
                motion = posed_as(stored, motion, pose)
                facts["driver"]["pose"] = options.pose
        elif speech is None:
            assert options.motion
            motion = posed_as(stored, filed_motion(options.motion, fps=fps, stored=stored), pose)
            sound = None if options.audio is None else heard_with(options.audio, len(motion) / float(fps))
        else:
            able = able_speaker(stored)
            motion, sound = spoken_motion(
                stored,
                speech,
                fps=fps,
                seed=options.seed or 0,
                pose=pose,
                prosody=1.0 if options.prosody is None else options.prosody,
                breathing=1.0 if options.breathing is None else options.breathing,
                able=able,
            )
            notes += [*able.notes, *speech.notes]
        motion = edited_for(stored, motion, options, shot)
        if options.motion_out is not None:
            writing(options.motion_out, lambda file: file.parent.mkdir(parents=True, exist_ok=True))
            write_motion(options.motion_out, motion, stored.head)
            facts["motion"] = str(options.motion_out)
        written = render_shot(
            stored,
            motion,
            options.output,
            fps=fps,
            sound=sound,
            shot=shot,
            layers=tuple(name for name, wanted in (("depth", options.depth), ("normals", options.normals)) if wanted),
            camera_out=options.camera_out,
        )
        written |= facts | ({"notes": notes} if notes and options.json else {})
        if speech is not None:
            written |= speech.write_transcripts(options.output)
    say(f"[bold]{options.output}[/bold] is ready.")
    show(written, as_json=options.json)


def shot_of(options: Render) -> Shot:
    """How the options want the avatar filmed; raises InputError for what no avatar can meet."""
    check_driver(options)
    _check_files(options)
    strengths = {"--prosody": (options.prosody, MOST_PROSODY), "--breathing": (options.breathing, MOST_BREATHING)}
    for name, (strength, most) in strengths.items():
        if strength is not None and not 0 <= strength <= most:
            raise InputError(
                f"The option {name} cannot be used",
                expected=f"0 (off) to {most:g}",
                found=f"{strength:g}",
                fix="leave it out for 1, as the person does",
            )
    if options.seed is not None and options.seed < 0:
        raise InputError(
            "The option --seed cannot be used",
            expected="a whole number from 0 on",
            found=str(options.seed),
            fix="leave it out for 0",
        )
    if options.motion_out is not None:
        check_motion_name(options.motion_out, "--motion-out")
    if options.fps is not None and not 1 <= options.fps <= 240:
        raise InputError(
            "The option --fps cannot be used",
            expected="1 to 240",
            found=str(options.fps),
            fix="leave it out for the recording's own",
        )
    clear = options.transparent or options.background == "transparent"
    if options.transparent and options.background not in ("plate", "transparent"):
        raise InputError(
            "What is behind the avatar is not clear",
            expected="one of --transparent and --background",
            found="both",
            fix="give one of the two",
        )
    if clear and options.output.suffix not in (*TRANSPARENT, ""):
        raise InputError(
            "Only a .mov, a .webm or a folder of pictures can be transparent",
            expected=f"--output with {' or '.join(TRANSPARENT)}, or without a suffix",
            found=options.output.suffix,
            fix="choose another --output or another background",
        )
    if options.output.suffix:
        check_video_name(options.output, alpha=clear)
    else:
        check_picture_folder(options.output)
    if options.stereo is None and (options.ipd is not None or options.convergence is not None):
        raise InputError(
            "One eye has no other beside it",
            expected="--ipd and --convergence with --stereo",
            found="no --stereo",
            fix="add --stereo sbs, or leave them out",
        )
    eyes = {} if options.ipd is None else {"ipd": options.ipd / 1000}
    return Shot(
        camera=options.camera,
        look_at_face=options.look_at_face,
        fov=options.fov,
        size=parsed_size(options.size),
        background="transparent" if clear else options.background,
        beyond=options.beyond or "bounce",
        stereo=Stereo(options.stereo, convergence=options.convergence, **eyes) if options.stereo else None,
    )


def _check_files(options: Render) -> None:
    """Raises InputError where something that is read would be written over."""
    words = (".srt", ".vtt") if options.text is not None or options.text_file is not None else ()
    beside_it = [options.output.with_suffix("").with_name(options.output.with_suffix("").name + each) for each in words]
    named = {f"--{name.replace('_', '-')}": getattr(options, name) for name in READ}
    named |= {f"--{name}": Path(text) for name in ("pose", "gaze", "camera") if (text := getattr(options, name))}
    named |= {f"--emotion {text}": Path(text) for text in options.emotion}
    named |= {"--background": background_file(options.background), "AVATAR": options.avatar}
    wanted = [layer for layer in ("depth", "normals") if getattr(options, layer) and options.output.suffix]
    layers = [beside(options.output, layer) for layer in wanted]
    check_outputs([options.output, *beside_it, *layers, options.motion_out, options.camera_out], named)
    for layer in layers:
        check_place(layer)
    for path in (options.motion_out, options.camera_out):
        if path is not None:
            check_place(path)


def parsed_size(text: str | None) -> int | tuple[int, int] | None:
    """One number, or two as in 1280x720; raises InputError for anything else."""
    numbers = [] if text is None else text.lower().split("x")
    if text is None:
        return None
    try:
        sides = [int(number) for number in numbers]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise InputError(
            "The option --size cannot be used",
            expected="a number of pixels, or two such as 1280x720",
            found=text,
            fix="leave it out for the recording's own",
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def spoken_motion(
    stored: StoredAvatar,
    speech: Speech | Path,
    *,
    fps: Fraction,
    seed: int,
    pose: Pose | Motion,
    prosody: float = 1.0,
    breathing: float = 1.0,
    able: AbleSpeaker | None = None,
) -> tuple[Motion, Sound]:
    """The motion of an avatar that speaks an audio file, of any length, and the sound to go with it.

    ``able`` is who speaks for it, found when left out; what is to be known of them is said.

    Raises:
        InputError: The file has no sound.
    """
    speech = speech if isinstance(speech, Speech) else Speech(speech)
    able = able or able_speaker(stored)
    for note in able.notes:
        say(note)
    with speech.samples(rate=SPEECH_RATE) as samples:
        closures = speech.closures(len(samples) / SPEECH_RATE)
        motion = motions.spoken_motion(
            stored,
            samples,
            fps=float(fps),
            seed=seed,
            pose=pose,
            closures=closures,
            prosody=prosody,
            breathing=breathing,
            speaker=able.speaker,
        )
    return motion, (SoundFile(speech.path, SOUND_RATE), SOUND_RATE)


def filed_motion(path: Path, *, fps: Fraction, stored: StoredAvatar) -> Motion:
    """A motion file's motion for this avatar at the video's frame rate, from its first moment on.

    Raises:
        InputError: There is no such file, it is empty, or it belongs to a head model that it cannot be converted from.
        FormatError: It is no motion file.
    """
    motion, note = driving_motion(path, stored)
    if note:
        say(note)
    length = float(motion.time[-1] - motion.time[0])
    # The last moment has a picture too; times were rounded where they were written.
    count = int(length * float(fps) + 1e-3) + 1
    return motion.resample(motion.time[0] + np.arange(count) / float(fps))


def heard_with(path: Path, seconds: float) -> Sound:
    """A file's sound for a film of a length that something else decides; raises InputError where it has none."""
    sound, _ = store_sound(path, rate=SPEECH_RATE)
    with sound:
        length = len(sound) / SPEECH_RATE
    if abs(length - seconds) > WORTH_SAYING_SECONDS:
        say(f"The sound lasts {length:.1f} s and the motion {seconds:.1f} s; the film is as long as the motion.")
    return SoundFile(path, SOUND_RATE, end=seconds), SOUND_RATE
