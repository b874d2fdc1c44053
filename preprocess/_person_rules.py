"""What the person in a recording should be seen doing: turning, moving the face, speaking, blinking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.preprocess.capture_figures import WARNING, Finding
from avatar.preprocess.capture_limits import low

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avatar.preprocess.capture_figures import CaptureReport
    from avatar.preprocess.capture_limits import CaptureLimits


# What a person does unasked within half a minute of lively talk, and the actions that show it.
EXPRESSIONS = {
    "an open mouth": ("jawOpen",),
    "pursed lips": ("mouthPucker", "mouthFunnel"),
    "a smile": ("mouthSmileLeft", "mouthSmileRight"),
    "raised brows": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}


def turns(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the head is seen from more than one side."""
    yaw, pitch = report.pose.yaw, report.pose.pitch
    turned, nodded = yaw[2] - yaw[0], pitch[2] - pitch[0]
    if low(turned, limits.yaw_warn) or low(nodded, limits.pitch_warn):
        yield Finding(
            "frontal",
            WARNING,
            "The head hardly turns",
            f"{turned:.0f} degrees from side to side, {nodded:.0f} up and down",
            f"60 and 30 degrees; at least {limits.yaw_warn:.0f} and {limits.pitch_warn:.0f}",
            "While you talk, look slowly to the left, to the right, up and down. From sides that were never seen, the "
            "avatar is a guess.",
        )


def expressions(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the face does what faces do."""
    missing = [
        label
        for label, names in EXPRESSIONS.items()
        if max(report.face.actions[name][2] - report.face.actions[name][0] for name in names) < limits.action_warn
    ]
    if missing:
        yield Finding(
            "expressions",
            WARNING,
            "Some expressions were not seen",
            f"no {' or '.join(label.removeprefix('an ').removeprefix('a ') for label in missing)}",
            "all of " + ", ".join(EXPRESSIONS),
            "Say something that makes you smile, something that surprises you, and a few long sounds such as oh, oo "
            "and ah.",
        )


def mouth_shapes(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the mouth takes all its shapes."""
    rare = [name for name, shape in report.face.mouth.items() if shape.times < limits.shape_warn]
    if rare:
        yield Finding(
            "mouth_shapes",
            WARNING,
            "Some shapes of the mouth are rare",
            f"fewer than {limits.shape_warn} times: {', '.join(rare)}",
            f"each at least {limits.shape_warn} times",
            "Read a page of text aloud, clearly and without haste.",
        )


def blinks(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether the eyes blink."""
    clip = report.clip
    if report.face.blinks == 0 and clip.used_seconds >= limits.blinkless_warn:
        yield Finding(
            "no_blinks",
            WARNING,
            "No blink was seen",
            f"none in {clip.used_seconds:.0f} s",
            "about one every four seconds",
            "Blink as usual. If you did, glasses that reflect a light may hide the eyes: tilt them, or move the light.",
        )
