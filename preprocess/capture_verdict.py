"""Go or no-go: a capture report's figures judged, and what to say of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avatar.preprocess._capture_sound import NOTHING_DB
from avatar.preprocess.capture_figures import (
    GO,
    NO_GO,
    STOP,
    WARNING,
    WARNINGS,
    CaptureReport,
    Finding,
    PictureFigures,
    SoundFigures,
)
from avatar.preprocess.capture_limits import CaptureLimits

# What a person does unasked within half a minute of lively talk, and the actions that show it.
EXPRESSIONS = {
    "an open mouth": ("jawOpen",),
    "pursed lips": ("mouthPucker", "mouthFunnel"),
    "a smile": ("mouthSmileLeft", "mouthSmileRight"),
    "raised brows": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}


def verdict_of(findings: list[Finding]) -> str:
    """``no-go`` with a stop among the findings, ``go with warnings`` with any other, else ``go``."""
    if any(finding.severity == STOP for finding in findings):
        return NO_GO
    return WARNINGS if findings else GO


def judge(report: CaptureReport, limits: CaptureLimits) -> list[Finding]:
    """What is wrong with a recording, stops first; the report's own verdict is not looked at."""
    rules = (_length, _presence, _size, _sharpness, _exposure, _framing, _variety, _sound, _tracking)
    findings = [finding for rule in rules for finding in rule(report, limits)]
    if {"dark", "blurred"} & {finding.name for finding in findings}:
        # Where the head ends cannot be told in such pictures.
        findings = [finding for finding in findings if finding.name != "cut_off"]
    return sorted(findings, key=lambda finding: finding.severity != STOP)


def times(count: int) -> str:
    """How often something was seen."""
    return "once" if count == 1 else f"{count} times"


def _low(value: float, warn: float, stop: float = -np.inf) -> str | None:
    """The severity of a value that should be large."""
    return STOP if value < stop else WARNING if value < warn else None


def _high(value: float, warn: float, stop: float = np.inf) -> str | None:
    """The severity of a value that should be small."""
    return _low(-value, -warn, -stop)


