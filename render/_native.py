"""The C++ library: which build to load, and memory that is used again.

The wheel carries one library per instruction set, built from `csrc/`; the best one the processor can run is opened by
ctypes. Contexts and output memory are recycled, because freshly mapped pages cost as much as a small render.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import os
import platform
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from avatar.errors import BackendError, SlowBackendWarning
from avatar.render._signatures import DOUBLE, FLOAT, SIGNATURES, rigged_structure

ISAS = ("avx512", "avx2", "neon", "baseline")
# The build that every processor of this kind runs; it knows which of the others this one runs.
BASELINE = "neon" if platform.machine().lower() in {"aarch64", "arm64"} else "baseline"
# The build of the same sources in double precision, for derivatives by differences; its Adam takes single precision.
FLOAT64 = "float64"

STATUS_OUT_OF_MEMORY, STATUS_NOT_FINITE, STATUS_TOO_MANY = 1, 2, 3

HOW_TO_INSTALL = (
    "install a C++ compiler (`apt install g++`, or `xcode-select --install` on macOS), then headsplat again: "
    "`pip install -e .` in a checkout, `pip install --force-reinstall --no-cache-dir --no-deps headsplat` elsewhere"
)


class Library:
    """One build of the native code.

    Attributes:
        isa: Instruction set it was built for.
        states: Contexts of renders, one held from a forward pass to the end of its backward pass.
        losses: Work memory of the fused loss.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._dll = ctypes.CDLL(str(path))
        except OSError as error:
            raise BackendError(
                "the native rasteriser cannot be opened",
                expected=f"a library for {platform.machine()} at {path}",
                found=str(error),
                fix=HOW_TO_INSTALL,
            ) from error
        for name, (arguments, result) in SIGNATURES.items():
            function = getattr(self._dll, name)
            function.argtypes, function.restype = arguments, result
        self.isa: str = self._dll.headsplat_isa().decode()
        self.best_isa: str = self._dll.headsplat_best_isa().decode()
        self.render: Callable[..., int] = self._dll.headsplat_render
        self.render_backward: Callable[..., int] = self._dll.headsplat_render_backward
        self.render_rigged: Callable[..., int] = self._dll.headsplat_render_rigged
        self.render_rigged_backward: Callable[..., int] = self._dll.headsplat_render_rigged_backward
        self.rigged_structure = rigged_structure(DOUBLE if self.isa == FLOAT64 else FLOAT)
        self.l1_dssim: Callable[..., int] = self._dll.headsplat_l1_dssim
        self.adam: Callable[..., None] = self._dll.headsplat_adam
        self.adam_outer: Callable[..., None] = self._dll.headsplat_adam_outer
        self.compose: Callable[..., None] = self._dll.headsplat_compose
        self.states = HandlePool(self._dll.headsplat_state_new, self._dll.headsplat_state_free)
        self.losses = HandlePool(self._dll.headsplat_loss_new, self._dll.headsplat_loss_free)


class HandlePool:
    """Native objects that keep their memory between uses; safe to share between threads."""

    def __init__(self, new: Callable[[], int | None], free: Callable[[int], None], *, keep: int = 32) -> None:
        self._new, self._free, self._keep = new, free, keep
        self._idle: deque[int] = deque()

    def take(self) -> int:
        """An idle handle, or a new one."""
        try:
            return self._idle.pop()
        except IndexError:
            handle = self._new()
        if handle is None:
            raise MemoryError("the rasteriser could not allocate a context")
        return handle

    def give(self, handle: int) -> None:
        """Returns a handle for the next taker."""
        if len(self._idle) < self._keep:
            self._idle.append(handle)
        else:
            self._free(handle)


def library_path(isa: str) -> Path:
    """Where the build for an instruction set is installed."""
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    return Path(__file__).parent / f"_headsplat_{isa}{suffix}"


@functools.cache
def is_installed(isa: str = BASELINE) -> bool:
    """Whether a build of the library is here; without the baseline build torch does its work."""
    return library_path(isa).is_file()


def default_backend(dtype: torch.dtype) -> Literal["cpu", "torch"]:
    """The backend for CPU tensors: plain torch, with one warning in a process, where the library is missing."""
    if not is_installed():
        _warn_of_torch()
    return "cpu" if is_installed(FLOAT64 if dtype == torch.float64 else BASELINE) else "torch"


