"""The capture report as a page for a person: verdict and advice first, then what was measured."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

from avatar.preprocess._capture_excerpts import OVERLAY, excerpt, thumbnails
from avatar.preprocess._picture_rules import brightness_change, times
from avatar.preprocess.capture_figures import GO, NO_GO, STOP, CaptureReport, Finding
from avatar.reporting import (
    Series,
    bars,
    histogram2d,
    page,
    paragraph,
    ranges,
    section,
    table,
    timeline,
)

if TYPE_CHECKING:
    from avatar.io.take import Take
    from avatar.preprocess.capture_limits import CaptureLimits

VERDICTS = {
    GO: ("good", "Go", "Nothing speaks against making an avatar of this recording."),
    "go with warnings": (
        "warn",
        "Go, with warnings",
        "An avatar can be made of this recording. It would be better with a recording that follows the advice below.",
    ),
    NO_GO: ("bad", "No-go", "No useful avatar can be expected of this recording. Record again with the advice below."),
}


def capture_page(take: Take, report: CaptureReport, limits: CaptureLimits) -> str:
    """The page's HTML."""
    title = f"Capture report: {report.source_name}"
    blocks = [
        f"<h1>Capture report</h1><p class=note>{html.escape(report.source_name)}</p>",
        _verdict(report),
        *(_finding(finding) for finding in report.findings),
        section("The recording", _summary(report), thumbnails(take), *_notes(take)),
        _tracking(take, report, limits),
        _views(report),
        _face(report),
        _pictures(take, report, limits),
        _sound(report),
        _outlook(report),
    ]
    return page(title, blocks)


def _verdict(report: CaptureReport) -> str:
    kind, words, meaning = VERDICTS[report.verdict]
    forced = " It was used all the same, with --force." if report.forced and report.verdict == NO_GO else ""
    return f'<div class="verdict {kind}" role=status><strong>{words}</strong><br>{html.escape(meaning + forced)}</div>'


def _finding(finding: Finding) -> str:
    kind, word = ("bad", "Stop") if finding.severity == STOP else ("warn", "Warning")
    return (
        f'<div class="finding {kind}"><h3><span class=mark>{word}:</span> {html.escape(finding.title)}</h3>'
        f"<p>{html.escape(finding.advice)}</p>"
        f"<p class=note>Found: {html.escape(finding.found)}. Expected: {html.escape(finding.expected)}.</p></div>"
    )


def _notes(take: Take) -> list[str]:
    """What ingest had to say of the recording, such as which of its shots are used."""
    ingested = take.info.stages.get("ingest")
    return [] if ingested is None else [paragraph(note, kind="note") for note in ingested.detail.get("notes", [])]


def _summary(report: CaptureReport) -> str:
    clip, face, sound = report.clip, report.face, report.sound
    pictures = report.pictures
    rows = [
        ("Length", f"{clip.seconds:.1f} s, {clip.frames} frames, {clip.fps:g} a second"),
        ("Face seen", f"{clip.used_frames} frames, {clip.used_frames / max(clip.frames, 1):.1%}"),
        ("Face height", f"{clip.face_pixels:.0f} pixels in the recording"),
        ("Head turns", f"{_span(report.pose.yaw)} from side to side, {_span(report.pose.pitch)} up and down"),
        ("Blinks", f"{face.blinks}, {face.blinks_per_minute:.0f} a minute"),
    ]
    if pictures.frames:
        rows += [
            ("Sharpness", f"edges {np.median(pictures.edge_percent):.2f} % of the face's height wide (small is sharp)"),
            (
                "Exposure",
                f"mean brightness {np.median(pictures.luminance):.0f} of 255; {np.median(pictures.highlights):.1%} "
                f"burnt out, {np.median(pictures.shadows):.1%} black; changes by {brightness_change(pictures):.2f} "
                "stops",
            ),
        ]
    rows.append(("Sound", _sound_line(report) if sound is not None else "none"))
    if report.sync is not None:
        rows.append(("Picture and sound", _sync_line(report)))
    if report.covered is not None:
        count, share = report.covered.frames, report.covered.frames / max(clip.used_frames, 1)
        hidden = f"something in {count} frames ({share:.0%}), {report.covered.share:.0%} of it"
        rows.append(("Before the face", hidden if count else "nothing"))
    if report.tracking is not None:
        held_out = report.tracking.held_out_error
        apart = "" if held_out is None else f"; {held_out:.2%} in held-out frames"
        rows.append(("Tracking", f"median error {report.tracking.error:.2%} of the distance of the eye corners{apart}"))
        if report.tracking.focal is not None and report.tracking.focal_error is not None:
            widths = report.tracking.focal / report.clip.width
            rows.append(
                ("Camera", f"focal length {widths:.2f} picture widths, to about {report.tracking.focal_error:.0%}")
            )
    return table(("What", "Found"), rows, text=True)


def _span(tails: tuple[float, float, float]) -> str:
    return f"{tails[2] - tails[0]:.0f}° ({tails[0]:+.0f}° to {tails[2]:+.0f}°)"


def _sound_line(report: CaptureReport) -> str:
    sound = report.sound
    if sound is None or sound.speech_db is None or sound.snr_db is None:
        return "no speech"
    return (
        f"{sound.speech_seconds:.0f} s of speech at {sound.speech_db:.0f} dB of full scale, "
        f"{sound.snr_db:.0f} dB above the noise"
    )


