"""Sound of any length: a media file's samples block by block, or in slices from disk, never all of them at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import InputError
from avatar.io.audio import SoundFacts, audio_blocks

if TYPE_CHECKING:
    from jaxtyping import Float

# Samples are kept in memory up to this many bytes: two minutes at 16 kHz.
_IN_MEMORY = 8 << 20


@dataclass(frozen=True)
class SoundFile:
    """A media file's first sound track as mono blocks, decoded anew each time it is iterated over.

    Attributes:
        path: Any media file with sound.
        rate: Samples a second of the blocks.
        start: Seconds of the file's clock from which on it is wanted.
        end: Likewise; to its end when None.
    """

    path: Path
    rate: int
    start: float = 0.0
    end: float | None = None

    def __iter__(self) -> Iterator[Float[np.ndarray, " N"]]:
        place, first = 0, round(self.start * self.rate)
        last = None if self.end is None else round(self.end * self.rate)
        for block in audio_blocks(self.path, rate=self.rate):
            wanted = block[max(0, first - place) : None if last is None else max(0, last - place)]
            place += len(block)
            if len(wanted):
                yield wanted
            if last is not None and place >= last:
                return


class StoredSound:
    """Mono samples in a temporary file: has a length, gives slices, and is a context manager.

    What asks for an array gets one with all samples in memory.

    Args:
        blocks: The samples, block by block.
        rate: Samples a second.
    """

    def __init__(self, blocks: Iterable[Float[np.ndarray, " N"]], rate: int) -> None:
        self.rate, self._count = rate, 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        try:
            for block in blocks:
                self._file.write(np.asarray(block, np.float32).tobytes())
                self._count += len(block)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, wanted: slice) -> Float[np.ndarray, " N"]:
        start, stop, step = wanted.indices(self._count)
        self._file.seek(4 * start)
        return np.frombuffer(bytearray(self._file.read(4 * max(stop - start, 0))), np.float32)[::step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __enter__(self) -> StoredSound:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def store_sound(path: Path, *, rate: int) -> tuple[StoredSound, SoundFacts]:
    """A file's sound as `StoredSound`, and what it is like; raises InputError where it has none."""
    facts = SoundFacts()
    sound = StoredSound(audio_blocks(path, rate=rate, facts=facts), rate)
    if not len(sound):
        sound.__exit__()
        raise InputError(
            f"{path} has no sound",
            expected="an audio or video file with speech",
            found="no sound track" if not facts.rate else "a sound track without a sample",
            fix="choose another --audio",
        )
    return sound, facts
