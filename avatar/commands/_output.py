"""What a command may not write over: the files that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def check_outputs(outputs: Iterable[Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Raises InputError where a file to be written is one of those to be read, which would be lost.

    Args:
        outputs: Files that will be written; None for those that will not.
        inputs: Files that are read, by the options that name them.
    """
    for output in outputs:
        if output is None or not output.is_file():
            continue
        for name, path in inputs.items():
            if path is not None and path.is_file() and output.samefile(path):
                raise InputError(
                    f"{output} would be written over",
                    expected=f"another file than {name} reads",
                    found="the same file",
                    fix="choose another --output",
                )
