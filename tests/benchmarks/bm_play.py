"""Playback as an application pays for it: motion frame, skinning, rig, rasteriser, bytes over a background.

    python tests/benchmarks/bm_play.py [--avatar DIR] [--json OUT] [--quick]

Every frame is shown by all variants before the next, so that a busy machine slows them alike; the baseline is the same
path with the rig in torch and the picture mixed by numpy. Without --avatar the demo avatar is made first, which takes
minutes.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from avatar.assets import asset
from avatar.cameras import Camera
from avatar.fields.gaussian_head import GaussianHead
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.motion import Motion
from avatar.render import _native, rasterize
from avatar.render.playback import render_over

SIZE, CLIP, MOTION = 512, "demo.mp4", "take/motion.npz"


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        avatar: Folder of an avatar that holds its take; the demo avatar is made when None.
        json: Write the measurements there.
        frames: Number of frames to play.
        quick: A tenth of them.
    """

    avatar: Path | None = None
    json: Path | None = None
    frames: int = 300
    quick: bool = False


@dataclass(frozen=True)
class Measurement:
    """Median and 99th percentile of the milliseconds a frame takes, beside the torch rig in the same run."""

    op: str
    n: int
    size: int
    threads: int
    isa: str
    ms: float
    p99_ms: float
    baseline_ms: float
    ratio: float


def torch_rig(
    gaussians: GaussianHead, motion: Motion, camera: Camera, background: np.ndarray, threads: int
) -> np.ndarray:
    """One frame with every step written to memory: what the fused path is compared with."""
    with torch.no_grad():
        world = gaussians(gaussians.poses(motion)[0])
        viewmat, K = (torch.as_tensor(m, dtype=torch.float32) for m in (camera.viewmat, camera.K))
        image, alpha, *_ = rasterize(
            world.means,
            world.quats,
            world.scales,
            world.opacities,
            world.colors,
            viewmat,
            K,
            camera.width,
            camera.height,
            threads=threads,
        )
        mixed = image.numpy() + (1 - alpha.numpy()) * background
    return (mixed.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def fused(gaussians: GaussianHead, motion: Motion, camera: Camera, background: np.ndarray, threads: int) -> np.ndarray:
    """One frame as the commands render it."""
    return render_over(gaussians, gaussians.poses(motion)[0], camera, background=background, threads=threads)


def measure(stored: StoredAvatar, motion: Motion, *, frames: int) -> list[Measurement]:
    """Plays the motion over and over on one and two threads, both ways."""
    gaussians, info = stored.gaussians, stored.info
    camera = Camera.front(info.focal * SIZE / info.width, SIZE, SIZE)
    background = np.random.default_rng(0).random((SIZE, SIZE, 3), np.float32)
    play: dict[tuple[str, int], Callable[..., np.ndarray]] = {
        (name, threads): path for threads in (1, 2) for name, path in (("torch", torch_rig), ("fused", fused))
    }
    milliseconds: dict[tuple[str, int], list[float]] = {key: [] for key in play}
    for frame in range(-3, frames):
        moment = motion[[frame % len(motion)]]
        for (name, threads), path in play.items():
            start = time.perf_counter()
            path(gaussians, moment, camera, background, threads)
            if frame >= 0:
                milliseconds[name, threads].append(1e3 * (time.perf_counter() - start))
    rows = []
    for (name, threads), values in milliseconds.items():
        median, slow = np.percentile(values, [50, 99])
        baseline = float(np.median(milliseconds["torch", threads]))
        isa = _native.load_library().isa
        figures = {"ms": float(median), "p99_ms": float(slow), "baseline_ms": baseline, "ratio": baseline / median}
        rows.append(Measurement(f"play {name}", len(gaussians), SIZE, threads, isa, **figures))
    return rows


def make_demo_avatar(folder: Path) -> Path:
    """The demo avatar, as `avatar demo` makes it."""
    from avatar.commands.create import create

    create(asset(CLIP), folder, "standard")
    return folder


def main(options: Options) -> None:
    """Measures, prints a table and writes the JSON that was asked for."""
    # Torch's own threads spin between their short jobs and would take the cores from the rasteriser's.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.avatar or make_demo_avatar(Path(scratch) / "demo")
        stored, motion = load_avatar(folder), Motion.load(folder / MOTION)
    rows = measure(stored, motion, frames=options.frames // 10 if options.quick else options.frames)
    table = Table("what", "Gaussians", "threads", "p50 ms", "p99 ms", "frames/s", "times torch rig")
    for row in rows:
        rates = (f"{row.ms:.2f}", f"{row.p99_ms:.2f}", f"{1e3 / row.ms:.0f}", f"{row.ratio:.2f}")
        table.add_row(row.op, str(row.n), str(row.threads), *rates)
    Console(width=110).print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
