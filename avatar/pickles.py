"""Pickles that other people's tools wrote, read as plain data: nothing of the file is ever called or imported.

Only what published head models and tracker exports hold is understood: containers, numbers, text, numpy arrays and
scalars, scipy's compressed sparse matrices, and chumpy's arrays, none of whose packages take part. Each is rebuilt from
its raw bytes by this module, numpy's included, since numpy's own unpickling trusts the types and sizes it is told. Any
other name in the file refuses it.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from scipy import sparse

from avatar.errors import FormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LARGEST_FILE = 2 << 30
DEEPEST = 50
# Booleans, integers, floats and fixed-length text; never objects or records, whose bytes numpy would trust.
PLAIN_TYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")
# What a broken or hostile stream makes Python's unpickler raise.
BROKEN = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError),
    *(TypeError, ValueError, OverflowError, MemoryError, RecursionError),
)


def read_pickle(path: Path) -> Any:
    """The plain content of a pickle file, of Python 2 or 3.

    Arrays come as numpy arrays (sparse ones as scipy's), chumpy's as the arrays they hold.

    Raises:
        InputError: There is no such file, or it is too large.
        FormatError: It is no pickle, it is damaged, or it holds anything but plain data; the name it asked for is told.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"{path} is too large", expected="a pickle under 2 GiB", found=f"{size} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read", expected="a pickle file", found=str(error.strerror)) from error
    return parse_pickle(content, name=str(path))


def parse_pickle(
    content: bytes,
    *,
    name: str,
    persistent: Callable[[Any], Any] | None = None,
    known: Mapping[tuple[str, str], Any] | None = None,
) -> Any:
    """The plain content of a pickle in memory.

    Args:
        content: The pickle.
        name: What to call it in errors.
        persistent: Resolves the persistent ids of archives that keep arrays beside the pickle; none are allowed
            without it.
        known: What stands for further (module, name) pairs that the file may use; functions that return numpy arrays.

    Raises:
        FormatError: As `read_pickle`.
    """
    reader = _PlainUnpickler(io.BytesIO(content), name, persistent, {**_names(), **(known or {})})
    try:
        return _resolved(reader.load(), 0)
    except FormatError:
        raise
    except BROKEN as error:
        raise FormatError(
            f"{name} cannot be read as a pickle of plain data",
            expected="an undamaged pickle of arrays",
            found=str(error) or type(error).__name__,
            fix="get the file again, whole, or name another; what a download page saved may be a web page",
        ) from error


class _Sealed(type):
    """Classes that a pickle's BUILD instruction cannot change."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError(f"an attempt to change {cls.__name__}.{name}")


class _Object(metaclass=_Sealed):
    """Stands for `object`, which Python 2's instances name as their base."""


class _Type(metaclass=_Sealed):
    """A numpy dtype by its name; the flags of its state are ignored but for the byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not PLAIN_TYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"an array of the type {code!r}, which is no plain number")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(metaclass=_Sealed):
    """A numpy array; empty until its state arrives."""

    value: np.ndarray

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        self.value = _array(raw, kind, shape, "F" if fortran else "C")


class _Chumpy(metaclass=_Sealed):
    """A chumpy array: only the numbers it holds are kept, none of its graph."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Sparse(metaclass=_Sealed):
    """A compressed sparse matrix's arrays; the subclass says along which axis."""

    build: Callable[..., Any] = sparse.csc_matrix

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _SparseRows(_Sparse):
    build: Callable[..., Any] = sparse.csr_matrix


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("an array of a subclass of numpy's")
    return _Array()


def _scalar(kind: Any, raw: Any = b"") -> _Array:
    result = _Array()
    result.value = _array(raw, kind, (), "C")
    return result


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    result = _Array()
    result.value = _array(raw, kind, shape, order if order in ("C", "F") else "C")
    return result


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """The array of raw bytes, after the sizes were compared."""
    if not isinstance(kind, _Type):
        raise pickle.UnpicklingError("an array without a plain type")
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("an array whose content is no bytes")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise pickle.UnpicklingError(f"an array of shape {sizes}")
    flat = np.frombuffer(raw, kind.dtype)
    if flat.size != int(np.prod(sizes, dtype=object)):
        raise pickle.UnpicklingError(f"{flat.size} numbers for an array of shape {sizes}")
    return flat.reshape(sizes, order=order).astype(kind.dtype.newbyteorder("="))


