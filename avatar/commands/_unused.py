"""Options of `avatar render` that were given and do nothing beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from avatar.render.moving_background import background_file
from avatar.speech.life import Pose

if TYPE_CHECKING:
    from avatar.options import Render

# What a voice does, and what is added to a motion that is made from speech.
VOICE, LIFE = ("language", "speed"), ("seed", "prosody", "breathing")


def unused_options(options: Render) -> list[str]:
    """A line for what the avatar does and what is behind it, where that leaves options no say."""
    posed = options.pose not in get_args(Pose)
    head = Path(options.pose).name if posed else options.pose
    rows: list[tuple[tuple[str, ...], str]] = []
    if options.motion is not None:
        rows.append((VOICE + LIFE, "--motion: all movement is the file's"))
    elif options.video is not None:
        rows.append((VOICE + LIFE, "--video: all movement is the driver's"))
        if head != "natural":
            rows.append((("video_pose",), f"--pose {head}: that says how the head moves"))
    else:
        if options.audio is not None:
            rows.append((VOICE, "--audio: the recording is heard as it is"))
        elif options.voice_command is not None:
            rows.append((("speed",), "--voice-command: that program chooses its own"))
        if posed:
            rows.append((("breathing",), f"--pose {head}: its shoulders are taken too"))
    behind = "transparent" if options.transparent else options.background
    if background_file(behind) is None:
        rows.append((("beyond",), f"--background {behind}: only footage has an end"))
    lines = []
    for names, why in rows:
        if given := [name for name in names if getattr(options, name) is not None]:
            lines.append(f"{_listed(given)} {'has' if len(given) == 1 else 'have'} no effect beside {why}.")
    return lines


def _listed(names: list[str]) -> str:
    """Options in a sentence: ``--a, --b and --c``."""
    options = [f"--{name.replace('_', '-')}" for name in names]
    return " and ".join([", ".join(options[:-1]), options[-1]] if len(options) > 1 else options)
