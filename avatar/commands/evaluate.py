"""``avatar eval``: the held-out figures, from the files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.commands._console import progress_bar, show
from avatar.errors import InputError
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.train.evaluation import evaluate_held_out

if TYPE_CHECKING:
    from avatar.cli import Eval


def run(options: Eval) -> None:
    """Evaluates and prints."""
    stored = load_avatar(options.avatar)
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
        figures = evaluate_held_out(take, stored.gaussians, frames_folder=options.frames, progress=progress)
    show({"held_out": figures}, as_json=options.json)
