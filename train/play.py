"""How fast an avatar plays, in what memory, and how large it is."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.cameras import Camera
from avatar.io._files import peak_memory
from avatar.io.avatar import FILES
from avatar.render.playback import background_image, render_over

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

SIZE, WARM, TIMED = 512, 5, 100


def play_figures(stored: StoredAvatar, motion: Motion, *, threads: int | None = None) -> dict[str, Any]:
    """Times playback at 512 x 512 from a motion frame to the bytes of the picture over the plate.

    Args:
        stored: The avatar.
        motion: What it does, over and over for 100 pictures.
        threads: Threads of the rasteriser; all processors when None.
    """
    info, gaussians = stored.info, stored.gaussians
    camera = Camera.front(info.focal * SIZE / max(info.width, info.height), SIZE, SIZE)
    plate = background_image("plate", stored.plate, camera)
    assert plate is not None
    milliseconds = []
    for frame in range(-WARM, TIMED):
        moment = motion[np.array([frame % len(motion)])]
        start = time.perf_counter()
        render_over(gaussians, gaussians.poses(moment)[0], camera, background=plate, threads=threads)
        if frame >= 0:
            milliseconds.append(1e3 * (time.perf_counter() - start))
    median, slow = np.percentile(milliseconds, [50, 99])
    return {
        "size": SIZE,
        "frames_per_second": 1e3 / float(median),
        "median_ms": float(median),
        "p99_ms": float(slow),
        "device": gaussians.offsets.device.type,
        "threads": threads or _processors(),
        "peak_rss_mb": round(peak_memory(), 1),
    }


def avatar_figures(path: Path, stored: StoredAvatar) -> dict[str, Any]:
    """What the avatar is: its files in bytes, its Gaussians and components, its head."""
    files = (
        {name: (path / name).stat().st_size for name in FILES} if path.is_dir() else {path.name: path.stat().st_size}
    )
    return {
        "bytes": sum(files.values()),
        "files": files,
        "gaussians": stored.info.gaussians,
        "components": stored.gaussians.residuals.shape[2],
        "head": stored.info.head_id,
        "limits": stored.info.limits,
    }


def _processors() -> int:

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
