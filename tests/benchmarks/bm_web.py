"""The web player: what an avatar weighs, how long the engine takes, how close its pictures come to our rasteriser's.

    python tests/benchmarks/bm_web.py AVATAR... [--json OUT] [--frames N]

Each avatar's folder must hold its take, whose motion is played. Times are the best of the rounds, on one core of node;
pictures are 512 pixels wide, and compared on the head. Frames a second in Chromium are what
`python -m pytest tests/render/web -k fast` measures.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from avatar.io.avatar import load_avatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar
from avatar.render.export.web import PLAYER_FILES
from avatar.render.playback import render_pose

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from web_package import WebPackage, camera_entry, camera_of, premultiplied, psnr  # noqa: E402

SIZE = 512


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        avatars: Folders of avatars that hold their takes.
        json: Write the measurements there.
        frames: Moments of the take's motion to compare.
        rounds: Times that everything is run.
    """

    avatars: tyro.conf.Positional[tuple[Path, ...]]
    json: Path | None = None
    frames: int = 8
    rounds: int = 30


def measure(folder: Path, scratch: Path, options: Options) -> dict[str, Any]:
    """The figures of one avatar."""
    stored = load_avatar(folder)
    motion = Motion.load(folder / "take" / "motion.npz")
    site = scratch / folder.name
    sizes = export_avatar(stored, site, FORMATS["web"], motion=motion)["files"]
    package = WebPackage(site)
    camera = camera_of(stored, SIZE)
    moments = np.linspace(0, len(motion) - 1, options.frames).round().astype(int)
    job = {
        "player": str(ROOT / "render" / "web"),
        "output": str(scratch),
        "folder": str(site),
        "rows": [package.rows[i].tolist() for i in moments],
        "camera": camera_entry(camera),
        "rounds": options.rounds,
    }
    (scratch / "job.json").write_text(json.dumps(job))
    script = ROOT / "tests" / "render" / "web" / "engine.mjs"
    subprocess.run([shutil.which("node") or "node", script, scratch / "job.json"], check=True)
    result = json.loads((scratch / "result.json").read_text())
    scores = []
    for index, moment in enumerate(moments):
        pose = stored.gaussians.poses(motion[moment : moment + 1])[0]
        expected = render_pose(stored.gaussians, pose, camera, threads=1)
        found = np.fromfile(scratch / f"picture-{index}.bin", np.uint8).reshape(SIZE, SIZE, 4)
        head = expected.alpha[..., 0].numpy() > 0.5
        scores.append(psnr(premultiplied(found)[head], expected.image.numpy()[head]))
    return {
        "avatar": folder.name,
        "gaussians": len(stored.gaussians),
        "served MB": sizes["avatar.bin"] / 1e6,
        "unpacked MB": package.manifest["data"]["bytes"] / 1e6,
        "player kB": sum(len(gzip.compress((site / name).read_bytes())) for name in PLAYER_FILES) / 1e3,
        **{f"{name} ms": value for name, value in result["milliseconds"].items()},
        "psnr worst dB": min(scores),
        "psnr mean dB": float(np.mean(scores)),
    }


def main(options: Options) -> None:
    """Prints a row for each avatar."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        rows = [measure(folder, Path(scratch), options) for folder in options.avatars]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=200).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
