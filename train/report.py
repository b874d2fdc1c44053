"""The report page: the avatar in motion, what is good and what is weak, and every figure behind it."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.fields.survey import take_camera
from avatar.io._files import replacing
from avatar.render.playback import render_over
from avatar.render.trajectories import orbit
from avatar.reporting import (
    Series,
    bars,
    commands,
    details,
    figure,
    films,
    finding,
    gallery,
    page,
    paragraph,
    pictures,
    section,
    table,
    tiles,
    timeline,
    verdict,
    video,
)
from avatar.spread import evenly_spread
from avatar.train.evaluation import FrameFigures, held_out_frames
from avatar.train.judgement import clock, grade, judgements, overall
from avatar.train.showcase import calm_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float, UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take
    from avatar.train.showcase import Film
    from avatar.train.shown_frames import ShownFrame

COLUMNS = 6
ERROR_GAIN = 5
ORBIT_QUARTERS = 5
STAGES = {
    "ingest": "look at the clip",
    "capture": "judge the recording",
    "tracking": "track the head",
    "shoulders": "track the shoulders",
    "detail": "shape the head",
    "covered": "look what is before the face",
    "refinement": "refine the tracking",
    "overlay": "draw the tracking",
    "features": "listen to the speech",
    "verdict": "judge the tracking",
    "draft": "draft the avatar",
    "alignment": "align the motion",
    "training": "train the avatar",
    "realignment": "align the motion again",
    "speech": "learn to speak",
    "evaluation": "compare frames",
}


@dataclass(frozen=True)
class Shown:
    """What a page shows beside its figures; every part may be missing.

    Attributes:
        films: Short videos with their captions, shown first.
        beside: Recording and avatar side by side, with its caption.
        frames: Chosen held-out frames.
        figures: Figures of every held-out frame.
        faces: Pictures of faces, by name.
        commands: What to run next: what for, and the command.
        links: Files beside the page: what, and the relative address.
    """

    films: Sequence[tuple[Film, str]] = ()
    beside: tuple[Film, str] | None = None
    frames: Sequence[ShownFrame] = ()
    figures: FrameFigures = field(default_factory=FrameFigures)
    faces: dict[str, UInt8[np.ndarray, "H W 3"]] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    links: Sequence[tuple[str, str]] = ()


def comparison_sheet(take: Take, gaussians: GaussianHead) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of held-out truth, render and amplified error (inside the head's mask), one column a frame."""
    held_out = take.split()["test"]
    chosen = evenly_spread(held_out, COLUMNS)
    columns = []
    for frame in held_out_frames(take, gaussians, indices=chosen):
        error = np.abs(frame.truth.astype(int) - frame.render).mean(-1, keepdims=True) * ERROR_GAIN
        shown = (error.clip(0, 255) * frame.region[..., None]).astype(np.uint8).repeat(3, -1)
        columns.append(np.concatenate([frame.truth, frame.render, shown]))
    return np.concatenate(columns, axis=1)


