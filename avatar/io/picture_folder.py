"""Pictures as numbered PNG files in a folder, for tools that composite: 8 or 16 bits, with or without transparency."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from avatar.config import write_json
from avatar.errors import InputError
from avatar.io._files import check_place, not_writable, write_png
from avatar.io.audio import write_wav

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

SEQUENCE = "sequence.json"


def check_picture_folder(path: Path) -> None:
    """Raises InputError where something is in the way of a folder of pictures, or none can be made."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path} is in the way",
            expected="a folder that is not there yet, or an empty one",
            found="a folder with files" if path.is_dir() else "a file",
            fix="choose another output, or remove it",
        )
    check_place(path, folder=True)


class PictureFolder:
    """Writes 00000.png, 00001.png … into a folder; a context manager, as `VideoWriter` is.

    The folder appears under its name only when the block ends without an exception. ``sequence.json`` in it says the
    frame rate and the number of pictures.

    Args:
        path: The folder; it must not exist, or be empty.
        fps: Frames a second.
        audio: Samples or blocks of them and their rate in Hz, written as ``sound.wav``.
        facts: More for ``sequence.json``.

    Raises:
        InputError: The folder has something in it, or cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: Fraction,
        audio: tuple[Float[np.ndarray, "N ..."] | Iterable[Float[np.ndarray, "N ..."]], int] | None = None,
        facts: dict[str, float | str] | None = None,
    ) -> None:
        self.path, self.frames = Path(path), 0
        self._fps, self._audio, self._facts = fps, audio, facts or {}
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        check_picture_folder(self.path)
        try:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise not_writable(self.path, error) from error

    def write(self, image: Shaped[np.ndarray, "H W *C"]) -> None:
        """Adds the next picture: grey, RGB or RGBA with straight alpha, uint8 or uint16."""
        write_png(self._partial / f"{self.frames:05d}.png", image)
        self.frames += 1

    def __enter__(self) -> PictureFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _finish(self) -> None:
        if self._audio is not None:
            write_wav(self._partial / "sound.wav", self._audio[0], rate=self._audio[1])
        rate = [self._fps.numerator, self._fps.denominator]
        write_json(self._partial / SEQUENCE, {"fps": rate, "pictures": self.frames} | self._facts)
        if self.path.is_dir():
            self.path.rmdir()
        self._partial.replace(self.path)
