"""Go or no-go: a capture report's figures judged, and what to say of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.preprocess import _person_rules as person
from avatar.preprocess import _picture_rules as pictures
from avatar.preprocess import _sound_rules as sound
from avatar.preprocess.capture_figures import GO, NO_GO, STOP, WARNINGS, CaptureReport, Finding
from avatar.preprocess.capture_limits import CaptureLimits, high

if TYPE_CHECKING:
    from collections.abc import Iterator


def verdict_of(findings: list[Finding]) -> str:
    """``no-go`` with a stop among the findings, ``go with warnings`` with any other, else ``go``."""
    if any(finding.severity == STOP for finding in findings):
        return NO_GO
    return WARNINGS if findings else GO


def judge(report: CaptureReport, limits: CaptureLimits) -> list[Finding]:
    """What is wrong with a recording, stops first; the report's own verdict is not looked at."""
    rules = (
        *(
            pictures.length,
            pictures.presence,
            pictures.covering,
            pictures.size,
            pictures.sharpness,
            pictures.exposure,
            pictures.framing,
        ),
        *(person.turns, person.expressions, person.mouth_shapes, person.blinks),
        sound.speech,
        _tracking,
    )
    findings = [finding for rule in rules for finding in rule(report, limits)]
    if {"dark", "blurred"} & {finding.name for finding in findings}:
        # Where the head ends cannot be told in such pictures.
        findings = [finding for finding in findings if finding.name != "cut_off"]
    return sorted(findings, key=lambda finding: finding.severity != STOP)


def _tracking(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    tracking = report.tracking
    if tracking is None:
        return
    if severity := high(tracking.error, limits.tracking_warn, limits.tracking_stop):
        yield Finding(
            "tracking",
            severity,
            "The head could not be followed well",
            f"a median error of {tracking.error:.1%} of the distance of the eye corners",
            f"at most {limits.tracking_warn:.1%}",
            "Look at the tracked video below for where it goes wrong. Even light, a still camera, nothing before the "
            "face and slower turns help most.",
        )
    share = len(tracking.outliers) / max(report.clip.used_frames, 1)
    if severity := high(share, limits.outliers_warn):
        yield Finding(
            "outliers",
            severity,
            "The head was lost in some frames",
            f"{len(tracking.outliers)} frames ({share:.0%}) are far off",
            f"less than {limits.outliers_warn:.0%}",
            "Avoid hands before the face, and turns faster than a second from side to side.",
        )