def _new_instance(kind: Any, base: Any = _Object, state: Any = None) -> Any:
    """Python 2's way to make an instance without calling its class."""
    if kind not in (_Chumpy, _Sparse, _SparseRows) or base is not _Object:
        raise pickle.UnpicklingError("an instance of something unknown")
    return kind()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes into pickles that Python 2 can read."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


def _names() -> dict[tuple[str, str], Any]:
    """What stands for each name that a file may use."""
    known: dict[tuple[str, str], Any] = {
        ("_codecs", "encode"): _encode,
        ("copy_reg", "_reconstructor"): _new_instance,
        ("copyreg", "_reconstructor"): _new_instance,
        ("__builtin__", "object"): _Object,
        ("builtins", "object"): _Object,
        ("collections", "OrderedDict"): dict,
        ("__builtin__", "set"): list,
        ("builtins", "set"): list,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("chumpy.ch", "Ch"): _Chumpy,
        ("chumpy", "Ch"): _Chumpy,
    }
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        known[f"{core}.multiarray", "scalar"] = _scalar
        known[f"{core}.numeric", "_frombuffer"] = _from_buffer
    for name, stand_in in (("csc", _Sparse), ("csr", _SparseRows)):
        for module in (f"scipy.sparse.{name}", f"scipy.sparse._{name}"):
            known[module, f"{name}_matrix"] = known[module, f"{name}_array"] = stand_in
    return known


class _PlainUnpickler(pickle.Unpickler):
    """Python's unpickler with its only door to code, `find_class`, bricked up."""

    def __init__(
        self,
        stream: io.BytesIO,
        name: str,
        persistent: Callable[[Any], Any] | None,
        known: Mapping[tuple[str, str], Any],
    ) -> None:
        # Without the fixed imports every name arrives as the file spells it, Python 2's too.
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self._name, self._known, self._persistent = name, known, persistent

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return self._known[module_name, global_name]
        except KeyError:
            raise FormatError(
                f"{self._name} is refused: it holds more than plain data",
                expected="numbers, text, and arrays of numpy, scipy.sparse and chumpy",
                found=f"a request for {module_name}.{global_name}, which was not run",
                fix="get the file from its publisher again; a file that asks for this may be an attack",
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("a reference to data outside the file")
        return self._persistent(pid)


def _resolved(value: Any, depth: int) -> Any:
    """The content with every stand-in replaced by what it stands for."""
    if depth > DEEPEST:
        raise pickle.UnpicklingError(f"containers nested more than {DEEPEST} deep")
    if isinstance(value, _Array):
        return value.value if value.value.ndim else value.value[()]
    if isinstance(value, _Chumpy):
        return _chumpy_value(value, depth)
    if isinstance(value, _Sparse):
        return _sparse_value(value)
    if isinstance(value, dict):
        return {_resolved(key, depth + 1): _resolved(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolved(entry, depth + 1) for entry in value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.ndarray):
        return value
    raise pickle.UnpicklingError(f"something that is no plain data ({type(value).__name__})")


def _chumpy_value(value: _Chumpy, depth: int) -> np.ndarray:
    if "x" not in value.state:
        raise pickle.UnpicklingError("a chumpy expression; only chumpy arrays that hold numbers can be read")
    return np.asarray(_resolved(value.state["x"], depth + 1))


def _sparse_value(value: _Sparse) -> Any:
    data, indices, indptr = (_resolved(value.state.get(name), 0) for name in ("data", "indices", "indptr"))
    shape = value.state.get("_shape", value.state.get("shape"))
    whole = all(isinstance(part, np.ndarray) and part.ndim == 1 for part in (data, indices, indptr))
    if not whole or not isinstance(shape, tuple) or len(shape) != 2:
        raise pickle.UnpicklingError("a sparse matrix without its arrays")
    result = type(value).build((data, indices, indptr), shape=tuple(int(size) for size in shape))
    # scipy trusts the indices of what it is given.
    result.check_format(full_check=True)
    return result
