"""The capture report of a take: what a recording shows and lacks, and whether it is worth going on with.

It is made twice: after ingest, before anything long, from pictures, landmarks and sound; and after tracking, with the
tracked head, the offset of picture and sound, and the error of every frame.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from avatar.config import read_json, write_json
from avatar.errors import FormatError, InputError
from avatar.io._files import replacing, writing
from avatar.io.take import CAPTURE_PAGE, CAPTURE_REPORT
from avatar.preprocess._capture_face import clip_figures, covered_figures, face_figures, pose_figures
from avatar.preprocess._capture_page import capture_page
from avatar.preprocess._capture_pictures import measure_pictures
from avatar.preprocess._capture_sound import sound_figures, sync_figures
from avatar.preprocess.capture_figures import NO_GO, SCHEMA, STOP, CaptureReport, TrackingFigures
from avatar.preprocess.capture_limits import CaptureLimits
from avatar.preprocess.capture_verdict import judge, verdict_of
from avatar.preprocess.covered import STAGE as COVERED

if TYPE_CHECKING:
    from collections.abc import Callable

    from avatar.io.take import Take

__all__ = ["CaptureLimits", "CaptureReport", "capture_report", "read_capture_report", "require_go"]


def capture_report(
    take: Take,
    *,
    limits: CaptureLimits | None = None,
    forced: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CaptureReport:
    """Measures and judges a take, and writes its report.json and report.html.

    Tracking is part of the report where the take has been tracked. Pictures are measured once: a report of the same
    recording that is there already is continued.

    Args:
        take: An ingested take.
        limits: What the figures are judged by; the defaults suit any talking head.
        forced: Whether the user goes on whatever the verdict; kept in the report.
        progress: Called with (pictures looked at, all of them).

    Raises:
        InputError: The take is not ingested or cannot be written to.
    """
    limits = limits or CaptureLimits()
    seen, samples = take.perception(), take.speech()
    stages = take.info.stages
    tracked = (take.path / "motion.npz").is_file()
    before = _earlier(take)
    report = CaptureReport(
        verdict="",
        forced=forced,
        source_name=take.info.source_name,
        source_sha256=take.info.source_sha256,
        findings=[],
        clip=clip_figures(take, seen),
        pose=pose_figures(take, seen, tracked=tracked),
        face=face_figures(take, seen),
        pictures=measure_pictures(take, progress) if before is None else before.pictures,
        sound=None if samples is None else sound_figures(samples),
        sync=sync_figures(take) if tracked else None,
        tracking=_tracking_figures(stages["tracking"].detail) if tracked and "tracking" in stages else None,
        covered=covered_figures(take) if tracked and COVERED in stages else None,
        limits=msgspec.to_builtins(limits),
    )
    findings = judge(report, limits)
    report = replace(report, findings=findings, verdict=verdict_of(findings))
    writing(take.path / CAPTURE_REPORT, lambda file: write_json(file, report))
    page = capture_page(take, report, limits)
    replacing(take.path / CAPTURE_PAGE, lambda file: file.write_text(page, encoding="utf-8"))
    return report


def read_capture_report(take: Take) -> CaptureReport | None:
    """The report of a take, or None where there is none; raises FormatError where it cannot be read."""
    path = take.path / CAPTURE_REPORT
    if not path.is_file():
        return None
    found = read_json(path, dict)
    if found.get("schema") != SCHEMA:
        raise FormatError(
            f"{path} is a report of another version",
            expected=f"schema {SCHEMA}",
            found=f"schema {found.get('schema')}",
            fix="delete it; `avatar preprocess` writes it again",
        )
    return read_json(path, CaptureReport)


def require_go(report: CaptureReport, take: Take) -> None:
    """Raises InputError, with everything that speaks against it, where a report says no-go and nobody forced it."""
    if report.verdict != NO_GO or report.forced:
        return
    stops = [finding for finding in report.findings if finding.severity == STOP]
    raise InputError(
        f"{report.source_name} is not good enough for an avatar",
        expected="; ".join(finding.expected for finding in stops),
        found="; ".join(f"{finding.title.lower()}: {finding.found}" for finding in stops),
        fix=" ".join(finding.advice for finding in stops)
        + f"\n         {take.path / CAPTURE_PAGE} says more; the option --force goes on all the same",
    )


def _earlier(take: Take) -> CaptureReport | None:
    """The report that is there, where it can be continued."""
    try:
        report = read_capture_report(take)
    except FormatError:
        # A report that is damaged or older is simply made anew.
        return None
    used = {int(index) for index, good in enumerate(take.used) if good}
    same = (
        report is not None
        and report.source_sha256 == take.info.source_sha256
        and used.issuperset(report.pictures.frames)
    )
    return report if same and report is not None and report.clip.width == take.info.width else None


def _tracking_figures(detail: dict) -> TrackingFigures | None:
    """The tracker's own figures, or None where another tool made the motion."""
    if "reprojection_iod_median" not in detail:
        return None
    return TrackingFigures(
        error=detail["reprojection_iod_median"],
        held_out_error=detail["reprojection_held_out"],
        regions=detail["reprojection_regions"],
        frames=detail["residual"],
        outliers=detail["outliers"],
        acceleration_ratio=detail["acceleration_ratio"],
        focal=detail.get("focal"),
        focal_error=detail.get("focal_error"),
    )
