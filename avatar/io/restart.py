"""Stages that change a take's files in place: what they start from is kept until they are done.

Killed between two of its writes, such a stage would otherwise start from its own half-finished result.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from avatar.io._files import replacing, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from avatar.io.take import Take

TRACKED = ("motion.npz", "tracking.npz")


@contextmanager
def restartable(take: Take, stage: str, *, names: tuple[str, ...] = TRACKED) -> Iterator[None]:
    """Gives a stage the same files to start from, however often it was stopped before.

    Args:
        take: The take whose files the stage changes.
        stage: Name of the stage.
        names: The files; those that do not exist are not kept.

    Raises:
        InputError: The take cannot be written to.
    """
    kept = _folder(take, stage)
    if kept.is_dir():
        for name in names:
            if (kept / name).is_file():
                replacing(take.path / name, lambda file, name=name: shutil.copyfile(kept / name, file))
    else:
        writing(kept, lambda folder: _keep(take, folder, names))
    yield
    forget_start(take, stage)


def forget_start(take: Take, stage: str) -> None:
    """Drops what was kept for a stage: it is done, or what it starts from is about to be made anew."""
    kept, waste = _folder(take, stage), _waste(_folder(take, stage))
    shutil.rmtree(waste, ignore_errors=True)
    if kept.is_dir():
        # Moved away first: a kill in the midst of removing must not leave a part of it.
        writing(kept, lambda folder: folder.replace(waste))
        shutil.rmtree(waste, ignore_errors=True)


def start_of(take: Take, stage: str, name: str) -> Path:
    """A file as the stage found it, where it is at work or was stopped; else as it is."""
    kept = _folder(take, stage) / name
    return kept if kept.is_file() else take.path / name


def _keep(take: Take, folder: Path, names: tuple[str, ...]) -> None:
    partial = _waste(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in names:
        if (take.path / name).is_file():
            shutil.copyfile(take.path / name, partial / name)
    partial.replace(folder)


def _folder(take: Take, stage: str) -> Path:
    return take.path / f".before-{stage}"


def _waste(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")