def _length(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    clip = report.clip
    if severity := _low(clip.used_seconds, limits.seconds_warn, limits.seconds_stop):
        yield Finding(
            "short",
            severity,
            "The recording is short",
            f"{clip.used_seconds:.1f} s with a face",
            f"two minutes; at least {limits.seconds_warn:.0f} s, and never below {limits.seconds_stop:.0f} s",
            "Talk for two minutes or more, about anything. More sounds and more looks are learned from a longer talk.",
        )
    if severity := _low(clip.fps, limits.fps_warn, limits.fps_stop):
        yield Finding(
            "slow",
            severity,
            "There are few frames a second",
            f"{clip.fps:.1f} a second",
            f"25 to 60, and at least {limits.fps_warn:.0f}",
            "Set the camera to 25, 30 or 60 frames a second. In dim light many cameras slow down by themselves: add "
            "light.",
        )


def _presence(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    clip = report.clip
    share = 1 - clip.used_frames / max(clip.frames, 1)
    if severity := _high(share, limits.lost_warn, limits.lost_stop):
        yield Finding(
            "lost",
            severity,
            "The face is lost at times",
            f"no usable face in {share:.0%} of the frames, {times(len(clip.lost))}",
            f"a face in at least {1 - limits.lost_warn:.0%} of the frames",
            "Stay in the picture, keep hands and microphone away from the face, and do not turn further than to a "
            "profile.",
        )


def _size(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    if severity := _low(report.clip.face_pixels, limits.face_pixels_warn, limits.face_pixels_stop):
        yield Finding(
            "small",
            severity,
            "The face is small in the picture",
            f"{report.clip.face_pixels:.0f} pixels from hair line to chin",
            f"300 pixels or more, and at least {limits.face_pixels_warn:.0f}",
            "Come closer until head and shoulders fill the picture, and record at 1080p or more.",
        )


def _sharpness(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    pictures = report.pictures
    if not pictures.frames:
        return
    width, pixels = float(np.median(pictures.edge_percent)), float(np.median(pictures.edge_pixels))
    severity = _high(width, limits.edge_warn, limits.edge_stop)
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


def _exposure(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    pictures = report.pictures
    if not pictures.frames:
        return
    bright = float(np.median(pictures.bright))
    if severity := _low(bright, limits.bright_warn, limits.bright_stop):
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
    if severity := _high(clipped, limits.highlights_warn, limits.highlights_stop):
        yield Finding(
            "overexposed",
            severity,
            "Parts of the face are burnt out",
            f"{clipped:.1%} of the face is clipped",
            f"less than {limits.highlights_warn:.0%}",
            "Lower the exposure, move away from hard light such as direct sun, or put a curtain before the window.",
        )
    change = brightness_change(pictures)
    if severity := _high(change, limits.drift_warn):
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


def _framing(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    share = float(np.mean(report.pictures.cut_off)) if report.pictures.cut_off else 0.0
    if severity := _high(share, limits.cut_off_warn):
        yield Finding(
            "cut_off",
            severity,
            "The head is cut off",
            f"it reaches the border of the picture in {share:.0%} of the frames",
            "hair, ears and chin in the picture all the time",
            "Leave room above the hair and on both sides, as for a passport picture with shoulders.",
        )


def _variety(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    yaw, pitch = report.pose.yaw, report.pose.pitch
    turned, nodded = yaw[2] - yaw[0], pitch[2] - pitch[0]
    if _low(turned, limits.yaw_warn) or _low(nodded, limits.pitch_warn):
        yield Finding(
            "frontal",
            WARNING,
            "The head hardly turns",
            f"{turned:.0f} degrees from side to side, {nodded:.0f} up and down",
            f"60 and 30 degrees; at least {limits.yaw_warn:.0f} and {limits.pitch_warn:.0f}",
            "While you talk, look slowly to the left, to the right, up and down. From sides that were never seen, the "
            "avatar is a guess.",
        )
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


def _sound(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    sound = report.sound
    if sound is None or sound.speech_db is None or sound.speech_seconds < 1:
        yield Finding(
            "silent",
            WARNING,
            "There is no speech" if sound is None or sound.speech_db is None else "There is hardly any speech",
            _heard(sound),
            "the voice of the person in the picture",
            "Record with sound. An avatar that was never heard talks in a general way, not in this person's.",
        )
        return
    yield from _voice(sound, report, limits)
    sync = report.sync
    if sync is not None and sync.note and sound.speech_seconds >= 10:
        yield Finding(
            "sync",
            WARNING,
            "Picture and sound could not be aligned",
            sync.note,
            "lips that move with the sound",
            "Record picture and sound with the same device, and let nobody else speak. Is the sound of this person?",
        )


def _heard(sound: SoundFigures | None) -> str:
    """What there is of sound where it is no speech to speak of."""
    if sound is None:
        return "no sound in the file"
    if sound.speech_db is not None:
        return f"{sound.speech_seconds:.1f} s of it"
    return "a sound track that is silent" if sound.noise_db <= NOTHING_DB else "nothing as loud as a voice"


def _voice(sound: SoundFigures, report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    if sound.speech_db is not None and _low(sound.speech_db, limits.speech_db_warn):
        yield Finding(
            "quiet",
            WARNING,
            "The voice is quiet",
            f"{sound.speech_db:.0f} dB of full scale",
            f"-30 to -12 dB, and at least {limits.speech_db_warn:.0f}",
            "Come closer to the microphone, or raise its level.",
        )
    if sound.snr_db is not None and _low(sound.snr_db, limits.snr_warn):
        yield Finding(
            "noisy",
            WARNING,
            "There is noise behind the voice",
            f"the voice is {sound.snr_db:.0f} dB above it",
            f"30 dB, and at least {limits.snr_warn:.0f}",
            "Record in a quiet room without music, fans or traffic, close to the microphone.",
        )
    if _high(sound.clipped, limits.clipped_warn):
        yield Finding(
            "clipped",
            WARNING,
            "The voice is too loud for the microphone",
            f"{sound.clipped:.2%} of the samples are at full scale",
            f"less than {limits.clipped_warn:.1%}",
            "Lower the microphone's level, or move away from it a little.",
        )
    share = sound.speech_seconds / max(report.clip.seconds, 1e-6)
    if _low(share, limits.speech_share_warn):
        yield Finding(
            "little_speech",
            WARNING,
            "There is little speech",
            f"{sound.speech_seconds:.0f} s, {share:.0%} of the recording",
            f"at least {limits.speech_share_warn:.0%}",
            "Keep talking; pauses of a breath are enough.",
        )


def _tracking(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    tracking = report.tracking
    if tracking is None:
        return
    if severity := _high(tracking.error, limits.tracking_warn, limits.tracking_stop):
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
    if severity := _high(share, limits.outliers_warn):
        yield Finding(
            "outliers",
            severity,
            "The head was lost in some frames",
            f"{len(tracking.outliers)} frames ({share:.0%}) are far off",
            f"less than {limits.outliers_warn:.0%}",
            "Avoid hands before the face, and turns faster than a second from side to side.",
        )
