"""A resumable job: which stages of ``avatar create`` are done in a folder, and what each has cost."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from avatar.config import read_json, write_json
from avatar.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "job.json"
PREPROCESSING = ("ingest", "tracking", "shoulders")


@dataclass
class Job:
    """The state of one output folder.

    Attributes:
        source: Name of the clip.
        source_sha256: Hash of the clip's bytes.
        settings: What the results depend on; other settings make the stages run again.
        stages: For each finished stage its ``seconds``, ``peak_rss_mb`` and figures of its own.
    """

    source: str
    source_sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, source: str, source_sha256: str, settings: dict[str, Any]) -> Job:
        """Finds or starts the job of a folder.

        Raises:
            InputError: The folder holds the work of another clip, or cannot be written.
        """
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                job = read_json(path, cls)
                if job.source_sha256 != source_sha256:
                    raise InputError(
                        f"{folder} already holds an avatar of another clip",
                        expected=f"{job.source} or an empty folder",
                        found=source,
                        fix="choose another output folder with -o",
                    )
                if job.settings != msgspec.to_builtins(settings):
                    job.settings = settings
                    job.stages = {name: row for name, row in job.stages.items() if name in PREPROCESSING}
            else:
                job = cls(source, source_sha256, settings)
            write_json(path, job)
        except OSError as error:
            raise InputError(
                f"The output folder {folder} cannot be written", found=str(error), fix="choose another folder with -o"
            ) from error
        return job

    def done(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return stage in self.stages

    @contextmanager
    def stage(self, folder: Path, name: str) -> Iterator[dict[str, Any]]:
        """Runs a stage: measures it and, when it ends well, records it; figures may be added to the yielded dict."""
        row: dict[str, Any] = {}
        _reset_peak_memory()
        started = time.perf_counter()
        yield row
        self.stages[name] = {
            "seconds": round(time.perf_counter() - started, 2),
            "peak_rss_mb": round(_peak_memory_mb(), 1),
            **row,
        }
        write_json(folder / FILE, self)


def _reset_peak_memory() -> None:
    """Starts a new maximum, where the system can (Linux: proc(5), clear_refs)."""
    control = Path("/proc/self/clear_refs")
    if control.exists():
        control.write_text("5")


def _peak_memory_mb() -> float:
    """The largest resident set since the last reset, in MB; since the start where the system cannot reset."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
