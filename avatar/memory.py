"""How much memory the process may take: parsed, watched while it works, and what is left of it for keeping frames."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from avatar.errors import InputError, MemoryLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")
Items = TypeVar("Items", bound="Sliceable")
UNITS = ("", "K", "M", "G", "T")
PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?")
# What the libraries and models take, what a frame leaves in memory (landmarks, motion and their copies), and what a
# pixel of the pictures in work does, as measured (docs/measurements.md).
BASE, PER_FRAME, PER_PIXEL = 1000 * 10**6, 35_000, 500
# Training needs this beside the frames that it keeps.
RESERVE = 250 * 10**6
LARGEST_DEFAULT = 4 * 10**9
# The memory is looked at so often, seconds; so many looks in a row above the limit stop the work.
INTERVAL, PATIENCE = 0.1, 3


class Sliceable(Protocol):
    """What has a length and parts: arrays, tensors, lists."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Any: ...


def parse_size(text: str) -> int:
    """Bytes of a text such as ``2G``, ``1500M`` or ``1.5GiB``; raises InputError for anything else."""
    match = PATTERN.fullmatch(text.strip().upper())
    if match is None or float(match[1]) <= 0:
        raise InputError(
            "The option --max-memory cannot be used",
            expected="a size such as 2G or 1500M",
            found=text,
            fix="leave it out to let the machine's memory decide",
        )
    number, unit, binary = match.groups()
    return round(float(number) * (1024 if binary else 1000) ** UNITS.index(unit))


def smallest_limit(frames: int, side: int) -> int:
    """Bytes that a clip of so many frames needs with pictures of `side` pixels."""
    return BASE + PER_FRAME * frames + PER_PIXEL * side**2


def resident() -> int:
    """Bytes of this process in memory now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def available() -> int:
    """Bytes that this machine, or the container it is, has free; 0 where the system does not say."""
    free = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        rows = Path("/proc/meminfo").read_text().splitlines()
        free.append(int(next(row for row in rows if row.startswith("MemAvailable")).split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(min(free, default=0), 0)


def give_back() -> None:
    """Returns what was freed to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on the machine or on its GPU (torch.OutOfMemoryError)."""
    text = str(error).lower()
    told = any(words in text for words in ("out of memory", "not enough memory", "can't allocate memory"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)


def in_parts(work: Callable[[Items], Result], items: Items, *, size: int) -> Iterator[Result]:
    """Yields what `work` makes of parts of `items`; where memory runs out the parts become half as large.

    Args:
        work: What to do with a part; called again for the same moments, in fewer, where memory ran out.
        items: What can be sliced.
        size: Items in a part at first.

    Raises:
        MemoryLimitError: A single item does not fit.
    """
    start = 0
    while start < len(items):
        try:
            result = work(items[start : start + size])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise MemoryLimitError(
                    "There is not enough memory for a single picture",
                    expected="a few hundred megabytes free",
                    found=str(error).splitlines()[0] if str(error) else "none left",
                    fix="close other programs, or use a smaller --size",
                ) from error
            size = -(-min(size, len(items) - start) // 2)
        else:
            start += size
            yield result
            continue
        # What was worked on is let go with the error that holds it.
        empty_device_cache()


def empty_device_cache() -> None:
    """Lets torch give back what it holds of the GPU, where it has been loaded."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class MemoryCap:
    """The most resident memory that a job may take.

    Attributes:
        limit: Bytes.
        asked: Whether somebody asked for it: only then it is enforced; else it says how many frames are kept.
    """

    limit: int
    asked: bool

    @classmethod
    def of(cls, text: str | None) -> MemoryCap:
        """That of an option; where it is None, half of what is free beside this process, at most 4 GB."""
        if text is not None:
            return cls(parse_size(text), True)
        return cls(min(resident() + available() // 2, LARGEST_DEFAULT), False)

    def require(self, name: str, *, frames: int, side: int) -> None:
        """Raises InputError where a clip cannot be worked on within the limit."""
        smallest = smallest_limit(frames, side)
        if self.asked and self.limit < smallest:
            raise InputError(
                f"{name} cannot be worked on in so little memory",
                expected=f"--max-memory {-(-smallest // 10**8) / 10:.1f}G or more for {frames} frames of {side} pixels",
                found=f"{self.limit / 1e9:.2f} GB",
                fix="allow that much, lower --size, or cut the clip",
            )

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be kept, with enough left to train."""
        return resident() + size + RESERVE <= self.limit

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Stops the work of this thread where it takes more than the limit.

        Raises:
            MemoryLimitError: It did; what was done up to there is kept, as after Ctrl-C.
        """
        if not (self.asked and resident()):
            yield
            return
        ended, seen = threading.Event(), [0]
        watcher = threading.Thread(target=self._watch, args=(threading.get_ident(), ended, seen), daemon=True)
        watcher.start()
        try:
            yield
        except KeyboardInterrupt:
            if not seen[0]:
                raise
            raise MemoryLimitError(
                "The work was stopped, because it took more memory than allowed",
                expected=f"at most {self.limit / 1e9:.2f} GB (--max-memory)",
                found=f"{seen[0] / 1e9:.2f} GB",
                fix="run the same command with a larger --max-memory; it goes on where it stopped",
            ) from None
        finally:
            ended.set()
            watcher.join()

    def _watch(self, main: int, ended: threading.Event, seen: list[int]) -> None:
        above = 0
        while not ended.wait(INTERVAL):
            now = resident()
            above = above + 1 if now > self.limit else 0
            if above == 1:
                give_back()
            elif above > PATIENCE:
                seen[0] = now
                # Not by a signal: a job in the background ignores that of Ctrl-C.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(KeyboardInterrupt))
                return
