"""Pictures of one size in a file: read and written one at a time, so that none of them stays in memory."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.io._files import writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import UInt8


class FrameFile:
    """T pictures of bytes, (H, W) or (H, W, C) each.

    Unlike a memory-mapped array its pages are the system's and not the process's, however much of it was looked at.

    Args:
        path: The file to make.
        shape: (T, H, W) or (T, H, W, C).

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape
        self._size = int(np.prod(shape[1:]))
        writing(path, lambda file: file.write_bytes(b""))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "H W *C"]:
        data = np.fromfile(self.path, np.uint8, self._size, offset=index * self._size)
        return data.reshape(self.shape[1:])

    def __setitem__(self, index: int, picture: np.ndarray) -> None:
        content = np.ascontiguousarray(picture.reshape(self.shape[1:]), dtype=np.uint8)

        def write(path: Path) -> None:
            with path.open("r+b") as file:
                file.seek(index * self._size)
                file.write(content.tobytes())

        writing(self.path, write)


@contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; what a killed run has left in it is gone before."""
    shutil.rmtree(path, ignore_errors=True)
    writing(path, lambda folder: folder.mkdir(parents=True))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
