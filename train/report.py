"""The report page: figures beside the bars, pictures of what was held out, and the views nobody filmed."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.fields.survey import take_camera
from avatar.render.playback import render_over
from avatar.render.trajectories import orbit
from avatar.reporting import figure, page, paragraph, section, table
from avatar.train.evaluation import held_out_frames

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take

COLUMNS = 6
ERROR_GAIN = 5
ORBIT_QUARTERS = 5


def comparison_sheet(take: Take, gaussians: GaussianHead) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of held-out truth, render and amplified error (inside the head's mask), one column a frame."""
    held_out = take.split()["test"]
    chosen = held_out[np.unique(np.linspace(0, len(held_out) - 1, COLUMNS).astype(int))]
    columns = []
    for frame in held_out_frames(take, gaussians, indices=chosen):
        error = np.abs(frame.truth.astype(int) - frame.render).mean(-1, keepdims=True) * ERROR_GAIN
        shown = (error.clip(0, 255) * frame.region[..., None]).astype(np.uint8).repeat(3, -1)
        columns.append(np.concatenate([frame.truth, frame.render, shown]))
    return np.concatenate(columns, axis=1)


def orbit_sheet(take: Take, gaussians: GaussianHead, center: Float[np.ndarray, " 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """The last frame's pose from five sides, over grey."""
    pose = gaussians.poses(take.motion()[-1:])[0]
    times = np.linspace(-1.5, 1.5, ORBIT_QUARTERS)
    gray = np.full((1, 1, 3), 0.8, np.float32)
    views = orbit(take_camera(take), center, times)
    return np.concatenate([render_over(gaussians, pose, view, background=gray) for view in views], axis=1)


def write_report(path: Path, report: dict[str, Any], pictures: dict[str, UInt8[np.ndarray, "H W 3"]]) -> None:
    """Writes one self-contained HTML page.

    Args:
        path: The page.
        report: What ``report.json`` holds.
        pictures: Captions and their RGB pictures.
    """
    held_out = report["held_out"]
    rows = [
        (label, *(f"{held_out[key][name]:{form}}" for name, form in (("psnr", ".2f"), ("ssim", ".4f"), ("l1", ".4f"))))
        for key, label in (
            ("video_driven", "this avatar"),
            ("nearest_frame", "nearest training frame, aligned"),
            ("nearest_frame_raw", "nearest training frame"),
        )
    ]
    stages = [(name, f"{row['seconds']:.1f}", f"{row['peak_rss_mb']:.0f}") for name, row in report["stages"].items()]
    blocks = [
        f"<h1>{html.escape(report['source'])}</h1>",
        section(
            "Held-out frames",
            table(("head region", "PSNR dB", "SSIM", "L1"), rows),
            paragraph(
                "Rendered over the clip's own background plate and compared with the untouched frames inside the "
                "head's mask; none of these frames was trained on.",
                kind="note",
            ),
            *(figure(picture, caption) for caption, picture in pictures.items()),
        ),
        section("Tracking", table(("figure", "value"), _figures(report["tracking"]))),
        section("Speech", table(("figure", "value"), _figures(report["speech"]))),
        section("Avatar", table(("figure", "value"), _figures(report["avatar"]))),
        section("Stages", table(("stage", "seconds", "peak MB"), stages)),
    ]
    path.write_text(page(f"Avatar report: {report['source']}", blocks), encoding="utf-8")


def _figures(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The scalar entries of a part of the report."""
    return [
        (name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in values.items()
        if isinstance(value, int | float | str)
    ]
