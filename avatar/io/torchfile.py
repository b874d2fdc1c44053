"""Files of ``torch.save``, read as plain arrays: nothing in them is ever called.

Such a file is a zip of a pickle and of raw storages. The unpickler here resolves the few names that tensors and arrays
are made of to functions of its own, and refuses every other name, so that a file cannot run code.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from avatar.errors import FormatError

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
                raise _refusal(path, f"more than {LARGEST >> 20} MB unpacked")
            name = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
            folder = name.removesuffix("data.pkl")
            return _Reader(path, archive.read(name), lambda key: archive.read(f"{folder}data/{key}")).load()
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        StopIteration,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise _refusal(path, str(error) or type(error).__name__) from error


class _Storage:
    """The type of a storage: a name only."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)


class _Array:
    """A NumPy array that is being rebuilt: its content comes with the pickle's state."""

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(data if isinstance(data, bytes) else bytes(data, "latin1"), _plain(dtype))
        self.value = flat.reshape(shape, order="F" if fortran else "C").copy()


class _Type:
    """A NumPy type that is being rebuilt; its state only repeats the byte order."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in "<>|=" else "<"


def _plain(dtype: _Type) -> np.dtype:
    """The type, where it is one of numbers."""
    found = np.dtype(dtype.code).newbyteorder(dtype.order)  # type: ignore[arg-type]
    if found.kind not in "biuf":
        raise ValueError(f"an array of {found}")
    return found


class _Reader(pickle.Unpickler):
    """An unpickler that knows tensors and arrays and nothing else."""

    def __init__(self, path: Path, content: bytes, storage: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(content))
        self._path, self._storage = path, storage

    def load(self) -> Any:
        return _finished(super().load())

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name; raises FormatError for any name without one."""
        core = module.replace("numpy._core", "numpy.core")
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy.core.multiarray", "scalar"): lambda dtype, data: np.frombuffer(data, _plain(dtype))[0].item(),
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): lambda code, *_: _Type(code),
            ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
        }
        if (core, name) in known:
            return known[core, name]
        if module == "torch" and name in DTYPES:
            return _Storage(DTYPES[name])
        return self._refuse(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """A tensor's raw storage."""
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _Storage) or not str(key).isdigit():
            return self._refuse(f"the storage {pid!r}")
        return np.frombuffer(self._storage(str(key)), storage.dtype, count=int(count))

    def _refuse(self, what: str) -> NoReturn:
        raise _refusal(self._path, f"{what}, which is no tensor and no array")


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


def _finished(value: Any) -> Any:
    """The value with rebuilt arrays in place."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _finished(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finished(entry) for entry in value]
    return value


def _refusal(path: Path, found: str) -> FormatError:
    return FormatError(
        f"{path} cannot be read",
        expected="a file of torch.save with tensors, arrays, numbers and texts only",
        found=found,
        fix="use files from a tracker you trust, and write them again with a current version of it",
    )
