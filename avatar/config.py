"""Configuration of the stages: frozen dataclasses, stored as JSON beside each result."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from avatar.errors import FormatError

T = TypeVar("T")


def write_json(path: Path, value: Any) -> None:
    """Writes a dataclass or plain value as indented JSON, through a temporary file so that no half file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def read_json(path: Path, kind: type[T]) -> T:
    """Reads and checks JSON against a dataclass (or ``dict``); raises FormatError when it does not fit."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise FormatError(
            f"{path} cannot be read",
            expected=f"JSON of {kind.__name__}",
            found=str(error),
            fix="restore the file from a copy, or make the folder it belongs to again",
        ) from error
