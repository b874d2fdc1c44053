"""Which device an avatar is trained and drawn on."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from avatar.errors import BackendError
from avatar.render import _gsplat

DeviceName = Literal["cpu", "cuda", "auto"]

log = logging.getLogger(__name__)


def resolve_device(name: DeviceName) -> torch.device:
    """The device of a name, once it is certain that avatars can be drawn on it.

    Args:
        name: ``cpu``; ``cuda`` for the current NVIDIA GPU; ``auto`` for that where it works and the CPU elsewhere,
            which is logged.

    Raises:
        BackendError: `name` is ``cuda``, and there is no GPU, or gsplat is missing or cannot run.
    """
    if name == "cpu":
        return torch.device("cpu")
    try:
        _gsplat.load_rasterization()
    except BackendError as error:
        if name == "cuda":
            raise
        log.info("Everything runs on the CPU: %s", error.found or error.what)
        return torch.device("cpu")
    # With its number, as the tensors on it state it.
    device = torch.device("cuda", torch.cuda.current_device())
    if name == "auto":
        log.info("Training and drawing run on %s", device)
    return device
