"""Writing an export whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar.errors import InputError
from avatar.io._files import not_writable
from avatar.render.motions import neutral_motion

if TYPE_CHECKING:
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.render.export.formats import ExportFormat


def export_avatar(
    stored: StoredAvatar,
    output: Path,
    kind: ExportFormat,
    *,
    moment: Motion | None = None,
    motion: Motion | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Writes an avatar in a format and returns the figures of what was written.

    It is written in a hidden folder beside its place and moved there once it is whole; what the user interrupts or
    what goes wrong leaves nothing behind, and an earlier file as it was.

    Args:
        stored: The avatar.
        output: Where to; missing folders above it are made. A file is replaced, a folder never.
        kind: The format.
        moment: The one moment that a still export shows; the neutral pose when None.
        motion: The whole motion that an animation plays.
        more: What the format's writer takes beyond that, as `export_web` does.

    Raises:
        InputError: The place cannot be written to, or is taken.
    """
    check_output(output, kind)
    moment = neutral_motion(stored.gaussians) if moment is None else moment
    with written_whole(output) as target:
        figures = kind.writer()(stored, target, moment=moment, motion=motion, **more) or {}
    return {"output": str(output), "bytes": size_of(output), **figures}


@contextmanager
def written_whole(output: Path) -> Iterator[Path]:
    """Yields a place beside `output` to write a file or folder to, which is moved there at the end.

    Where something goes wrong nothing is left behind. An empty folder at `output` makes room.

    Raises:
        InputError: The place cannot be written to.
    """
    made = [folder for folder in output.absolute().parents if not folder.exists()]
    whole = False
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=output.parent) as place:
            target = Path(place, output.name)
            yield target
            if target.is_dir() and output.is_dir():
                output.rmdir()
            target.replace(output)
            whole = True
    except OSError as error:
        raise not_writable(output, error) from error
    finally:
        if not whole and made:
            shutil.rmtree(made[-1], ignore_errors=True)


def check_output(output: Path, kind: ExportFormat) -> None:
    """Raises InputError for an output that cannot take the format."""
    if kind.is_folder:
        check_new_folder(output)
        return
    if output.is_dir():
        raise InputError(
            f"{output} is a folder",
            expected=f"a file name that ends in {' or '.join(kind.suffixes)}",
            found="a folder",
            fix=f"write into it with: -o {output / ('avatar' + kind.suffixes[0])}",
        )
    if not output.name.lower().endswith(kind.suffixes):
        raise InputError(
            f"The name {output.name} does not fit the format",
            expected=f"a name that ends in {' or '.join(kind.suffixes)}",
            found=output.suffix or "no suffix",
            fix="choose another --output or another --format",
        )


def check_new_folder(output: Path) -> None:
    """Raises InputError where something is in a folder's place already."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(
            f"{output} is there already",
            expected="a folder that does not exist yet",
            found="a folder with files in it" if output.is_dir() else "a file",
            fix="choose another output path, or remove it",
        )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
