"""``avatar motion``: motions in, one motion out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.commands._console import say, show
from avatar.commands._edits import ENDINGS, check_motion_name, edited, file_curve, file_track, write_motion
from avatar.commands._output import check_outputs
from avatar.editing import CHANNELS, FaceMap, mix, motion_of, retime, shift, smooth, take_channels, trim
from avatar.editing.face import check_channels
from avatar.errors import InputError
from avatar.heads import load_head
from avatar.heads.retarget import head_of, motion_on
from avatar.io._files import check_place
from avatar.io.avatar import load_avatar
from avatar.motion import PER_FRAME, Motion
from avatar.render import motions

if TYPE_CHECKING:
    from collections.abc import Callable

    from avatar.editing.face import Channel
    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.options import EditMotion

# Where a face without an avatar stands before the camera, metres.
PLACE = (0.0, 0.0, -0.7)


def run(options: EditMotion) -> None:
    """Writes what the options ask for and says what was written."""
    check_motion_name(options.output, "--output")
    if not options.inputs:
        raise InputError(
            "There is no motion to edit",
            expected=f"one or more files that end in {', '.join(ENDINGS)}",
            found="none",
            fix="name one, as in `avatar motion in.npz -o out.npz`; `avatar render --motion-out` writes what is said",
        )
    check_channels(options.channels)
    texts = {"--gaze": options.gaze, **{f"--emotion {text}": text for text in options.emotion}}
    texts |= {f"--mix {text}": text for text in options.mix}
    named = {name: Path(text) for name, text in texts.items() if text}
    check_place(options.output)
    for path in options.inputs:
        check_outputs([options.output], {"INPUTS": path, "--keys": options.keys, "--avatar": options.avatar, **named})
    stored = load_avatar(options.avatar) if options.avatar else None
    read = [_read(path) for path in options.inputs]
    head, rest = _subject(read, stored)
    inputs = [_fitted(each, head, rest) for each in read]
    face = FaceMap(head, inputs[0].betas)
    motion = edited(_timed(inputs, face, options), face, options, rest=stored)
    write_motion(options.output, motion, head)
    say(f"[bold]{options.output}[/bold] is ready.")
    seconds = float(motion.time[-1] - motion.time[0])
    show(
        {"output": str(options.output), "moments": len(motion), "seconds": seconds, "head": motion.head_id},
        as_json=options.json,
    )


def _read(path: Path) -> Motion | object:
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            f"{path} cannot be read as a motion",
            expected=f"a file that ends in one of {', '.join(ENDINGS)}",
            found=path.suffix or "no ending",
        )
    track = file_track(path)
    return motions.file_motion(path) if track is None else track


def _subject(read: list, stored: StoredAvatar | None) -> tuple[Head, Motion]:
    """The head model of the result, and a motion of the subject whose mean is where its head rests."""
    if stored is not None:
        return stored.head, motions.ease_motion(stored)
    first = next((each for each in read if isinstance(each, Motion)), None)
    if first is None:
        head = load_head()
        return head, _standing(head)
    head = head_of(first)
    if head is None:
        raise InputError(
            "The motion belongs to a head model that is not installed",
            expected="a head model that `avatar heads list` names, in the version it was made with",
            found=f"{first.head_id} ({first.head_hash[:12]})",
            fix="import that head model with `avatar heads import`, or name the avatar with --avatar",
        )
    return head, first


def _standing(head: Head) -> Motion:
    """One moment of nobody in particular, before the camera."""
    widths = {"expression": head.exprdirs.shape[-1], "eyelids": 2}
    rows: dict = {name: np.zeros((1, widths.get(name, 3)), np.float32) for name in PER_FRAME}
    rows["transl"][:] = PLACE
    betas = np.zeros(head.shapedirs.shape[-1], np.float32)
    return Motion(time=np.zeros(1), betas=betas, head_id=head.id, head_hash=head.hash, **rows)


def _fitted(read, head: Head, rest: Motion) -> Motion:
    """One input as a motion of the subject."""
    if not isinstance(read, Motion):
        return motion_of(read, head, rest)
    motion, note = motion_on(read, head, betas=torch.as_tensor(rest.betas))
    if note:
        say(note)
    return motion


def _timed(inputs: list[Motion], face: FaceMap, options: EditMotion) -> Motion:
    """The inputs mixed, trimmed, retimed, smoothed and moved in time, in this order."""
    channels: tuple[Channel, ...] = options.channels or CHANNELS  # type: ignore[assignment]
    if options.mix and (len(inputs) == 1 or len(options.mix) != len(inputs)):
        raise InputError(
            "The option --mix cannot be used",
            expected=f"{len(inputs)} weights, one an input" if len(inputs) > 1 else "at least two inputs",
            found=str(len(options.mix)) if len(inputs) > 1 else "one",
            fix="name the motions and one weight for each; `--gain` makes a single one stronger or weaker",
        )

    def within(motion: Motion, change: Callable[[Motion], Motion]) -> Motion:
        return take_channels(motion, change(motion), face, channels)

    motion = inputs[0]
    if len(inputs) > 1:
        weights = [file_curve(text) for text in options.mix] if options.mix else None
        motion = within(motion, lambda _: mix(inputs, weights))
    if options.start or options.end is not None:
        motion = trim(motion, options.start, options.end)
    if options.speed != 1 or options.fps is not None:
        motion = retime(motion, options.speed, fps=options.fps)
    if options.smooth:
        motion = within(motion, lambda each: smooth(each, options.smooth))
    return within(motion, lambda each: shift(each, options.offset)) if options.offset else motion
