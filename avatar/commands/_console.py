"""What the commands print: progress bars on the error stream, results on the output stream."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

console = Console(stderr=True)
# A person reads no longer list of figures; JSON has all of them.
LONGEST_LIST = 16


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with an ETA; yields the callback ``(done, total)`` that moves it."""
    columns = (
        TextColumn("[bold]{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say(text: str) -> None:
    """A line for the person, on the error stream."""
    console.print(text, highlight=False, soft_wrap=True)


def show(result: Any, *, as_json: bool) -> None:
    """The result: JSON for programs, or aligned lines for people without long lists, on the output stream."""
    plain = msgspec.to_builtins(result)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n")
    else:
        sys.stdout.write("\n".join(_lines(plain)) + "\n")


def _lines(value: Any, indent: str = "") -> list[str]:
    if isinstance(value, dict):
        lines = []
        for key, entry in value.items():
            if isinstance(entry, list) and len(entry) > LONGEST_LIST:
                lines.append(f"{indent}{key:<24} {len(entry)} values")
            elif isinstance(entry, dict | list) and entry:
                lines += [f"{indent}{key}", *_lines(entry, indent + "  ")]
            else:
                lines.append(f"{indent}{key:<24} {_text(entry)}")
        return lines
    if isinstance(value, list):
        rows = [[*_lines(entry, indent), ""] if isinstance(entry, dict) else [indent + _text(entry)] for entry in value]
        return [line for row in rows for line in row]
    return [indent + _text(value)]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
