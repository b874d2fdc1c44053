"""What of a recording's pictures is worth a warning or a stop: how long, how large, how sharp, in what light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.preprocess.capture_figures import Finding
from avatar.preprocess.capture_limits import high, low

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avatar.preprocess.capture_figures import CaptureReport, PictureFigures
    from avatar.preprocess.capture_limits import CaptureLimits


def times(count: int) -> str:
    """How often something was seen."""
    return "once" if count == 1 else f"{count} times"


def length(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether there is enough of it, in seconds and in frames a second."""
    clip = report.clip
    if severity := low(clip.used_seconds, limits.seconds_warn, limits.seconds_stop):
        yield Finding(
            "short",
            severity,
            "The recording is short",
            f"{clip.used_seconds:.1f} s with a face",
            f"two minutes; at least {limits.seconds_warn:.0f} s, and never below {limits.seconds_stop:.0f} s",
            "Talk for two minutes or more, about anything. More sounds and more looks are learned from a longer talk.",
        )
    if severity := low(clip.fps, limits.fps_warn, limits.fps_stop):
        yield Finding(
            "slow",
            severity,
            "There are few frames a second",
            f"{clip.fps:.1f} a second",
            f"25 to 60, and at least {limits.fps_warn:.0f}",
            "Set the camera to 25, 30 or 60 frames a second. In dim light many cameras slow down by themselves: add "
            "light.",
        )


def presence(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the face is there."""
    clip = report.clip
    share = 1 - clip.used_frames / max(clip.frames, 1)
    if severity := high(share, limits.lost_warn, limits.lost_stop):
        yield Finding(
            "lost",
            severity,
            "The face is lost at times",
            f"no usable face in {share:.0%} of the frames, {times(len(clip.lost))}",
            f"a face in at least {1 - limits.lost_warn:.0%} of the frames",
            "Stay in the picture, keep hands and microphone away from the face, and do not turn further than to a "
            "profile.",
        )


def covering(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether anything is before the face."""
    covered = report.covered
    share = covered.frames / max(report.clip.used_frames, 1) if covered is not None else 0.0
    if covered is not None and (severity := high(share, limits.covered_warn)):
        yield Finding(
            "covered",
            severity,
            "Something is before the face at times",
            f"in {share:.0%} of the frames, {times(len(covered.spans))}; it hides {covered.share:.0%} of the face then",
            f"nothing in at least {1 - limits.covered_warn:.0%} of the frames",
            "Keep hands, cups, microphones and hair out of the face. Nothing is learnt of what they hide, and what the "
            "face does behind them is a guess.",
        )


def size(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the face is large enough."""
    if severity := low(report.clip.face_pixels, limits.face_pixels_warn, limits.face_pixels_stop):
        yield Finding(
            "small",
            severity,
            "The face is small in the picture",
            f"{report.clip.face_pixels:.0f} pixels from hair line to chin",
            f"300 pixels or more, and at least {limits.face_pixels_warn:.0f}",
            "Come closer until head and shoulders fill the picture, and record at 1080p or more.",
        )


def sharpness(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the face is sharp."""
    pictures = report.pictures
    if not pictures.frames:
        return
    width, pixels = float(np.median(pictures.edge_percent)), float(np.median(pictures.edge_pixels))
    severity = high(width, limits.edge_warn, limits.edge_stop)
    # Edges of little more than a pixel are as sharp as a small face can be: that is said of its size.
    if severity and pixels > 1.5:
        yield Finding(
            "blurred",
            severity,
            "The face is blurred",
            f"edges as wide as {width:.1f} % of the face's height",
            f"at most {limits.edge_warn:.1f} %, such as 3 pixels on a face of 250",
            "Wipe the lens, tap on the face so that the camera focuses there, add light so that the shutter can be "
            "fast, and switch beauty filters off.",
        )


def exposure(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the light on the face is right, and stays."""
    pictures = report.pictures
    if not pictures.frames:
        return
    bright = float(np.median(pictures.bright))
    if severity := low(bright, limits.bright_warn, limits.bright_stop):
        yield Finding(
            "dark",
            severity,
            "The face is dark",
            f"its brightest parts reach {bright:.0f} of 255",
            f"{limits.bright_warn:.0f} or more",
            "Face a window or a lamp, with nothing bright behind you, and tap on the face so that the camera exposes "
            "for it.",
        )
    clipped = float(np.median(pictures.highlights))
    if severity := high(clipped, limits.highlights_warn, limits.highlights_stop):
        yield Finding(
            "overexposed",
            severity,
            "Parts of the face are burnt out",
            f"{clipped:.1%} of the face is clipped",
            f"less than {limits.highlights_warn:.0%}",
            "Lower the exposure, move away from hard light such as direct sun, or put a curtain before the window.",
        )
    change = brightness_change(pictures)
    if severity := high(change, limits.drift_warn):
        yield Finding(
            "flicker",
            severity,
            "The brightness changes during the recording",
            f"by {change:.1f} stops",
            f"less than {limits.drift_warn:.1f}",
            "Lock exposure and white balance (on phones: press long on the face), and do not record while clouds pass "
            "or screens flicker.",
        )


def brightness_change(pictures: PictureFigures) -> float:
    """Stops between the 5th and the 95th percentile of the face's brightness, for a display gamma of 2.2."""
    linear = np.maximum(np.array(pictures.luminance) / 255, 1 / 255) ** 2.2
    return float(np.ptp(np.percentile(np.log2(linear), [5, 95]))) if len(linear) else 0.0


def framing(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the whole head is in the picture."""
    share = float(np.mean(report.pictures.cut_off)) if report.pictures.cut_off else 0.0
    if severity := high(share, limits.cut_off_warn):
        yield Finding(
            "cut_off",
            severity,
            "The head is cut off",
            f"it reaches the border of the picture in {share:.0%} of the frames",
            "hair, ears and chin in the picture all the time",
            "Leave room above the hair and on both sides, as for a passport picture with shoulders.",
        )
