"""``avatar doctor``: what this machine has and which backend will run."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from avatar.commands._console import show
from avatar.errors import BackendError
from avatar.models import cache_folder, parts

if TYPE_CHECKING:
    from avatar.cli import Doctor


FETCH = "`avatar models fetch`"


def run(options: Doctor) -> None:
    """Prints the findings, each with what to do about it where something is missing."""
    missing = [row.name for row in parts() if row.required and not row.cached]
    findings = {
        "headsplat": version("headsplat"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cores": os.cpu_count(),
        "rasteriser": rasteriser(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none: everything runs on the CPU",
        "parts cache": str(cache_folder()),
        "parts": f"missing {', '.join(missing)}: fetched on first use, or with {FETCH}" if missing else "ready",
    }
    show(findings, as_json=options.json)


def rasteriser() -> str:
    """The backend that will run on this processor, or why none can."""
    from avatar.render._native import load_library

    try:
        return f"cpu ({load_library().isa})"
    except BackendError as error:
        return f"none: {error.what} {error.fix}"
