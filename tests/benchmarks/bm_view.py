"""The viewer as a browser sees it: pictures and splats a second, and what each costs.

    python tests/benchmarks/bm_view.py --avatar DIR [--json OUT] [--seconds 10] [--window 512 512]

A real Chromium without a window (software WebGL, so the worst that can be met) looks at a viewer in this process. A
picture counts when the browser has taken it from the stream, whose buffers hold few: a browser that falls behind takes
fewer. Splats count when they were sent; how many of them a browser draws depends on its GPU. The start is a process of
its own, from nothing to the answer of the address.

The ratio is against the bar: 25 pictures a second.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).resolve().parents[1] / "helpers"))

from browser import open_page

from avatar.commands.view import idle_programme, taken_programme
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.render.viewer import Viewer, ViewerSettings

BAR = 25.0


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        avatar: Folder of an avatar; its take is played where it holds one.
        json: Write the measurements there.
        seconds: How long each is looked at.
        window: Width and height of the browser's window; 830 x 512 leaves 500 x 512 beside the panel.
        side: Size of the pictures.
        browser: The browser's program.
    """

    avatar: Path
    json: Path | None = None
    seconds: float = 10.0
    window: tuple[int, int] = (842, 512)
    side: int = 512
    browser: str = "chromium"


@dataclass(frozen=True)
class Measurement:
    """A rate, and the processor time of this process that one picture took."""

    op: str
    gaussians: int
    side: int
    per_second: float
    ms_of_a_core: float
    ratio: float


@contextmanager
def running(viewer: Viewer) -> Iterator[None]:
    """Runs a viewer in a thread."""
    thread = threading.Thread(target=viewer.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        viewer.stop()
        thread.join(timeout=10)


def measure(options: Options, drawing: str) -> Measurement:
    """What one browser takes."""
    stored = load_avatar(options.avatar)
    inside = options.avatar / "take"
    programme = taken_programme(stored, Take.open(inside)) if inside.is_dir() else idle_programme(stored)
    settings = ViewerSettings(port=0, drawing=drawing, side=options.side)  # type: ignore[arg-type]
    viewer = Viewer(stored, programme, settings)
    if drawing == "splats":
        # They are sent as to a browser with a graphics card; this one would be shown pictures.
        viewer.audience.stream.lacks_gpu = lambda number: False
    width, height = options.window
    with running(viewer), open_page(viewer.address, width=width, height=height, program=options.browser):
        while not viewer.server.get_clients():
            time.sleep(0.1)
        number = next(iter(viewer.server.get_clients()))

        def count() -> int:
            return viewer.audience.stream.delivered(number) if drawing == "pictures" else viewer.shown

        while count() < 5:
            time.sleep(0.1)
        time.sleep(3)
        first, worked, start = count(), time.process_time(), time.perf_counter()
        time.sleep(options.seconds)
        pictures, seconds = count() - first, time.perf_counter() - start
        cost = 1e3 * (time.process_time() - worked) / max(pictures, 1)
    rate = pictures / seconds
    return Measurement(f"view {drawing}", len(stored.gaussians), options.side, rate, cost, rate / BAR)


def start_seconds(options: Options) -> float:
    """From the command's start to the answer of its address."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "avatar.cli", "view", str(options.avatar), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found is not None
    with urllib.request.urlopen(found.group(), timeout=10) as page:
        page.read()
    seconds = time.perf_counter() - start
    process.terminate()
    process.wait(timeout=10)
    return seconds


def main(options: Options) -> None:
    """Measures, prints a table and writes the JSON that was asked for."""
    torch.set_num_threads(1)
    rows = [measure(options, drawing) for drawing in ("pictures", "splats")]
    started = start_seconds(options)
    table = Table("what", "Gaussians", "size", "a second", "ms of a core each", "times the bar")
    for row in rows:
        rates = (f"{row.per_second:.1f}", f"{row.ms_of_a_core:.1f}", f"{row.ratio:.2f}")
        table.add_row(row.op, str(row.gaussians), str(row.side), *rates)
    console = Console(width=100)
    console.print(table)
    console.print(f"started in {started:.1f} s; load of this machine {os.getloadavg()[0]:.1f}")
    if options.json:
        measured = {"rows": [asdict(row) for row in rows], "start_seconds": started, "load": os.getloadavg()[0]}
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
