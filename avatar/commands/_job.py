"""A resumable job: which stages of ``avatar create`` are done in a folder, and what each has cost."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from avatar.config import read_json, write_json
from avatar.errors import InputError
from avatar.io._files import peak_memory
from avatar.memory import give_back

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "job.json"
TRACKING = ("tracking", "shoulders", "detail", "covered", "refinement", "overlay")
PREPROCESSING = ("ingest", "capture", *TRACKING, "features", "verdict")
TRAINING = ("draft", "alignment", "training", "realignment", "speech", "evaluation")
# The stages that a setting reaches: they run again when it changes.
REACH = {
    "head": (*TRACKING, "verdict", *TRAINING),
    "take": TRAINING,
    "train": TRAINING,
    "speech_features": ("features", *TRAINING),
}
# What a setting was in folders made before there was one.
BEFORE: dict[str, Any] = {"speech_features": None}


@dataclass
class Job:
    """The state of one output folder.

    Attributes:
        source: Name of the clip.
        source_sha256: Hash of the clip's bytes.
        settings: What the results depend on; another value makes the stages that it reaches run again.
        stages: For each finished stage its ``seconds``, ``peak_rss_mb`` and figures of its own.
        spent: Seconds that interrupted runs of unfinished stages took.
    """

    source: str
    source_sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, source: str, source_sha256: str, settings: dict[str, Any]) -> Job:
        """Finds or starts the job of a folder.

        Raises:
            InputError: The folder holds the work of another clip or size, or cannot be written; it is left as it is.
        """
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                job = read_json(path, cls)
                job._check(folder, source, source_sha256, settings)
                job.source, job.source_sha256 = source, source_sha256
            else:
                job = cls(source, source_sha256)
            job.apply(folder, settings)
        except OSError as error:
            raise InputError(
                f"The output folder {folder} cannot be written",
                expected="a folder that can be written to",
                found="a file of that name" if folder.is_file() else error.strerror or str(error),
                fix="choose another folder with -o",
            ) from error
        return job

    def _check(self, folder: Path, source: str, source_sha256: str, settings: dict[str, Any]) -> None:
        """Raises InputError where finished stages cannot serve; a clip that was refused before leaves no trace."""
        if not self.stages:
            return
        if self.source_sha256 != source_sha256:
            raise InputError(
                f"{folder} already holds an avatar of another clip",
                expected=f"{self.source} or an empty folder",
                found=f"{source} with other content",
                fix="choose another output folder with -o",
            )
        size = self.settings.get("size")
        if settings.get("size", size) != size and self.done(PREPROCESSING[0]):
            raise InputError(
                f"{folder} already holds a take of another size",
                expected=f"--size {size}",
                found=str(settings["size"]),
                fix="choose another output folder with -o, or the same size",
            )
        before, now = (bool(values.get("all_shots", False)) for values in (self.settings, settings))
        if "all_shots" in settings and now != before and self.done(PREPROCESSING[0]):
            raise InputError(
                f"{folder} already holds a take of {'all shots' if before else 'the longest shot'}",
                expected="--all-shots" if before else "no --all-shots",
                found="no --all-shots" if before else "--all-shots",
                fix="choose another output folder with -o, or the same shots",
            )

    def apply(self, folder: Path, settings: dict[str, Any]) -> None:
        """Takes settings over; stages that one with another value reaches count as not done."""
        for name, value in msgspec.to_builtins(settings).items():
            if self.settings.get(name, BEFORE.get(name, value)) != value:
                self.forget(*REACH.get(name, ()))
            self.settings[name] = value
        write_json(folder / FILE, self)

    def forget(self, *stages: str) -> None:
        """Makes stages run again."""
        self.stages = {name: row for name, row in self.stages.items() if name not in stages}

    def done(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return stage in self.stages

    @contextmanager
    def stage(self, folder: Path, name: str) -> Iterator[dict[str, Any]]:
        """Runs a stage: measures it and, when it ends well, records it; figures may be added to the yielded dict."""
        row: dict[str, Any] = {}
        give_back()
        _reset_peak_memory()
        started = time.perf_counter()
        try:
            yield row
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - started
            with suppress(OSError):
                write_json(folder / FILE, self)
        self.stages[name] = {
            "seconds": round(self.spent.pop(name), 2),
            "peak_rss_mb": round(_peak_memory_mb(), 1),
            **row,
        }
        write_json(folder / FILE, self)


def _reset_peak_memory() -> None:
    """Starts a new maximum, where the system can (Linux: proc(5), clear_refs)."""
    control = Path("/proc/self/clear_refs")
    with suppress(OSError):
        control.write_text("5")


def _peak_memory_mb() -> float:
    """The largest resident set since the last reset, in MB; since the start where the system cannot reset."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return peak_memory()