def _sync_line(report: CaptureReport) -> str:
    sync = report.sync
    if sync is None:
        return ""
    if sync.note:
        return f"left as they are, since no distance stands out ({sync.note})"
    early = "early" if sync.seconds > 0 else "late"
    apart = f"the picture is {abs(sync.seconds) * 1000:.0f} ms {early}" if round(sync.seconds, 3) else "together"
    return f"{apart} (confidence {sync.confidence:.2f}); training corrects this"


def _tracking(take: Take, report: CaptureReport, limits: CaptureLimits) -> str:
    tracking = report.tracking
    if tracking is None:
        return ""
    error = 100 * np.array([np.nan if value is None else value for value in tracking.frames])
    blocks = [
        timeline(
            take.times[: len(error)],
            [Series("median error", error)],
            label="error, % of eye distance",
            title=f"Tracking error of every frame; the median is {tracking.error:.2%}",
            limit=100 * limits.tracking_warn,
            gaps=report.clip.lost,
        ),
        paragraph(
            "How far the tracked head is from the landmarks found in the picture, in every frame, as a share of the "
            "distance of the outer eye corners. Dashed: the limit for the median. Shaded: no face was found.",
            kind="note",
        ),
        table(
            ("region", "median error, % of eye distance"),
            [
                ("whole face", f"{100 * tracking.error:.2f}"),
                *((name, f"{100 * value:.2f}") for name, value in tracking.regions.items()),
            ],
        ),
    ]
    if (take.path / OVERLAY).is_file():
        blocks.insert(0, excerpt(take, error))
    return section("Tracking", *blocks)


def _views(report: CaptureReport) -> str:
    pose = report.pose
    measured = "the tracked head" if pose.source == "motion" else "landmarks, before tracking"
    return section(
        "Views of the head",
        histogram2d(
            np.array(pose.seconds),
            x_edges=pose.yaw_edges,
            y_edges=pose.pitch_edges,
            x_label="yaw, degrees; positive: towards the subject's left",
            y_label="pitch, degrees up",
            title=f"Seconds by direction of the head: yaw {_span(pose.yaw)}, pitch {_span(pose.pitch)}",
            unit="seconds",
        ),
        paragraph(
            f"Seconds in which the head was turned so ({measured}). The avatar has to guess the views of empty cells.",
            kind="note",
        ),
    )


def _face(report: CaptureReport) -> str:
    actions = report.face.actions
    eyes = [name for name in actions if name.startswith(("brow", "eye", "cheek", "nose"))]
    mouth = [name for name in actions if name not in eyes]
    charts = (
        ranges([(name, *actions[name]) for name in names], title=f"Ranges of the {part}'s actions, 0 to 1")
        for part, names in (("eyes, brows and cheeks", eyes), ("jaw and mouth", mouth))
    )
    shapes = bars(
        [
            (name, shape.seconds, f"{shape.seconds:.1f} s, {times(shape.times)}")
            for name, shape in report.face.mouth.items()
        ],
        title="Seconds of each shape of the mouth",
    )
    return section(
        "Expressions and speech shapes",
        "<h3>Shapes of the mouth</h3>",
        shapes,
        paragraph(
            "What visemes come down to when only lips are looked at: the opening between the lips, and the mouth's "
            "width against the person's own.",
            kind="note",
        ),
        "<h3>Actions (ARKit's names)</h3>",
        "<div class=charts>" + "".join(charts) + "</div>",
        paragraph("Bars: 2nd to 98th percentile of each action's score. Marks: the median.", kind="note"),
    )


def _pictures(take: Take, report: CaptureReport, limits: CaptureLimits) -> str:
    pictures = report.pictures
    if not pictures.frames:
        return ""
    time = take.times[pictures.frames]
    sharp = np.percentile(pictures.edge_percent, [5, 50, 95])
    lost = report.clip.lost
    return section(
        "Sharpness and exposure",
        timeline(
            time,
            [Series("edge width", np.array(pictures.edge_percent))],
            label="edge width, % of face",
            title="Width of the sharpest edges over the face in every measured frame",
            limit=limits.edge_warn,
            gaps=lost,
        ),
        paragraph(
            f"Width of the face's sharpest edges: {sharp[1]:.2f} % of its height (5th to 95th percentile "
            f"{sharp[0]:.2f} to {sharp[2]:.2f}). Dashed: the limit for the median; peaks are motion blur.",
            kind="note",
        ),
        timeline(
            time,
            [
                Series("mean", np.array(pictures.luminance)),
                Series("brightest twentieth", np.array(pictures.bright), color="second"),
            ],
            label="brightness, 0 to 255",
            title="Brightness of the face in every measured frame",
            gaps=lost,
        ),
    )


def _sound(report: CaptureReport) -> str:
    sound = report.sound
    if sound is None:
        return ""
    rows = [
        ("speech", "none" if sound.speech_db is None else f"{sound.speech_db:.1f} dB of full scale"),
        ("noise in the pauses", f"{sound.noise_db:.1f} dB of full scale"),
        ("speech above noise", "unknown" if sound.snr_db is None else f"{sound.snr_db:.1f} dB"),
        ("speech, pauses", f"{sound.speech_seconds:.1f} s, {sound.pause_seconds:.1f} s"),
        ("samples at full scale", f"{sound.clipped:.3%}"),
    ]
    if report.sync is not None:
        rows.append(("picture and sound", _sync_line(report)))
    return section("Sound", table(("What", "Found"), rows, text=True))


def _outlook(report: CaptureReport) -> str:
    missing = [] if report.tracking is not None else ["the tracked head"]
    if report.sync is None and report.sound is not None:
        missing.append("the offset of picture and sound")
    if not missing:
        return ""
    return paragraph(f"This page was written before tracking: {' and '.join(missing)} will be added.", kind="note")
