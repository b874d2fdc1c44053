"""What the figures of a report mean for a person: what is good, what is weak, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avatar.train.evaluation import FrameFigures

GOOD, FAIR, WEAK = "good", "warn", "bad"
# From which value on a figure is good, and from which on fair. docs/reports.md gives the reason for each.
PSNR, OVER_NEAREST, DROP = (32.0, 28.0), (6.0, 2.0), (5.0, 8.0)
TRACKING, OUTLINE = (0.012, 0.04), (0.93, 0.88)
CORRELATION, CLOSURE = (0.7, 0.5), (0.6, 0.4)
YAW = (40.0, 20.0)


class Judgement(NamedTuple):
    """One thing to say of an avatar.

    Attributes:
        kind: ``good``, ``warn`` or ``bad``.
        title: In a few words.
        text: The figure in a sentence, and what would help where it is not good.
    """

    kind: str
    title: str
    text: str


def judgements(report: dict[str, Any], frames: FrameFigures | None = None) -> list[Judgement]:
    """What there is to say of a report's figures, the weak ones first; figures that are missing are passed over."""
    found = [*_likeness(report, frames), *_tracking(report), *_speech(report), *_views(report)]
    return sorted(found, key=lambda one: (WEAK, FAIR, GOOD).index(one.kind))


def overall(found: list[Judgement], psnr: float) -> tuple[str, str, str]:
    """Kind, title and sentence of the whole; `psnr` that of the held-out frames, dB."""
    weak = [one.title.lower() for one in found if one.kind != GOOD]
    if _large(psnr, PSNR) == WEAK:
        return WEAK, "A weak likeness", "Expect visible flaws everywhere. A better recording helps most."
    if weak:
        return FAIR, "A usable avatar, with weak points", f"Weak points: {', '.join(weak)}. Each is explained below."
    return GOOD, "A good avatar", "No figure speaks against using it."


def likeness(found: list[Judgement]) -> tuple[str, str, str]:
    """Kind, title and sentence where held-out frames are all that was judged."""
    kind, title, text = found[0]
    if title == "Uneven":
        return kind, "An uneven likeness", text
    return kind, {GOOD: "A good likeness", FAIR: "A fair likeness", WEAK: "A weak likeness"}[kind], text


def grade(report: dict[str, Any]) -> dict[str, str]:
    """The kinds of the key figures, by name: ``psnr``, ``tracking``, ``correlation``."""
    tracking, speech = report.get("tracking", {}), report.get("speech", {})
    kinds = {"psnr": _large(report["held_out"]["video_driven"]["psnr"], PSNR)}
    if "reprojection_iod_median" in tracking:
        kinds["tracking"] = _small(tracking["reprojection_iod_median"], TRACKING)
    if "correlation" in speech:
        kinds["correlation"] = _large(speech["correlation"], CORRELATION)
    return kinds


def _large(value: float, limits: tuple[float, float]) -> str:
    return GOOD if value >= limits[0] else FAIR if value >= limits[1] else WEAK


def _small(value: float, limits: tuple[float, float]) -> str:
    return GOOD if value <= limits[0] else FAIR if value <= limits[1] else WEAK


def _with(text: str, kind: str, advice: str) -> str:
    return text if kind == GOOD else f"{text} {advice}"


def _likeness(report: dict[str, Any], frames: FrameFigures | None) -> Iterator[Judgement]:
    figures = report["held_out"]
    own, nearest = figures["video_driven"]["psnr"], figures["nearest_frame"]["psnr"]
    kind = max(_large(own, PSNR), _large(own - nearest, OVER_NEAREST), key=(GOOD, FAIR, WEAK).index)
    margin = own - nearest
    than = f"{abs(margin):.1f} dB {'closer' if margin >= 0 else 'further off'} than"
    text = (
        f"In frames that were kept back from training it matches the recording with a PSNR of {own:.1f} dB within the "
        f"head (higher is closer): {than} the most similar other frame of the recording."
    )
    yield Judgement(
        kind, "Likeness", _with(text, kind, "Sharper, longer and evenly lit recordings give a better likeness.")
    )
    if frames and len(frames.psnr) > 2:
        drop = float(np.median(frames.psnr) - min(frames.psnr))
        if (kind := _small(drop, DROP)) != GOOD:
            moment = frames.time[int(np.argmin(frames.psnr))]
            yield Judgement(
                kind,
                "Uneven",
                f"The worst kept-back frame, at {clock(moment)}, is {drop:.1f} dB below the median one: look at it "
                "below; a hand before the face or a fast turn explains most of these.",
            )


def _tracking(report: dict[str, Any]) -> Iterator[Judgement]:
    figures = report.get("tracking", {})
    if "reprojection_iod_median" in figures:
        error = figures["reprojection_iod_median"]
        kind = _small(error, TRACKING)
        pixels = f" ({figures['reprojection_pixels']:.1f} pixels)" if "reprojection_pixels" in figures else ""
        text = f"The tracked head is {error:.2%} of the distance of the eye corners{pixels} off in the median frame."
        yield Judgement(kind, "Tracking of the face", _with(text, kind, "Look at the tracked video in the take."))
    if "silhouette_iou" in figures:
        kind = _large(figures["silhouette_iou"], OUTLINE)
        text = f"{figures['silhouette_iou']:.0%} of the head's outline and the tracked head's overlap."
        advice = "Hair that hangs loose or a background of the hair's colour cause this."
        yield Judgement(kind, "Shape of the head and hair", _with(text, kind, advice))


def _speech(report: dict[str, Any]) -> Iterator[Judgement]:
    figures = report.get("speech", {})
    if not figures.get("driven", True):
        yield Judgement(
            WEAK, "Speech", f"It has not learned how its person speaks: {figures.get('note', 'no reason was given')}."
        )
        return
    if "correlation" in figures:
        value = figures["correlation"]
        kind = _large(value, CORRELATION)
        text = (
            f"For words it has not learned from, the opening of the mouth follows the recording with a correlation of "
            f"{value:.2f} (1 is perfect); it is {figures['rmse_mm']:.1f} mm off, where a mouth that stands still "
            f"would be {figures['rmse_mean_face_mm']:.1f} mm."
        )
        yield Judgement(
            kind, "Movement of the mouth", _with(text, kind, "One or two minutes of clear speech teach it more.")
        )
    if "closure_f1" in figures:
        kind = _large(figures["closure_f1"], CLOSURE)
        text = f"The lips meet when they should (p, b, m) with a score of {figures['closure_f1']:.2f} of 1."
        yield Judgement(
            kind, "Closing of the lips", _with(text, kind, "A longer recording with much speech helps; so does 30 fps.")
        )


def _views(report: dict[str, Any]) -> Iterator[Judgement]:
    limits = report.get("avatar", {}).get("limits", {})
    if "yaw" in limits:
        low, high = limits["yaw"]
        kind = _large(high - low, YAW)
        text = f"The recording shows the head turned from {low:+.0f}° to {high:+.0f}°; what lies beyond is guessed."
        yield Judgement(
            kind,
            "Views from the side",
            _with(text, kind, "Turn the head slowly to both sides while recording, and keep the camera within this."),
        )


def clock(seconds: float) -> str:
    """Minutes and seconds, such as ``0:07.4``."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