@functools.cache
def _warn_of_torch() -> None:
    text = (
        f"The native rasteriser is not installed, and plain torch is about 100 times slower. To do: {HOW_TO_INSTALL}."
    )
    warnings.warn(text, SlowBackendWarning, stacklevel=5)


@functools.cache
def load_library(isa: str | None = None) -> Library:
    """Opens the native library.

    Args:
        isa: One of `ISAS`, or `FLOAT64`; the best this processor runs when None.

    Raises:
        BackendError: The library is not installed, or this processor cannot run the one asked for.
    """
    required = FLOAT64 if isa == FLOAT64 else BASELINE
    if not is_installed(required):
        raise BackendError(
            "the native rasteriser is missing",
            expected=str(library_path(required)),
            found="no such file",
            fix=HOW_TO_INSTALL,
        )
    if isa == FLOAT64:
        return Library(library_path(isa))
    wanted = available_isas()[0] if isa is None else isa
    if wanted not in available_isas():
        raise BackendError(
            f"this machine has no native rasteriser for instruction set {wanted!r}",
            expected=f"one of {', '.join(available_isas())}",
            found=repr(wanted),
            fix="leave isa at None",
        )
    return Library(library_path(wanted))


@functools.cache
def available_isas() -> tuple[str, ...]:
    """Instruction sets that are installed and that this processor runs, best first; none without the library."""
    if not is_installed():
        return ()
    best = Library(library_path(BASELINE)).best_isa
    return tuple(isa for isa in ISAS[ISAS.index(best) :] if is_installed(isa))


@functools.cache
def default_threads() -> int:
    """Threads used when the caller does not say: the processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Outputs in use return here when their last tensor goes; at most this many blocks wait for another taker.
_idle_blocks: deque[ctypes.Array] = deque(maxlen=32)


@functools.lru_cache(maxsize=64)
def _lease_type(count: int) -> type[Any]:
    """A float array over borrowed memory that gives the memory back when it is collected."""

    def give_back(self, idle=_idle_blocks) -> None:
        idle.append(self.block)

    return type("Lease", (ctypes.c_float * count,), {"__del__": give_back})


def recycled_empty(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """A CPU tensor of undefined values; float32 and uint8 lie in memory used before, if there is any of that size."""
    count = math.prod(shape)
    if dtype == torch.uint8:
        return recycled_empty(((count + 3) // 4,)).view(torch.uint8)[:count].view(shape)
    if count == 0 or dtype != torch.float32:
        return torch.empty(shape, dtype=dtype)
    block = None
    for _ in range(len(_idle_blocks)):
        try:
            candidate = _idle_blocks.pop()
        except IndexError:
            break
        if len(candidate) == count:
            block = candidate
            break
        _idle_blocks.appendleft(candidate)
    if block is None:
        block = (ctypes.c_float * count)()
    lease = _lease_type(count).from_address(ctypes.addressof(block))
    lease.block = block
    return torch.frombuffer(lease, dtype=torch.float32).view(shape)


class _Ticket(ctypes.c_int64 * 1):
    """The number of a set of leased states; the states are given back when the ticket is collected."""

    leases: StateLeases

    def __del__(self) -> None:
        self.leases.end(self[0])


class StateLeases:
    """States held between a forward pass and its backward pass, known by the number in a tensor.

    The tensor's storage owns the lease: autograd keeps the tensor as long as a backward pass may come, and when the
    graph is dropped, with or without one, the states return to their pool.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[Library, list[int]]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def begin(self, library: Library, states: list[int]) -> Tensor:
        """Takes over the states; returns an int64 tensor (1,) that stands for them."""
        with self._lock:
            number = next(self._numbers)
            self._held[number] = (library, states)
        ticket = _Ticket(number)
        ticket.leases = self
        return torch.frombuffer(ticket, dtype=torch.int64)

    def find(self, ticket: Tensor) -> tuple[Library, list[int]]:
        """The library and the states a ticket stands for."""
        held = self._held.get(int(ticket.item()))
        if held is None:
            raise BackendError(
                "the saved state of this render is gone",
                expected="the state tensor the forward pass returned",
                found="a copy that outlived it",
                fix="call rasterize again",
            )
        return held

    def end(self, number: int) -> None:
        """Returns the states of a ticket to their pool."""
        library, states = self._held.pop(number)
        for state in states:
            library.states.give(state)


state_leases = StateLeases()
