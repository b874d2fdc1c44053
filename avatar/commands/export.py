"""``avatar export``: an avatar in a format that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape

from avatar.commands._console import say, show
from avatar.commands._output import check_outputs
from avatar.commands._speech import sound_notes
from avatar.errors import InputError
from avatar.heads.retarget import motion_on
from avatar.io.avatar import load_avatar
from avatar.io.sound import store_sound
from avatar.render.export.formats import FORMATS, find_format
from avatar.render.export.writing import check_output, export_avatar
from avatar.render.motions import file_motion, own_motion, single_moment
from avatar.speech.stand_in import able_speaker

if TYPE_CHECKING:
    from avatar.io.audio import SoundFacts
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.options import Export
    from avatar.render.export.formats import ExportFormat

SOUND_RATE = 48_000


def run(options: Export) -> None:
    """Writes what the options ask for and says what was written."""
    name = chosen_name(options)
    kind = find_format(name)
    output = options.output or default_output(options.avatar, name, kind)
    check_output(output, kind)
    check_outputs([output], {"AVATAR": options.avatar, "--motion": options.motion, "--audio": options.audio})
    more, heard = asked_extras(options, name, kind)
    stored = load_avatar(options.avatar)
    # A time chooses a moment; a format that shows none takes the motion as if no time were given.
    at = options.time if kind.poses else None
    motion, notes = asked_motion(options, stored, at)
    moment = None if motion is None else single_moment(motion, float(motion.time[0]) if at is None else at)
    animated = motion if at is None and kind.plays else None
    if options.time is not None and not kind.poses:
        notes.append(f"{name} shows no single moment: --time has no effect.")
    if motion is not None and at is None and not kind.plays:
        still = "one moment, here the motion's first; choose with --time"
        notes.append(f"{name} holds {still if kind.poses else 'the rest pose and no motion'}.")
    if options.audio is not None:
        notes += [*able_speaker(stored).notes, *heard]
    written = export_avatar(stored, output, kind, moment=moment, motion=animated, **more)
    say(f"[bold]{output}[/bold] is ready: {kind.summary}, {written['bytes'] / 1e6:.1f} MB.")
    for note in notes:
        say(f"Note: {escape(note)}")
    shown = {"pose": "neutral" if moment is None else f"{float(moment.time[0]):.3f} s"} if kind.poses else {}
    result = {"format": name, **written, **shown}
    show(result | ({"notes": notes} if options.json else {}), as_json=options.json)


def chosen_name(options: Export) -> str:
    """The format's name: as given, or by the output's suffix."""
    suffix = options.output.suffix.lower() if options.output else ""
    fitting = (name for name, kind in FORMATS.items() if suffix in kind.suffixes)
    return options.format or next(fitting, "ply")


def default_output(avatar: Path, name: str, kind: ExportFormat) -> Path:
    """Where an export goes that nobody named a place for: formats of one suffix do not replace each other's files."""
    stem, suffix = avatar.absolute().stem, "" if kind.is_folder else kind.suffixes[0]
    return Path(f"{stem}{suffix}" if suffix == f".{name}" else f"{stem}-{name}{suffix}")


def asked_motion(options: Export, stored: StoredAvatar, at: float | None) -> tuple[Motion | None, list[str]]:
    """The motion that the options ask for, as one of the avatar's head; and what has to be said about it."""
    if options.motion is not None:
        motion = file_motion(options.motion)
    elif at is not None:
        motion = own_motion(options.avatar)
    else:
        return None, []
    motion, note = motion_on(motion, stored.head, betas=stored.gaussians.betas)
    return motion, [note] if note else []


def asked_extras(options: Export, name: str, kind: ExportFormat) -> tuple[dict[str, Any], list[str]]:
    """What the format's writer takes beside motions, and what is to be known of it.

    Raises:
        InputError: The format does not take what was asked for.
    """
    extras, notes = {}, []
    if options.audio is not None:
        extras["sound"], facts = asked_sound(options.audio, name, kind)
        # Beside a motion it is only heard: nobody's lips come from it.
        if options.motion is None:
            notes = [f"{options.audio.name}: {note}" for note in sound_notes(facts)]
    if options.webcam is not None:
        if name != "web":
            raise InputError(
                f"The format {name} follows no face",
                expected="--webcam with --format web",
                found=f"--webcam {options.webcam}",
                fix="leave --webcam out, or give --format web",
            )
        extras["webcam"] = options.webcam
    return extras, notes


def asked_sound(path: Path, name: str, kind: ExportFormat) -> tuple[tuple[np.ndarray, int], SoundFacts]:
    """An audio file's samples with their rate, and what they are like.

    Raises:
        InputError: There are none, or the format has no sound.
    """
    if not kind.sounds:
        raise InputError(
            f"The format {name} has no sound",
            expected="--audio with --format web",
            found=f"--audio {path}",
            fix="leave --audio out, or give --format web",
        )
    sound, facts = store_sound(path, rate=SOUND_RATE)
    with sound:
        return (np.asarray(sound), SOUND_RATE), facts
