"""Memory that runs out in training: a step is tried once more, and then an error says what to lower."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, TypeVar

from avatar.errors import MemoryLimitError
from avatar.memory import empty_device_cache, give_back, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

Result = TypeVar("Result")


def tried_again(work: Callable[[], Result]) -> Result:
    """What `work` returns; where memory runs out, it is called once more after all that can be given back was.

    Args:
        work: Leaves nothing behind when it fails, or overwrites it in the next call.
    """
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here is the traceback gone, and with it what the first call held.
    gc.collect()
    give_back()
    empty_device_cache()
    return work()


def too_little_memory(error: BaseException, device: torch.device, *, step: int, side: int) -> MemoryLimitError:
    """The error of a step for which memory does not suffice.

    Args:
        error: What was raised.
        device: Where the avatar is trained.
        step: Number of the step, from 0.
        side: The longer side of the pictures, pixels.
    """
    gpu = device.type != "cpu"
    # torch goes on about how its memory is managed.
    told = ". ".join(str(error).split(". ")[:2])
    return MemoryLimitError(
        f"There is not enough memory {'on the GPU ' if gpu else ''}to train: it ran out at step {step + 1}",
        expected=f"room for one picture of {side} pixels with its gradients",
        found=told or "none left",
        fix=f"close other programs{' that use the GPU' if gpu else ''} and run the same command again, which goes on "
        f"from the last checkpoint; or use --preset fast{', --device cpu' if gpu else ''} or a smaller --size",
    )
