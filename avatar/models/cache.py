"""The user's cache of pretrained parts: where it lies, and whether what lies there is right."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from avatar.models.registry import PARTS, Part, part_named


@dataclass(frozen=True)
class PartRow:
    """One line of ``avatar models list``.

    Attributes:
        name: The part.
        purpose: What it is for.
        size: Bytes.
        licence: SPDX identifier.
        required: Whether the main pipeline needs it.
        cached: Whether a file of the right size lies in the cache.
        path: Where it lies, or would lie.
        sources: Where it comes from, in order.
        note: What a reader should know about the sources.
    """

    name: str
    purpose: str
    size: int
    licence: str
    required: bool
    cached: bool
    path: str
    sources: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class CheckRow:
    """One line of ``avatar models verify``.

    Attributes:
        name: The part.
        status: ``ok``, ``missing``, or ``corrupt`` when the checksum disagrees.
        path: Where it lies, or would lie.
        expected: The right SHA-256.
        found: The file's SHA-256; empty when missing.
    """

    name: str
    status: Literal["ok", "missing", "corrupt"]
    path: str
    expected: str
    found: str


def cache_folder() -> Path:
    """The folder of the parts: ``$HEADSPLAT_CACHE``, else ``headsplat`` in the platform's cache folder."""
    chosen = os.environ.get("HEADSPLAT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "headsplat"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "headsplat" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headsplat"


def path_of(part: Part) -> Path:
    """Where `part` lies once fetched; a file put there by hand is as good."""
    return cache_folder() / part.filename


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _sha256_of_state(path: Path, size: int, modified: int) -> str:
    return sha256_of(path)


def cached_sha256(part: Part) -> str | None:
    """SHA-256 of the part's file in the cache, None where there is none.

    The file is read once per process and again only when its size or its time changes.
    """
    path = path_of(part)
    try:
        state = path.stat()
    except OSError:
        return None
    return _sha256_of_state(path, state.st_size, state.st_mtime_ns)


def is_cached(name: str, *, registry: Mapping[str, Part] = PARTS) -> bool:
    """Whether the part lies in the cache with the right checksum, so that `fetch` needs no network."""
    part = part_named(name, registry)
    path = path_of(part)
    # A wrong size is known without reading the file.
    return path.is_file() and path.stat().st_size == part.size and cached_sha256(part) == part.sha256


def parts(*, registry: Mapping[str, Part] = PARTS) -> list[PartRow]:
    """Every part with its licence and whether it is here, without reading the files."""
    rows = []
    for part in registry.values():
        path = path_of(part)
        here = path.is_file() and path.stat().st_size == part.size
        sources = tuple(str(source) for source in part.sources)
        rows.append(
            PartRow(
                part.name, part.purpose, part.size, part.licence, part.required, here, str(path), sources, part.note
            )
        )
    return rows


def verify(name: str | None = None, *, registry: Mapping[str, Part] = PARTS) -> list[CheckRow]:
    """Checks the cached file of one part, or of all, against the registry's checksum; reads every byte again."""
    rows = []
    for part in registry.values() if name is None else [part_named(name, registry)]:
        path = path_of(part)
        if not path.is_file():
            rows.append(CheckRow(part.name, "missing", str(path), part.sha256, ""))
            continue
        found = sha256_of(path)
        rows.append(CheckRow(part.name, "ok" if found == part.sha256 else "corrupt", str(path), part.sha256, found))
    return rows
