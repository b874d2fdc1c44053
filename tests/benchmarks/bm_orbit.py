"""Flaws of an avatar in views around it, against the bar of no holes within 30 degrees.

    python tests/benchmarks/bm_orbit.py AVATAR... [--json OUT] [--quick]

A share is of the pixels within the bust's outline; `avatar.render.flaws` says what counts as which flaw. No view may
have a hole; an outline that ends early, and floaters, may be seen in half a percent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from avatar.cameras import Camera
from avatar.io.avatar import load_avatar
from avatar.render.flaws import orbit_flaws
from avatar.render.motions import ease_motion
from avatar.render.shots import head_centers
from avatar.render.trajectories import resized

SIZE, YAWS, PITCHES = 256, (-40, -30, -20, -10, 0, 10, 20, 30, 40), (-20, 0, 20)
BAR_YAW, BARS = 30, {"holes": 0.0, "shortfall": 0.005, "floaters": 0.005}


@dataclass(frozen=True)
class Options:
    """What to look at.

    Attributes:
        avatars: Avatar folders or .avatar files.
        json: Write the measurements there.
        quick: Five views only.
    """

    avatars: tyro.conf.Positional[tuple[Path, ...]]
    json: Path | None = None
    quick: bool = False


def measure(path: Path, *, quick: bool) -> list[dict[str, float | str]]:
    """One row for each view of an avatar at ease."""
    stored = load_avatar(path)
    info, gaussians = stored.info, stored.gaussians
    pose = gaussians.poses(ease_motion(stored))[0]
    center = head_centers(gaussians, [pose])[0]
    camera = resized(Camera.front(info.focal, info.width, info.height), SIZE)
    views = {"yaws": YAWS[::2], "pitches": (0,)} if quick else {"yaws": YAWS, "pitches": PITCHES}
    return [
        {"avatar": str(path), "yaw": yaw, "pitch": pitch, **flaws._asdict()}
        for yaw, pitch, flaws in orbit_flaws(gaussians, pose, camera, center, **views, threads=1)
    ]


def main(options: Options) -> None:
    """Measures, prints a table and writes the JSON that was asked for."""
    torch.set_num_threads(1)
    rows = [row for path in options.avatars for row in measure(path, quick=options.quick)]
    table = Table("avatar", "within", *(f"worst {name}, bar {bar:.1%}" for name, bar in BARS.items()), "")
    for path in map(str, options.avatars):
        for limit in (BAR_YAW, max(YAWS)):
            views = [row for row in rows if row["avatar"] == path and abs(float(row["yaw"])) <= limit]
            worst = {name: max(float(row[name]) for row in views) for name in BARS}
            met = "met" if all(worst[name] <= bar for name, bar in BARS.items()) else "MISSED"
            table.add_row(path, f"{limit} degrees", *(f"{worst[name]:.3%}" for name in BARS), met)
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps({"bars": BARS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
