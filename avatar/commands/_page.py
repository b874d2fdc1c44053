"""The report pages of the commands: what is drawn for them, and opening one in the browser."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from rich.markup import escape

from avatar.commands._console import progress_bar, say
from avatar.io._files import write_png

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.io.take import Take
    from avatar.options import Eval
    from avatar.train.evaluation import FrameFigures
    from avatar.train.tally import Moment

PAGE, EVALUATION_PAGE, CONTACT = "report.html", "evaluation.html", "contact.png"
BESIDE_CAPTION = "Recording and avatar, around the worst frame"
# The pictures of `orbit_sheet`.
VIEWS: tuple[str, ...] = ("-30 deg", "-21 deg", "front", "+21 deg", "+30 deg")
# What lies beside the page and is worth a look.
BESIDE = (
    ("the report on the recording", "take/report.html"),
    ("the recording with the tracked head", "take/tracking.mp4"),
    ("all pictures on one sheet", CONTACT),
    ("every figure as JSON", "report.json"),
)


def draw_report(take: Take, stored: StoredAvatar, output: Path, report: dict[str, Any]) -> None:
    """Writes the page about a new avatar and its contact sheet.

    Args:
        take: The take it was trained on.
        stored: The avatar as loaded from its files.
        output: Its folder.
        report: What ``report.json`` holds.
    """
    from avatar.commands._film import head_center
    from avatar.train import showcase
    from avatar.train.contact_sheet import contact_sheet
    from avatar.train.evaluation import FrameFigures
    from avatar.train.report import Shown, comparison_sheet, orbit_sheet, write_report
    from avatar.train.shown_frames import shown_frames

    figures = msgspec.convert(report["held_out_frames"], FrameFigures)
    motion, calm = take.motion(), showcase.calm_moment(take)
    held_out = motion[take.split()["test"]]
    with progress_bar("draw the report") as progress:
        turn = showcase.turning(stored, held_out, head_center(stored, held_out))
        films = [(turn, "It turns: the camera swings around the head")]
        progress(1, 5)
        talk = showcase.talking(stored, take)
        if talk is not None:
            films.append((talk, "It talks: mouth, blinks and head driven by the sound alone (unmute to hear it)"))
        else:
            films.append((showcase.moving(stored, held_out), "It moves as the end of the recording did"))
        progress(2, 5)
        beside = showcase.beside(stored, take, showcase.excerpt(take, _worst_moment(figures)))
        progress(3, 5)
        frames = shown_frames(take, stored.gaussians, figures)
        faces = showcase.faces(stored, calm)
        around = orbit_sheet(take, stored.gaussians, head_center(stored, calm))
        sheets = {
            "Held-out frames: truth, render, error times 5 inside the head's mask": comparison_sheet(
                take, stored.gaussians
            ),
            "Views nobody filmed: a calm moment from 30 degrees on either side": around,
        }
        progress(4, 5)
        views = dict(zip(VIEWS, np.split(around, len(VIEWS), axis=1), strict=True))
        title = f"{report['source']}: {report['held_out']['video_driven']['psnr']:.1f} dB on held-out frames"
        beside_render = {one.names[0]: one.frame for one in frames[: len(VIEWS)]}
        moved = {name: picture for name, picture in faces.items() if name != showcase.AT_REST}
        write_png(output / CONTACT, contact_sheet(title, views, moved, beside_render))
        shown = Shown(
            films=films,
            beside=(beside, BESIDE_CAPTION),
            frames=frames,
            figures=figures,
            faces=faces,
            commands=next_commands(output, take=take.path),
            links=[(what, to) for what, to in BESIDE if (output / to).is_file()],
        )
        write_report(output / PAGE, report, sheets, shown=shown)
        progress(5, 5)


def draw_evaluation(
    take: Take,
    stored: StoredAvatar,
    result: dict[str, Any],
    figures: FrameFigures,
    options: Eval,
    path: Path,
    *,
    examples: Sequence[Moment] = (),
) -> None:
    """Writes the page about held-out frames.

    Args:
        take: The take they are from.
        stored: The avatar.
        result: All figures, as the command's JSON has them.
        figures: Those of every frame.
        options: What was asked for.
        path: The page.
        examples: Moments to show beside the other rows.

    Raises:
        InputError: The page cannot be written.
    """
    from avatar.train import showcase
    from avatar.train.evaluation_page import write_evaluation
    from avatar.train.report import Shown
    from avatar.train.shown_frames import shown_frames

    name = str(options.avatar)
    again = ["avatar", "eval", name, *(["--take", str(options.take)] if options.take else []), "--frames", "frames"]
    with progress_bar("draw the report") as progress:
        beside = showcase.beside(stored, take, showcase.excerpt(take, _worst_moment(figures)))
        progress(1, 2)
        shown = Shown(
            beside=(beside, BESIDE_CAPTION),
            frames=shown_frames(take, stored.gaussians, figures),
            figures=figures,
            commands=[("Truth, render and mask of every held-out frame as pictures", shlex.join(again))],
        )
        write_evaluation(path, {"source": take.info.source_name, "name": name} | result, shown, examples=examples)
        progress(2, 2)


def next_commands(output: Path, *, take: Path | None = None) -> list[tuple[str, str]]:
    """What a person would run after making an avatar: what for, and the command.

    Args:
        output: The avatar's folder.
        take: The take's folder where it is not the one inside the avatar's.
    """
    me, inside = shlex.quote(str(output)), output / "take"
    judged = f" --take {shlex.quote(str(take))}" if take not in (None, inside) else ""
    return [
        (
            "Let it say something: any audio or video file with speech",
            f"avatar render {me} --audio SPEECH.wav -o talk.mp4",
        ),
        ("The same with a moving camera", f"avatar render {me} --audio SPEECH.wav --camera orbit -o orbit.mp4"),
        ("Play with it live in the browser", f"avatar view {me}"),
        ("Put it on a web page", f"avatar export {me} --format web -o site"),
        ("Take it to another program (avatar export --help lists the formats)", f"avatar export {me} --format ply"),
        ("State the held-out figures again, with their own page", f"avatar eval {me}{judged} --open"),
    ]


def open_page(path: Path) -> None:
    """Opens a page in the browser; says where it is where none can be opened."""
    if not (_may_open() and _opened(path)):
        say(f"No browser can be opened here. The page is {escape(str(path.resolve()))}")


def _may_open() -> bool:
    """Whether a browser would have a screen; without one, Python falls back to those that take the terminal over."""
    if os.environ.get("BROWSER") or sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _opened(path: Path) -> bool:
    try:
        return webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


def _worst_moment(figures: FrameFigures) -> float:
    return figures.time[figures.psnr.index(min(figures.psnr))]
