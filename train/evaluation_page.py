"""The page about an evaluation: rows and metrics, held-out frames beside what they have to beat, speech, playback."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.reporting import (
    Series,
    bars,
    commands,
    details,
    figure,
    finding,
    page,
    paragraph,
    section,
    table,
    tiles,
    timeline,
    verdict,
)
from avatar.train.judgement import grade, judgements, likeness
from avatar.train.picture_regions import REGIONS
from avatar.train.report import beside_section, held_out_section, write_page
from avatar.train.shown_frames import BORDER, GAP, MOUTH, close_up, fitted
from avatar.train.tally import ROWS, VIDEO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import UInt8

    from avatar.train.report import Shown
    from avatar.train.tally import Moment

WIDTH = 240
ROW_NAMES = {
    "truth": "recording",
    "nearest_frame": "nearest frame",
    "video_driven": "avatar by video",
    "speech_driven": "avatar by speech",
}
# Metric, heading, format; only those that a table has values of are shown.
METRICS = (
    ("psnr", "PSNR dB", ".2f"),
    ("ssim", "SSIM", ".4f"),
    ("ms_ssim", "MS-SSIM", ".4f"),
    ("l1", "L1", ".4f"),
    ("st_lpips", "ST-LPIPS", ".4f"),
    ("lpips", "LPIPS", ".4f"),
    ("cpbd", "CPBD", ".3f"),
    ("flicker_ratio", "flicker / truth's", ".2f"),
    ("seam", "seam", ".4f"),
    ("edge_alpha", "edge alpha", ".3f"),
    ("landmark_px", "landmarks px", ".2f"),
    ("landmark_iod", "landmarks / eyes", ".2%"),
    ("expression_distance", "expression", ".4f"),
    ("identity_distance", "identity", ".3f"),
    ("identity_from_person", "identity, of the person", ".3f"),
    ("blinks_per_minute", "blinks a minute", ".0f"),
)
SPEECH_ROWS = {
    "truth": "recording",
    "model": "speech model",
    "model_without_rest": "model without rest",
    "nearest_audio": "nearest sound",
    "mean_face": "mean mouth",
    "shuffled": "other sound",
}
SPEECH_METRICS = (
    ("mouth_opening_correlation", "opening, correlation", ".2f"),
    ("mouth_opening_rmse_mm", "opening, mm off", ".2f"),
    ("lip_vertex_error_mm", "lips, mm off", ".2f"),
    ("mouth_landmark_iod", "lips / eyes", ".2%"),
    ("closure_f1", "closing at p b m, F1", ".2f"),
    ("silence_motion_ratio", "motion in silence", ".1%"),
    ("silence_opening_iod", "opening in silence", ".3f"),
    ("best_offset_frames", "best offset, frames", "+d"),
    ("sync_score", "sync score", ".2f"),
)
EXPLAINED = (
    "PSNR, SSIM, MS-SSIM and L1 compare with the untouched frame inside each region. ST-LPIPS is a perceptual distance "
    "(less is closer), CPBD a sharpness without reference (more is sharper). Flicker is what changes from frame to "
    "frame beside the recording's own motion, over the recording's own. Landmarks, expression and blinks are what a "
    "detector sees in each row against the recording; the recording's own row is how well it repeats itself. Identity "
    "is the distance from training frames (the same person: below 0.6). Seam is the step in colour at the head's "
    "border if it were pasted over the recording."
)


def write_evaluation(path: Path, result: dict[str, Any], shown: Shown, *, examples: Sequence[Moment] = ()) -> None:
    """Writes one self-contained HTML page about an evaluation.

    Args:
        path: The page.
        result: ``source``, ``name`` (of the avatar), ``held_out`` as `evaluate_frames` gives it and, unless it was
            brief, everything else that `avatar eval` prints as JSON.
        shown: Videos, chosen frames and curves.
        examples: Moments to show in all rows side by side.
    """
    found = judgements({"held_out": result["held_out"]}, shown.figures)
    blocks = [
        f"<h1>Held-out evaluation</h1><p class=note>{html.escape(result['name'])}, made from "
        f"{html.escape(result['source'])}</p>",
        verdict(*likeness(found)),
        tiles(_key_figures(result)),
        *(finding(*one) for one in found[1:]),
        beside_section(shown),
        *_rows(result, examples),
        held_out_section(result["held_out"], shown.figures, {}),
        *_speech(result.get("speech")),
        *_cost(result),
        section("To see more", commands(shown.commands)) if shown.commands else "",
    ]
    write_page(path, page(f"Held-out evaluation: {result['name']}", blocks))


def _key_figures(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    own, nearest = (result["held_out"][name] for name in ("video_driven", "nearest_frame"))
    found = [
        (grade(result)["psnr"], f"{own['psnr']:.2f} dB", "PSNR within the head"),
        ("", f"{own['ssim']:.4f}", "SSIM within the head"),
        ("", f"{own['psnr'] - nearest['psnr']:+.2f} dB", "over the most similar frame"),
        ("", f"{result['held_out']['frames']['count']:.0f}", "frames compared"),
    ]
    if "play" in result:
        found.append(("", f"{result['play']['frames_per_second']:.0f}", "pictures a second, 512 × 512"))
        found.append(("", f"{result['avatar']['bytes'] / 1e6:.1f} MB", "avatar on disk"))
    return found


def _rows(result: dict[str, Any], examples: Sequence[Moment]) -> list[str]:
    if "rows" not in result:
        return []
    rows = {name: figures for name, figures in result["rows"].items() if figures}
    tables = [_table(rows, region) for region in REGIONS]
    sheets = [figure(_sheet(examples), _columns(examples))] if examples else []
    words = [f"{ROW_NAMES[name].capitalize()}: {text}." for name, text in result["shown"].items()]
    counts = result["frames"]
    sampled = (
        f"{counts['count']} of {counts['held_out']} held-out frames; MS-SSIM, identity and, but for the mouth, "
        f"ST-LPIPS on {counts['sampled']} of them, evenly chosen."
    )
    errors = [
        (name, part["error_share"], f"{part['error_share']:.0%} on {part['area_share']:.0%}, {part['psnr']:.0f} dB")
        for name, part in result["errors"][VIDEO].items()
    ]
    return [
        section("Beside what it has to beat", *tables, paragraph(f"{sampled} {EXPLAINED}", kind="note"), *sheets),
        section(
            "Where the error sits",
            bars(errors, title="Share of the squared error within the head, by part"),
            paragraph("Share of the squared error, on what share of the head, and the part's own PSNR.", kind="note"),
        ),
        details("What each row shows", *(paragraph(text) for text in words), *_notes(result["notes"])),
    ]


def _table(rows: dict[str, dict[str, dict[str, Any]]], region: str) -> str:
    shown = {row: figures.get(region, {}) for row, figures in rows.items()}
    kept = [metric for metric in METRICS if any(f.get(metric[0]) is not None for f in shown.values())]
    lines = [(ROW_NAMES[row], *(_value(figures.get(m), form) for m, _, form in kept)) for row, figures in shown.items()]
    return table((region, *(heading for _, heading, _ in kept)), lines)


def _value(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def _columns(examples: Sequence[Moment]) -> str:
    names = ", ".join(ROW_NAMES[row] for row in ROWS if row in examples[0].pictures)
    return f"From left to right: {names}. Below each frame its mouth, enlarged."


def _sheet(examples: Sequence[Moment]) -> UInt8[np.ndarray, "H W 3"]:
    """One row of pictures a moment, one column a row of the tables, the mouths below the frames."""
    lines = []
    for moment in examples:
        columns = []
        for row in (row for row in ROWS if row in moment.pictures):
            parts = [fitted(moment.pictures[row], WIDTH)]
            points, share, aspect = MOUTH
            corners = moment.landmarks[list(points), :2]
            if np.isfinite(corners).all():
                parts.append(close_up(moment.pictures[row], corners, share, aspect, column=WIDTH))
            columns += [np.concatenate(parts), np.full((sum(map(len, parts)), GAP, 3), BORDER, np.uint8)]
        lines += [np.concatenate(columns[:-1], axis=1), np.full((2 * GAP, _across(columns), 3), BORDER, np.uint8)]
    tallest = max(line.shape[1] for line in lines)
    return np.concatenate([line for line in lines[:-1] if line.shape[1] == tallest])


def _across(columns: Sequence[UInt8[np.ndarray, "H W 3"]]) -> int:
    return sum(column.shape[1] for column in columns[:-1])


def _speech(speech: dict[str, Any] | None) -> list[str]:
    if speech is None:
        return []
    if not speech["driven"]:
        return [section("Speech", paragraph(f"Not judged: {speech['note'].rstrip('.')}."))]
    protocol, curves = speech["protocol"], speech["sync"]["curves"]
    crossed = protocol["folds"] > 1
    how = (
        f"Five models, each judged on a fifth of the take that it has not learned from ({protocol['seconds']:.0f} s)."
        if crossed
        else f"The model was fitted again without the held-out end of the take and judged on it "
        f"({protocol['seconds']:.1f} s: little; `--cross-validate-speech` uses all of the take)."
    )
    closing = f"{protocol['bilabials']} sounds p, b and m were heard; a mouth counts as closed below an opening of "
    closing += f"{protocol['closed_opening_iod']:.3f} of the distance of the eyes."
    rows = [
        (name, *(_value(speech[key].get(m), form) for m, _, form in SPEECH_METRICS))
        for key, name in SPEECH_ROWS.items()
    ]
    shifts = np.array(speech["sync"]["shift_frames"], float)
    colors = {"truth": "ink", "model": "accent", "shuffled": "second"}
    lines = [Series(SPEECH_ROWS[key], np.array(curves[key]), color) for key, color in colors.items()]
    chart = timeline(
        shifts,
        lines,
        label="sync score",
        title="Sync score by shift of the sound",
        floor=float(min(-0.2, *(min(curves[key]) for key in colors))),
        unit="frames that the sound is shifted by",
    )
    own = (
        "The sync score is this project's own and no SyncNet's: the correlation of the mouth's opening and speed with "
        "those that a ridge regression on real pictures expects of the sound. Models of its kind may exceed the "
        "recording itself; shifting the sound lowers it."
    )
    truth = (
        "The recording's own row says how well detected landmarks and tracked motion agree. Without rest: the model if "
        "it did not close the mouth in silence. Nearest sound: the mouth of the training frame that sounds most alike. "
        "Other sound: the model on sound from elsewhere in the take."
    )
    return [
        section(
            "Speech",
            table(("mouth", *(heading for _, heading, _ in SPEECH_METRICS)), rows),
            paragraph(f"{how} {closing} {truth}", kind="note"),
            chart,
            paragraph(own, kind="note"),
            *_notes(speech["notes"]),
        )
    ]


def _cost(result: dict[str, Any]) -> list[str]:
    if "play" not in result:
        return []
    play, avatar, cone = result["play"], result["avatar"], result["view_cone"]
    drawn_on = f"{play['threads']} threads" if play["device"] == "cpu" else "the GPU"
    rows = [
        ("pictures a second at 512 × 512", f"{play['frames_per_second']:.0f} on {drawn_on}"),
        ("milliseconds a picture", f"{play['median_ms']:.1f}, one in a hundred {play['p99_ms']:.1f}"),
        ("memory of this evaluation", f"{play['peak_rss_mb']:.0f} MB"),
        ("avatar on disk", f"{avatar['bytes'] / 1e6:.2f} MB"),
        ("Gaussians, components", f"{avatar['gaussians']}, {avatar['components']}"),
        ("safe view cone", "not measured" if cone is None else str(cone)),
    ]
    return [section("Playback and size", table(("figure", "value"), rows))]


def _notes(notes: dict[str, str]) -> list[str]:
    return [paragraph(f"{name.replace('_', ' ')}: {text}", kind="note") for name, text in notes.items()]
