"""``avatar doctor``: what this machine has and which backend will run."""

from __future__ import annotations

import os
import platform
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from avatar.commands._console import show
from avatar.errors import BackendError, SlowBackendWarning
from avatar.models import cache_folder, parts
from avatar.render import _native, _speed
from avatar.render.devices import resolve_device

if TYPE_CHECKING:
    from avatar.options import Doctor


FETCH = "`avatar models fetch`"
INSTALL_GSPLAT = "`pip install 'headsplat[gpu]'`"


def run(options: Doctor) -> None:
    """Prints the findings, each with what to do about it where something is missing."""
    missing = [row.name for row in parts() if row.required and not row.cached]
    findings = {
        "headsplat": version("headsplat"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cores": os.cpu_count(),
        **rasteriser(),
        **gpu(),
        "parts cache": str(cache_folder()),
        "parts": f"missing {', '.join(missing)}: fetched on first use, or with {FETCH}" if missing else "ready",
    }
    show(findings, as_json=options.json)


def rasteriser() -> dict[str, Any]:
    """The backend that runs on this processor, what it could use, and how fast it is in two seconds."""
    try:
        backend = f"cpu ({_native.load_library().isa})"
    except BackendError as error:
        backend = f"torch, about 100 times slower: {error.what}. To do: {error.fix}."
    with warnings.catch_warnings():
        # The line above says the same.
        warnings.simplefilter("ignore", SlowBackendWarning)
        speed = _speed.measure_speed()
    return {
        "rasteriser": backend,
        "instruction sets": ", ".join(_native.available_isas()) or "none",
        "threads": _native.default_threads(),
        "speed": speed,
    }


def gpu() -> dict[str, Any]:
    """The GPU, whether what draws on it is installed, and what `--device auto` takes."""
    if not torch.cuda.is_available():
        return {"gpu": "none: everything runs on the CPU", "device auto": "cpu"}
    name = torch.cuda.get_device_name()
    if find_spec("gsplat") is None:
        return {"gpu": f"{name}, unused: gsplat is missing. To do: {INSTALL_GSPLAT}", "device auto": "cpu"}
    try:
        speed: Any = _speed.measure_speed(device="cuda")
        taken = str(resolve_device("auto"))
    except BackendError as error:
        speed, taken = str(error), "cpu"
    return {"gpu": f"{name}, with gsplat {version('gsplat')}", "gpu speed": speed, "device auto": taken}
