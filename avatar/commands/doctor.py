"""``avatar doctor``: what this machine has and which backend will run."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import torch

import avatar
from avatar.commands._console import show
from avatar.models import cache_folder, parts

if TYPE_CHECKING:
    from avatar.cli import Doctor


def run(options: Doctor) -> None:
    """Prints the findings, each with what to do about it where something is missing."""
    from avatar.render import native_isa

    missing = [row.name for row in parts() if row.required and not row.cached]
    findings = {
        "headsplat": avatar.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "rasteriser": f"cpu ({native_isa()})",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none: everything runs on the CPU",
        "parts cache": str(cache_folder()),
        "parts": f"missing {', '.join(missing)}: fetched on first use, or with `avatar models fetch`" if missing else "ready",
    }
    show(findings, as_json=options.json)
