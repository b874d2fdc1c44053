"""``avatar export``: an avatar in a format that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avatar.commands._console import say, show
from avatar.io.avatar import load_avatar
from avatar.render.export.formats import find_format
from avatar.render.export.moments import file_motion, neutral_motion, own_motion, single_moment
from avatar.render.export.writing import check_output, export_avatar

if TYPE_CHECKING:
    from avatar.cli import Export


def run(options: Export) -> None:
    """Writes what the options ask for and says what was written."""
    kind = find_format(options.format)
    name = options.avatar.absolute().stem
    output = options.output or Path(f"{name}-{options.format}" if kind.is_folder else name + kind.suffixes[0])
    check_output(output, kind)
    stored = load_avatar(options.avatar)
    motion = None
    if options.motion is not None:
        motion = file_motion(options.motion)
    elif options.time is not None:
        motion = own_motion(options.avatar)
    if motion is None:
        moment = neutral_motion(stored.gaussians)
    else:
        moment = single_moment(motion, float(motion.time[0]) if options.time is None else options.time)
    animated = motion if options.time is None else None
    written = export_avatar(stored, output, kind, moment=moment, motion=animated)
    say(f"[bold]{output}[/bold] is ready: {kind.summary}.")
    pose = "neutral" if motion is None else f"{float(moment.time[0]):.3f} s"
    show({**written, "format": options.format, "pose": pose}, as_json=options.json)
