"""A picture in the terminal, by what the terminal can show: inline images, or coloured half blocks.

The protocols: iTerm2, "Inline Images Protocol" (iterm2.com/documentation-images.html); kitty, "Terminal graphics
protocol" (sw.kovidgoyal.net/kitty/graphics-protocol).
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from rich.segment import Segment, Segments
from rich.style import Style

from avatar.commands._console import console
from avatar.commands._page import CONTACT
from avatar.io.avatar import PREVIEW

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import UInt8
    from rich.console import Console

Way = Literal["iterm2", "kitty", "blocks"]
KITTY_CHUNK = 4096
BLOCK_COLUMNS, IMAGE_COLUMNS = 48, 100
ITERM2 = ("iTerm.app", "WezTerm", "mintty", "rio")
KITTY = ("kitty", "ghostty")


def show_preview(folder: Path, *, terminal: Console = console) -> None:
    """Shows an avatar on a terminal that can; writes nothing anywhere else.

    Args:
        folder: The avatar's: its contact sheet is for terminals that show images, its preview for those that show
            coloured characters only.
        terminal: Where to.
    """
    way = preview_way(terminal, os.environ)
    source = folder / (PREVIEW if way == "blocks" else CONTACT)
    if way is None or not source.is_file():
        return
    columns = terminal.width - 1
    if way == "blocks":
        picture = cv2.imread(str(source), cv2.IMREAD_COLOR)
        if picture is not None:
            terminal.print(half_blocks(np.ascontiguousarray(picture[..., ::-1]), min(columns, BLOCK_COLUMNS)))
        return
    data, columns = source.read_bytes(), min(columns, IMAGE_COLUMNS)
    text = iterm2_image(data, columns) if way == "iterm2" else kitty_image(data, columns)
    # Past rich: it would count the picture as text and wrap it.
    terminal.file.write(text + "\n")
    terminal.file.flush()


def preview_way(terminal: Console, environment: Mapping[str, str]) -> Way | None:
    """How a terminal can show a picture; None where it cannot, or is none."""
    if not (terminal.is_terminal and terminal.file.isatty()) or terminal.is_dumb_terminal:
        return None
    program, kind = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    # Terminal multiplexers keep pictures to themselves, and inherit the variables of what is around them.
    inside = "TMUX" in environment or kind.startswith(("screen", "tmux"))
    if not inside:
        if "KITTY_WINDOW_ID" in environment or program in KITTY or kind in ("xterm-kitty", "xterm-ghostty"):
            return "kitty"
        if program in ITERM2 or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
    true_color = terminal.color_system == "truecolor" and not terminal.no_color
    return "blocks" if true_color else None


def iterm2_image(png: bytes, columns: int) -> str:
    """The escape sequence that shows a PNG this many columns wide in iTerm2 and what speaks its protocol."""
    data = base64.b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{data}\x07"


def kitty_image(png: bytes, columns: int) -> str:
    """The escape sequences that show a PNG this many columns wide in kitty and what speaks its protocol."""
    data = base64.b64encode(png).decode()
    chunks = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    # q=2: the terminal's answer would be read by the shell as if it had been typed.
    keys = [f"a=T,f=100,c={columns},q=2,", *[""] * (len(chunks) - 1)]
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(f"\x1b_G{key}m={m};{chunk}\x1b\\" for key, m, chunk in zip(keys, more, chunks, strict=True))


def half_blocks(picture: UInt8[np.ndarray, "H W 3"], columns: int) -> Segments:
    """An RGB picture as characters, two pixels each: the upper one in the letter's colour, the lower one behind it."""
    rows = max(1, round(columns * picture.shape[0] / picture.shape[1] / 2))
    small = cv2.resize(picture, (columns, 2 * rows), interpolation=cv2.INTER_AREA)
    segments = []
    for upper, lower in zip(small[0::2], small[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            style = Style(color=_color(above), bgcolor=_color(below))
            segments.append(Segment("▀", style))
        segments.append(Segment.line())
    return Segments(segments)


def _color(pixel: UInt8[np.ndarray, " 3"]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel)
