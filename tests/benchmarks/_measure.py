"""What the benchmarks share: fair timing in interleaved rounds, rows of results, the table and the JSON file.

A machine that others use drifts by a fifth between two runs. So everything that is compared runs in the same rounds,
one after the other, and a ratio of two medians of one run is what counts.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avatar.render import _native
from avatar.render.losses import ssim_map

# A run shorter than this many milliseconds is repeated within its round, so that one interruption counts less.
SHORT_RUN = 20.0


@dataclass(frozen=True)
class Options:
    """What every benchmark takes.

    Attributes:
        json: Write machine and rows there.
        rounds: Interleaved rounds; the medians are over them.
        quick: One small scene, to see that everything runs.
        device: Where to measure; "cuda" compares with torch on the same device.
    """

    json: Path | None = None
    rounds: int = 5
    quick: bool = False
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True)
class Variant:
    """One way to do the work that the baseline does.

    Attributes:
        isa: Instruction set, or the name of what runs.
        threads: Threads it uses.
        run: Does the work once.
    """

    isa: str
    threads: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        op: What was timed.
        n: Gaussians; 0 where there are none.
        size: Width and height of the image, pixels.
        threads: Threads.
        isa: Instruction set, or the name of what ran.
        ms: Median time, milliseconds.
        baseline_ms: Median time of the baseline in the same rounds, milliseconds.
        ratio: How many times faster than the baseline.
    """

    op: str
    n: int
    size: int
    threads: int
    isa: str
    ms: float
    baseline_ms: float
    ratio: float


def isas() -> tuple[str, ...]:
    """Instruction sets to measure, best first."""
    return _native.available_isas()


def time_run(run: Callable[[], object], repeats: int = 1, *, device: str = "cpu") -> float:
    """Milliseconds that one run takes, the mean over `repeats` in a row."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / repeats
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return 1e3 * (time.perf_counter() - begin) / repeats


def interleaved_medians(runs: Sequence[Callable[[], object]], *, rounds: int, device: str = "cpu") -> list[float]:
    """Median milliseconds of each run over rounds in which all take turns."""
    repeats = []
    for run in runs:
        # The first run of anything pays for memory and for loading code, which a slow one does not notice.
        once = time_run(run, device=device)
        if once < 5 * SHORT_RUN:
            once = time_run(run, device=device)
        repeats.append(max(1, round(SHORT_RUN / max(once, 1e-3))))
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for i, run in enumerate(runs):
            if repeats[i] > 1:
                # What ran before has emptied the caches, which is not this run's fault.
                run()
            times[i].append(time_run(run, repeats[i], device=device))
    return [statistics.median(values) for values in times]


def compare(
    op: str, n: int, size: int, *, baseline: Variant, variants: Sequence[Variant], options: Options
) -> list[Row]:
    """Rows of the baseline and of each variant, timed in the same rounds."""
    everyone = [baseline, *variants]
    medians = interleaved_medians([v.run for v in everyone], rounds=options.rounds, device=options.device)
    return [
        Row(op, n, size, v.threads, v.isa, ms, medians[0], medians[0] / ms)
        for v, ms in zip(everyone, medians, strict=True)
    ]


def torch_l1_dssim(image: Tensor, target: Tensor) -> Tensor:
    """The loss of 3D Gaussian splatting with torch's convolutions."""
    return 0.8 * (image - target).abs().mean() + 0.2 * (1 - ssim_map(image, target).mean())


def prepare(options: Options) -> None:
    """One thread for torch, whose idle workers would spin beside the rasteriser's; fails where the device is absent."""
    torch.set_num_threads(1)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda needs an NVIDIA GPU that torch sees")


def machine(device: str = "cpu") -> dict[str, str]:
    """What the figures were taken on."""
    found = {"processor": _processor(), "torch": str(torch.__version__), "python": platform.python_version()}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {_native.default_threads()} threads" if names else platform.processor() or platform.machine()


def report(title: str, rows: Sequence[Row], options: Options) -> None:
    """Prints the rows as a table, and writes the JSON that was asked for."""
    table = Table("op", "n", "size", "threads", "isa", "ms", "baseline ms", "ratio", title=title)
    for i, row in enumerate(rows):
        last = i + 1 == len(rows) or (rows[i + 1].op, rows[i + 1].n, rows[i + 1].size) != (row.op, row.n, row.size)
        figures = (_digits(row.ms), _digits(row.baseline_ms), f"{row.ratio:.2f}")
        table.add_row(row.op, str(row.n), str(row.size), str(row.threads), row.isa, *figures, end_section=last)
    Console(width=110).print(table)
    if options.json:
        result = {"machine": machine(options.device), "rounds": options.rounds, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def _digits(milliseconds: float) -> str:
    return f"{milliseconds:.4g}" if milliseconds < 1000 else f"{milliseconds:.0f}"
