"""Measures of moving lips: where they are, how far open, where they meet, and how still they are in silence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.face_mesh import EYE_CORNERS, LIPS
from avatar.heads.subject import subject_head
from avatar.speech.mouth import landmark_opening
from avatar.speech.phones import BILABIALS, VOWELS
from avatar.speech.silence import loudness, speech_activity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

    from avatar.cameras import Camera
    from avatar.heads import Head
    from avatar.motion import Motion
    from avatar.speech.phones import Phone

# Rows posed at once.
BATCH = 128
# A mouth may close this long before or after an aligned sound, seconds: alignments are that coarse.
TOLERANCE = 0.04
# Silence counts from this long after its beginning on, seconds; `speech_activity` falls during the first 200 ms of it.
SETTLED, RELEASED = 0.3, 0.2


@dataclass(frozen=True)
class LipTrack:
    """Lips over T moments.

    Attributes:
        points: (T, 40, 3) of the lips in the head's own frame, metres.
        pixels: (T, 40, 2) of the lips in the picture.
        opening: (T,) gap of the inner lips over the distance of the outer eye corners.
        eyes: (T,) that distance in the picture, pixels.
        eyes_metres: (T,) the same in metres.
    """

    points: Float[np.ndarray, "T 40 3"]
    pixels: Float[np.ndarray, "T 40 2"]
    opening: Float[np.ndarray, " T"]
    eyes: Float[np.ndarray, " T"]
    eyes_metres: Float[np.ndarray, " T"]


def lip_track(head: Head, motion: Motion, camera: Camera) -> LipTrack:
    """The lips of a motion, in the head's frame and as a camera sees them."""
    still = np.zeros_like(motion.transl)
    unposed = replace(motion, global_orient=still, neck_pose=still, transl=still)
    own, posed = (landmark_track(head, track) for track in (unposed, motion))
    seen = (posed @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]) @ camera.K.T
    pixels = seen[..., :2] / seen[..., 2:]
    left, right = EYE_CORNERS
    return LipTrack(
        points=own[:, list(LIPS)],
        pixels=pixels[:, list(LIPS)],
        opening=landmark_opening(own),
        eyes=np.linalg.norm(pixels[:, left] - pixels[:, right], axis=1),
        eyes_metres=np.linalg.norm(own[:, left] - own[:, right], axis=1),
    )


def landmark_track(head: Head, motion: Motion) -> Float[np.ndarray, "T 478 3"]:
    """The 478 landmarks of a motion, metres."""
    import torch

    subject = subject_head(head, motion).landmark_subset()
    found = []
    for start in range(0, len(motion), BATCH):
        rows = motion[start : start + BATCH]
        given = {
            name: torch.as_tensor(value, dtype=torch.float32)
            for name, value in (
                ("expression", rows.expression),
                ("pose", rows.pose),
                ("eyelids", rows.eyelids),
                ("transl", rows.transl),
            )
        }
        with torch.no_grad():
            found.append(subject.landmark_positions(subject(**given)).double().numpy())
    return np.concatenate(found)


def closed_threshold(opening: Float[np.ndarray, " T"]) -> float:
    """The opening below which a mouth counts as closed: a third of the way from its closed to its usual opening.

    Closed is the fifth percentile, usual the median. A threshold in fixed units would judge a person's lips, and the
    detector's idea of them, before it judged the closing.
    """
    low, usual = np.percentile(opening, [5, 50])
    return float(low + (usual - low) / 3)


class ClosureCounts(NamedTuple):
    """At how many sounds a mouth closes: bilabials with and without, vowels with, and all vowels."""

    hits: int
    misses: int
    alarms: int
    vowels: int


def closure_counts(
    time: Float[np.ndarray, " T"], opening: Float[np.ndarray, " T"], *, phones: Sequence[Phone], threshold: float
) -> ClosureCounts:
    """At which of the sounds within some moments a mouth closes.

    A sound counts as closed when the mouth's least opening, within 40 ms of a bilabial or in the middle half of a
    vowel, is at most the threshold.

    Args:
        time: (T,) seconds on the clock of the sounds; gaps between stretches are allowed.
        opening: (T,) of the mouth.
        phones: The sounds.
        threshold: What counts as closed.
    """
    hits = misses = alarms = vowels = 0
    for phone in phones:
        if phone.name in BILABIALS:
            within = (time >= phone.start - TOLERANCE) & (time <= phone.end + TOLERANCE)
        elif phone.name in VOWELS:
            quarter = (phone.end - phone.start) / 4
            within = (time >= phone.start + quarter) & (time <= phone.end - quarter)
        else:
            continue
        if not within.any():
            continue
        closed = bool(opening[within].min() <= threshold)
        if phone.name in BILABIALS:
            hits, misses = hits + closed, misses + (not closed)
        else:
            alarms, vowels = alarms + closed, vowels + 1
    return ClosureCounts(hits, misses, alarms, vowels)


def closure_f1(
    time: Float[np.ndarray, " T"],
    opening: Float[np.ndarray, " T"],
    *,
    phones: Sequence[Phone],
    threshold: float,
) -> tuple[float | None, int]:
    """F1 of telling bilabials from vowels by a closed mouth (`closure_counts`), and how many bilabials there were.

    Returns:
        None where no bilabial falls into the moments.
    """
    hits, misses, alarms, _ = closure_counts(time, opening, phones=phones, threshold=threshold)
    if not hits + misses:
        return None, 0
    return 2 * hits / (2 * hits + misses + alarms), hits + misses


def silent_and_spoken(
    samples: Float[np.ndarray, " N"], time: Float[np.ndarray, " T"]
) -> tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]:
    """Which moments (seconds of a 16 kHz recording) lie in silence, 300 ms after its beginning, and which in speech."""
    activity = speech_activity(loudness(samples))
    clock = np.arange(len(activity)) / 100
    now, before = (np.interp(time - back, clock, activity) for back in (0.0, SETTLED - RELEASED))
    return (now <= 0) & (before <= 0), now > 0.99


def silence_motion_ratio(
    time: Float[np.ndarray, " T"],
    points: Float[np.ndarray, "T L 3"],
    *,
    silent: Bool[np.ndarray, " T"],
    spoken: Bool[np.ndarray, " T"],
) -> float | None:
    """Mean speed of the lips in silence over that in speech; None without three moments of either."""
    step = np.diff(time)
    speed = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(-1) / step
    # A step over a gap between stretches is no motion.
    near = step < 1.5 * np.median(step)
    quiet, loud = (near & chosen[1:] & chosen[:-1] for chosen in (silent, spoken))
    if quiet.sum() < 3 or loud.sum() < 3:
        return None
    return float(speed[quiet].mean() / max(speed[loud].mean(), 1e-12))
