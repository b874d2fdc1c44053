"""What a command may not write over: the files that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avatar.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Of a folder that is read, what nothing else may take the place of; films may lie beside them.
KEPT = ("avatar.json", "motion.npz", "take.json", "take/motion.npz", "take/take.json")


def check_outputs(outputs: Iterable[Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Raises InputError where a file to be written is one of those to be read, which would be lost.

    Args:
        outputs: Files that will be written; None for those that will not.
        inputs: Files, avatars and takes that are read, by the options that name them.
    """
    for output in outputs:
        if output is None or not output.is_file():
            continue
        for name, path in inputs.items():
            read = () if path is None else (path, *(path / kept for kept in KEPT))
            if any(each.is_file() and output.samefile(each) for each in read):
                raise InputError(
                    f"{output} would be written over",
                    expected=f"another file than {name} reads",
                    found="the same file",
                    fix="choose another --output",
                )


def check_folder(output: Path, read: Path, name: str) -> None:
    """Raises InputError where results would be written into the very folder that is read.

    Args:
        output: The folder for the results.
        read: The folder that is read.
        name: What that is.
    """
    if output.is_dir() and read.is_dir() and output.samefile(read):
        raise InputError(
            f"{output} is {name} itself",
            expected="another folder for what is made of it",
            found="the same folder",
            fix="choose another output folder with -o",
        )
