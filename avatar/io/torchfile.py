"""Files of ``torch.save``, read as plain arrays: nothing in them is ever called.

Such a file is a zip of a pickle and of raw storages. `avatar.pickles` reads the pickle; here is what tensors become.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from avatar.errors import FormatError
from avatar.pickles import parse_pickle

# Storages by the names that torch gives them, in the byte order of the file, which is little-endian.
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# A frame of a tracker is about 100 kB; a pickle beyond this is something else, or a bomb.
LARGEST = 1 << 28


def read_torch(path: Path) -> Any:
    """Reads what ``torch.save`` wrote: dicts, lists, numbers and texts, with tensors and arrays as NumPy arrays.

    Raises:
        FormatError: The file cannot be read, is larger than 256 MB unpacked, or names anything but tensors and arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise ValueError(f"more than {LARGEST >> 20} MB unpacked")
            name = next((entry for entry in archive.namelist() if entry.endswith("data.pkl")), None)
            if name is None:
                raise ValueError("a zip without data.pkl")
            folder = name.removesuffix("data.pkl")
            content = {entry: archive.read(entry) for entry in archive.namelist()}
    except (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(
            f"{path} cannot be read",
            expected="a file of torch.save with tensors, arrays, numbers and texts only",
            found=str(error) or type(error).__name__,
            fix="use files from a tracker you trust, and write them again with a current version of it",
        ) from error

    def stored(pid: Any) -> np.ndarray:
        """A tensor's raw storage."""
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, str):
            raise ValueError(f"the storage {pid!r}")
        return np.frombuffer(content[f"{folder}data/{key}"], storage, count=int(count))

    known: dict[tuple[str, str], Any] = {("torch", name): dtype for name, dtype in DTYPES.items()}
    known["torch._utils", "_rebuild_tensor_v2"] = _tensor
    known["torch._utils", "_rebuild_parameter"] = _parameter
    return parse_pickle(content[name], name=str(path), persistent=stored, known=known)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """The view of a storage that a tensor is; raises ValueError where it would reach beyond it."""
    if len(size) != len(stride) or offset < 0 or any(step < 0 for step in (*size, *stride)):
        raise ValueError("a tensor of impossible shape")
    if 0 in size:
        return np.zeros(size, storage.dtype)
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if last >= len(storage):
        raise ValueError("a tensor that reaches beyond its storage")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()
