"""``avatar voices``: who can say a text on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from avatar.commands._console import say, show
from avatar.speech.text.voices import voice_rows

if TYPE_CHECKING:
    from avatar.options import Voices


def run(options: Voices) -> None:
    """Lists the voices; JSON for programs, a table for people."""
    rows = voice_rows(options.language)
    if options.json:
        show(rows, as_json=True)
        return
    if not rows:
        say(f"No voice here speaks {escape(str(options.language))}.")
        return
    table = Table(box=None, pad_edge=False)
    # Names are there to be typed, so none is cut.
    table.add_column("--voice", no_wrap=True)
    for title in ("speaks", "engine", "now"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, (row.name, row.title, row.engine, "ready" if row.ready else row.note)))
    Console().print(table)
