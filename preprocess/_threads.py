"""Work on a stream of frames in threads, in order and with few frames in memory.

Decoding, the models, OpenCV and torch release the interpreter lock, so threads are enough to keep every core busy.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 4


def ahead(items: Iterable[Item], *, depth: int = 4) -> Generator[Item, None, None]:
    """Yields `items`, which a thread draws up to `depth` at a time before they are asked for.

    An exception of `items` is raised where its item would have come.
    """
    source = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item  # pyright: ignore[reportReturnType]


def worker_count() -> int:
    """How many threads are worth starting: one for each core, at most four."""
    return min(_MOST_THREADS, os.cpu_count() or 1)


def map_ordered(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Iterator[Result]:
    """Yields `work(item)` for all items in their order; a few are worked on at once, so `work` must allow that.

    `items` is drawn by the caller's thread. The first exception of `work` is raised in its place.

    Args:
        work: What to do with each item.
        items: Drawn only as far ahead as keeps the threads busy.
        threads: How many work; the number of cores, at most four, when None.
    """
    threads = worker_count() if threads is None else threads
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 3 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def map_tensors(work: Callable[[Item], Result], items: Iterable[Item], *, device: torch.device) -> Iterator[Result]:
    """As `map_ordered`, for work with torch: each piece of it stays on the one thread that does it.

    A GPU does one thing after the other; its work is given out by the calling thread alone.

    Args:
        work: What to do with each item.
        items: As `map_ordered` takes them.
        device: Where the work's tensors are.
    """
    if device.type != "cpu":
        return map(work, items)

    def alone(item: Item) -> Result:
        with one_thread():
            return work(item)

    return map_ordered(alone, items)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch on one thread for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