def orbit_sheet(take: Take, gaussians: GaussianHead, center: Float[np.ndarray, " 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """A calm moment from five sides, over grey."""
    pose = gaussians.poses(calm_moment(take))[0]
    times = np.linspace(-1.5, 1.5, ORBIT_QUARTERS)
    gray = np.full((1, 1, 3), 0.8, np.float32)
    views = orbit(take_camera(take), center, times)
    return np.concatenate([render_over(gaussians, pose, view, background=gray) for view in views], axis=1)


def write_report(
    path: Path,
    report: dict[str, Any],
    sheets: dict[str, UInt8[np.ndarray, "H W 3"]],
    *,
    shown: Shown | None = None,
) -> None:
    """Writes one self-contained HTML page about a new avatar.

    Args:
        path: The page.
        report: What ``report.json`` holds.
        sheets: Captions and their RGB pictures.
        shown: Videos, chosen frames, curves and commands.
    """
    shown = shown or Shown()
    source = report["source"]
    found = judgements(report, shown.figures)
    blocks = [
        f"<h1>Avatar report</h1><p class=note>{html.escape(source)}</p>",
        verdict(*overall(found, report["held_out"]["video_driven"]["psnr"])),
        films(_film(film, caption, playing=True) for film, caption in shown.films) if shown.films else "",
        tiles(_key_figures(report)),
        section("What is good and what is weak", *(finding(*one) for one in found)),
        section("What to run next", commands(shown.commands)) if shown.commands else "",
        beside_section(shown),
        held_out_section(report["held_out"], shown.figures, sheets),
        _faces(shown),
        _cost(report["stages"]),
        section("All figures", *_all_figures(report), *_links(shown)),
    ]
    write_page(path, page(f"Avatar report: {source}", blocks))


def write_page(path: Path, text: str) -> None:
    """Writes a page beside what is there, then moves it into place."""
    replacing(path, lambda file: file.write_text(text, encoding="utf-8"))


def _film(film: Film, caption: str, *, playing: bool) -> str:
    return video(film.data, caption, playing=playing, poster=film.poster)


def _key_figures(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    kinds, tracking, speech = grade(report), report["tracking"], report["speech"]
    seconds = sum(row["seconds"] for row in report["stages"].values())
    memory = max((row["peak_rss_mb"] for row in report["stages"].values()), default=0.0)
    rows = [(kinds["psnr"], f"{report['held_out']['video_driven']['psnr']:.1f} dB", "likeness (PSNR)")]
    if "tracking" in kinds:
        rows.append(
            (kinds["tracking"], f"{tracking['reprojection_iod_median']:.2%}", "tracking error, of eye distance")
        )
    if "correlation" in kinds:
        rows.append((kinds["correlation"], f"{speech['correlation']:.2f}", "mouth follows sound (1 is perfect)"))
    rows += [("", _duration(seconds), "to make it"), ("", f"{memory / 1000:.1f} GB", "memory at most")]
    if "bytes" in report["avatar"]:
        rows.append(("", f"{report['avatar']['bytes'] / 1e6:.1f} MB", "avatar on disk"))
    return rows


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def beside_section(shown: Shown) -> str:
    """Recording and avatar side by side, as a video and as chosen frames; nothing where there are neither."""
    if not (shown.beside or shown.frames):
        return ""
    blocks = [
        paragraph(
            "Left the recording, right the avatar, in moments that were kept back from training; the tracked motion "
            "moves it. Eyes and mouth are enlarged below each face.",
            kind="note",
        )
    ]
    if shown.beside:
        blocks.append(f"<div class=beside>{_film(*shown.beside, playing=True)}</div>")
    if shown.frames:
        blocks.append(
            pictures(
                (one.picture, f"{', '.join(one.names).capitalize()}: {one.psnr:.1f} dB at {clock(one.time)}")
                for one in shown.frames
            )
        )
    return section("Recording and avatar", *blocks)


def held_out_section(
    held_out: dict[str, dict[str, float]], figures: FrameFigures, sheets: dict[str, UInt8[np.ndarray, "H W 3"]]
) -> str:
    """The figures of all held-out frames, curves over time, and sheets of pictures."""
    rows = [
        (label, *(f"{held_out[key][name]:{form}}" for name, form in (("psnr", ".2f"), ("ssim", ".4f"), ("l1", ".4f"))))
        for key, label in (
            ("video_driven", "this avatar"),
            ("nearest_frame", "nearest training frame, aligned"),
            ("nearest_frame_raw", "nearest training frame"),
        )
    ]
    return section(
        "Held-out frames",
        table(("head region", "PSNR dB", "SSIM", "L1"), rows),
        paragraph(
            "Rendered over the clip's own background plate and compared with the untouched frames inside the "
            "head's mask; none of these frames was trained on.",
            kind="note",
        ),
        *_curves(figures),
        *(figure(picture, caption) for caption, picture in sheets.items()),
    )


def _curves(figures: FrameFigures) -> list[str]:
    if len(figures.index) < 3:
        return []
    time = np.array(figures.time)
    order = np.argsort(figures.psnr, kind="stable")
    marks = [(float(time[order[place]]), name) for place, name in ((0, "worst"), (-1, "best"))]
    charts = []
    for name, values, unit in (("PSNR", np.array(figures.psnr), "dB"), ("SSIM", np.array(figures.ssim), "")):
        # Round numbers a little below the least value, so that the differences are seen.
        span = max(float(np.ptp(values)), 1e-3)
        chart = timeline(
            time,
            [Series(name, values)],
            label=f"{name}, {unit}" if unit else name,
            title=f"{name} of every held-out frame, {values.min():.4g} to {values.max():.4g} {unit}".strip(),
            floor=max(float(values.min()) - 0.2 * span, 1e-6),
            marks=marks,
        )
        charts.append(f"<div>{chart}</div>")
    words = "Every held-out frame over the recording's time: PSNR and SSIM within the head; more is better in both."
    return [f"<div class=charts>{''.join(charts)}</div>", paragraph(words, kind="note")]


def _faces(shown: Shown) -> str:
    if not shown.faces:
        return ""
    words = "Set by hand with ARKit's actions: faces that the recording need not have shown."
    return section(
        "Faces", gallery((picture, name) for name, picture in shown.faces.items()), paragraph(words, kind="note")
    )


def _cost(stages: dict[str, dict[str, Any]]) -> str:
    rows = [
        (STAGES.get(name, name), row["seconds"], f"{row['seconds']:.1f} s, {row['peak_rss_mb']:.0f} MB")
        for name, row in stages.items()
    ]
    seconds = sum(row["seconds"] for row in stages.values())
    return section(
        "Time and memory",
        bars(rows, title="Seconds and memory of each stage"),
        paragraph(f"{_duration(seconds)} in all; memory is each stage's peak.", kind="note"),
    )


def _all_figures(report: dict[str, Any]) -> list[str]:
    parts = (("Tracking", "tracking"), ("Speech", "speech"), ("Avatar", "avatar"))
    return [details(title, table(("figure", "value"), _figures(report[name]))) for title, name in parts]


def _links(shown: Shown) -> list[str]:
    if not shown.links:
        return []
    entries = ", ".join(f'<a href="{html.escape(to, quote=True)}">{html.escape(what)}</a>' for what, to in shown.links)
    return [f"<p class=note>In the folder of this page: {entries}</p>"]


def _figures(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The scalar entries of a part of the report."""
    return [
        (name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in values.items()
        if isinstance(value, int | float | str)
    ]
