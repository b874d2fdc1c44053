"""The user's own head models: converted once, kept in one folder, found by name."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.assets import asset
from avatar.errors import InputError
from avatar.heads.layout import read_head, write_head

if TYPE_CHECKING:
    from avatar.heads.layout import HeadLayout

# The shipped heads, by the name a person types and by the id that files keep.
SHIPPED = {"open": "open_head.npz", "open-1": "open_head.npz"}
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class HeadRow:
    """One line of ``avatar heads list``.

    Attributes:
        name: The head; what ``--head`` takes and what takes and avatars keep.
        shipped: Whether it comes with this package.
        vertices: How many vertices it has.
        identity: Identity directions.
        expressions: Expression directions.
        actions: ARKit actions in its expression basis.
        licence: Licence of its data.
        content: The first digits of its content hash.
        path: Where it lies.
    """

    name: str
    shipped: bool
    vertices: int
    identity: int
    expressions: int
    actions: int
    licence: str
    content: str
    path: str

    @classmethod
    def of(cls, name: str, layout: HeadLayout, path: Path) -> HeadRow:
        """The line of a head."""
        return cls(
            name=name,
            shipped=name in SHIPPED,
            vertices=len(layout.v_template),
            identity=layout.shapedirs.shape[-1],
            expressions=layout.exprdirs.shape[-1],
            actions=len(layout.arkit_names),
            licence=layout.licence,
            content=layout.hash[:12],
            path=str(path),
        )


def heads_folder() -> Path:
    """The folder of imported heads: ``$HEADSPLAT_HEADS``, else ``headsplat/heads`` in the platform's data folder.

    Not in the cache: what lies there can be fetched again, and avatars need these.
    """
    chosen = os.environ.get("HEADSPLAT_HEADS")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "headsplat" / "heads"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "headsplat" / "heads"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "headsplat" / "heads"


def head_path(name_or_path: str | Path) -> Path:
    """The file of a head: shipped or imported by name, or an npz by path.

    Raises:
        InputError: There is none.
    """
    name = str(name_or_path)
    if name in SHIPPED:
        return asset(SHIPPED[name])
    if NAME.fullmatch(name) and (heads_folder() / f"{name}.npz").is_file():
        return heads_folder() / f"{name}.npz"
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise InputError(
        f"There is no head model {name_or_path}",
        expected=f"one of {', '.join([*SHIPPED, *imported()])}, or the path of an npz in the head layout",
        fix="import your copy of the model with: avatar heads import PATH",
    )


def imported() -> list[str]:
    """Names of the imported heads."""
    return sorted(path.stem for path in heads_folder().glob("*.npz") if NAME.fullmatch(path.stem))


def check_name(name: str) -> str:
    """A name that an imported head may have.

    Raises:
        InputError: It is a shipped head's, or no file could have it everywhere.
    """
    if name in SHIPPED or not NAME.fullmatch(name):
        raise InputError(
            f"A head cannot be named {name}",
            expected=f"small letters, digits, points and dashes, and none of {', '.join(SHIPPED)}",
            fix="choose another with --name",
        )
    return name


def keep_head(layout: HeadLayout) -> Path:
    """Writes an imported head under its id; the same model may be written again.

    Raises:
        InputError: Another model has the name: takes and avatars made with it would lose their head.
    """
    path = heads_folder() / f"{check_name(layout.id)}.npz"
    fresh = path.with_name(f".{layout.id}.partial.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_head(fresh, layout)
    try:
        # The hash is that of the numbers as stored.
        if path.is_file() and read_head(path).hash != read_head(fresh).hash:
            raise InputError(
                f"There is another head named {layout.id}",
                expected="a name that is free, or the same model again",
                found=f"other content in {path}",
                fix="choose another with --name, or delete that file if no take or avatar needs it",
            )
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def heads() -> list[HeadRow]:
    """Every head that can be named, the shipped one first."""
    return [HeadRow.of(name, read_head(head_path(name)), head_path(name)) for name in ("open", *imported())]
