"""The option --device of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.commands._console import say
from avatar.render.devices import resolve_device

if TYPE_CHECKING:
    import torch

    from avatar.render.devices import DeviceName


def chosen_device(name: DeviceName) -> torch.device:
    """The device of the option; of ``auto`` it is said which.

    Raises:
        BackendError: It is ``cuda``, and that cannot be used here.
    """
    device = resolve_device(name)
    if name == "auto":
        say("Everything runs on the CPU." if device.type == "cpu" else f"The GPU is used ({device}).")
    return device
