"""Files written complete or not at all, with the errors a user should see."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.errors import FormatError, InputError

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from torch import Tensor

NOT_FOR_LACK_OF_ROOM = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


def peak_memory() -> float:
    """Largest resident memory of this process so far in MB; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def damaged(path: Path, expected: str, found: object) -> FormatError:
    """The error of a file in a take that is not what its name says."""
    return FormatError(
        f"{path} cannot be read", expected=expected, found=str(found), fix="preprocess the recording into a new take"
    )


def read_png(path: Path, *, color: bool = False) -> np.ndarray:
    """Reads a PNG as RGB or grey; raises FormatError where it is missing or none."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise damaged(path, "a PNG image", error.strerror) from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE) if len(data) else None
    if image is None:
        raise damaged(path, "a PNG image", f"{len(data)} bytes of something else")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if color else image


def write_png(path: Path, image: Shaped[np.ndarray, "H W *C"]) -> None:
    """Writes grey, RGB or RGBA of 8 or 16 bits, complete or not at all; raises InputError where that cannot be."""
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    stored = cv2.cvtColor(image, swap[image.shape[2]]) if image.ndim == 3 else image
    # One fixed filter and level 1 halve the time of writing and of reading against the encoder's own choice of filters.
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    data = cv2.imencode(".png", stored, settings)[1].tobytes()
    replacing(path, lambda file: file.write_bytes(data))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes safetensors, complete or not at all, wherever the tensors lie; raises InputError where that cannot be."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    on_cpu = {name: value.cpu() for name, value in tensors.items()}

    def save(file: Path) -> None:
        try:
            save_file(on_cpu, file, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # The library tells of a full disk in words only.
            raise OSError(str(error)) from error

    replacing(path, save)


def replacing(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its place, then moves it there; where that fails nothing is left of it."""
    partial = path.with_name(f".partial.{path.name}")

    def write_and_move(target: Path) -> None:
        try:
            write(partial)
            partial.replace(target)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    writing(path, write_and_move)


def writing(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write(path)`; raises InputError where the file system refuses."""
    try:
        write(path)
    except OSError as error:
        raise not_writable(path, error) from error


def check_place(path: Path, *, folder: bool = False) -> None:
    """Raises InputError where no file, or no `folder`, can be written at a path; asked before anything long is done."""
    if path.is_dir() and not folder:
        raise not_writable(path, IsADirectoryError(errno.EISDIR, "a folder of that name"))
    places = (path, *path.absolute().parents) if folder else path.absolute().parents
    place = next(each for each in places if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise not_writable(path, PermissionError(errno.EACCES, f"{place} is write-protected"))


def not_writable(path: Path, error: OSError) -> InputError:
    """What to say where the file system refuses to take a file or a folder."""
    blocked = next((each for each in path.parents if each.is_file()), None)
    full = blocked is None and error.errno not in NOT_FOR_LACK_OF_ROOM
    return InputError(
        f"{path} cannot be written",
        expected="a folder that can be written to",
        found=f"{blocked} is a file" if blocked else error.strerror or str(error),
        fix="choose another output path" + (", or make room on the disk" if full else ""),
    )
