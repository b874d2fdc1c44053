"""``avatar eval``: the held-out figures, from the files alone, and a page about them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from avatar.commands._console import progress_bar, say, show
from avatar.commands._device import chosen_device
from avatar.commands._page import EVALUATION_PAGE, draw_evaluation, open_page
from avatar.errors import InputError
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.preprocess.landmarks import FaceLandmarker
from avatar.train.evaluation import evaluate_frames
from avatar.train.play import avatar_figures, play_figures
from avatar.train.rows import evaluate_rows
from avatar.train.speech_quality import judge_speech
from avatar.train.tally import ROWS

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.options import Eval
    from avatar.train.tally import Moment


def run(options: Eval) -> None:
    """Evaluates, draws the page and prints."""
    page = page_path(options)
    device = chosen_device(options.device)
    stored = load_avatar(options.avatar).on(device)
    folder = options.take or options.avatar / "take"
    if options.take is None and not folder.exists():
        raise InputError(
            f"There is no take inside {options.avatar}",
            expected="the take that the avatar was trained on",
            found="nothing",
            fix="name its folder with --take",
        )
    take = Take.open(folder)
    with progress_bar("held-out frames") as progress:
        figures, frames = evaluate_frames(take, stored.gaussians, frames_folder=options.frames, progress=progress)
    result: dict[str, Any] = {"held_out": figures}
    examples: list[Moment] = []
    if not options.brief:
        judged, examples = _judged(take, stored, options)
        result |= judged
    if page:
        draw_evaluation(take, stored, result, frames, options, page, examples=examples)
        say(f"The page about them is {escape(str(page))}")
    show(result, as_json=options.json)
    if page and options.open:
        open_page(page)


def _judged(take: Take, stored: StoredAvatar, options: Eval) -> tuple[dict[str, Any], list[Moment]]:
    """Every other figure, as the JSON has it, and moments to look at."""
    label = "speech, cross-validated" if options.cross_validate_speech else "speech"
    with progress_bar(label) as progress:
        speech = judge_speech(take, stored.head, cross_validate=options.cross_validate_speech, progress=progress)
    with progress_bar("rows and metrics") as progress:
        found = evaluate_rows(
            take, stored.gaussians, speech_motion=speech.motion, observer=FaceLandmarker, progress=progress
        )
    held_out = take.motion()[take.split()["test"]]
    figures = {
        "rows": dict.fromkeys(ROWS) | found.rows,
        "shown": found.shown,
        "frames": found.frames,
        "errors": found.errors,
        "play": play_figures(stored, held_out),
        "avatar": avatar_figures(options.avatar, stored),
        "speech": speech.figures,
        # Avatars that were made before cones were measured have none.
        "view_cone": getattr(stored.info, "view_cone", None),
        "notes": found.notes,
    }
    return figures, found.examples


def page_path(options: Eval) -> Path | None:
    """Where the page goes; None where nobody looks at one: programs ask for JSON, and some avatars are read only.

    Raises:
        InputError: The page that was asked for cannot be written.
    """
    if options.report is None and options.json and not options.open:
        return None
    beside = options.avatar if options.avatar.is_dir() else options.avatar.parent
    page = options.report or beside / EVALUATION_PAGE
    found = None
    if page.is_dir():
        found = "a folder"
    elif not page.parent.is_dir():
        found = "no such folder"
    elif not os.access(page.parent, os.W_OK):
        found = "no permission"
    if found is None:
        return page
    if options.report is None and not options.open:
        return None
    raise InputError(
        f"The page {page} cannot be written",
        expected="a file name in a folder that can be written to",
        found=found,
        fix="choose another --report",
    )
