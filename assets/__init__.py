"""Run-time data that ships with the package."""

from importlib.resources import files
from pathlib import Path


def asset(name: str) -> Path:
    """Path of a shipped file, for example ``asset("open_head.npz")``."""
    return Path(str(files(__name__) / name))
