"""``avatar voices``: who can say a text on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from avatar.commands._console import show
from avatar.speech.text.voices import VoiceRow, voice_rows

if TYPE_CHECKING:
    from avatar.cli import Voices


def run(options: Voices) -> None:
    """Lists the voices; JSON for programs, a table for people."""
    rows = voice_rows(options.language)
    if options.json:
        show(rows, as_json=True)
        return
    table = Table("--voice", "languages", "engine", "kind", "licence", "now", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, ", ".join(row.languages), row.engine, row.kind, row.licence, _state(row))
    Console().print(table)


def _state(row: VoiceRow) -> str:
    return "ready" if row.ready else row.note
