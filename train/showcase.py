"""What the report shows of an avatar in motion: it turns, it talks, and it stands beside its own recording."""

from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.cameras import Camera
from avatar.errors import PartError
from avatar.fields.listening import with_sound
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.io.video import VideoWriter
from avatar.motion import PER_FRAME
from avatar.render.playback import background_image, render_motion
from avatar.render.trajectories import ORBIT_SECONDS, orbit, resized
from avatar.speech.drive import motion_from_audio
from avatar.speech.life_model import LifeModel
from avatar.speech.silence import loudness, speech_activity
from avatar.speech.stand_in import able_speaker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float, Int, UInt8

    from avatar.io.avatar import StoredAvatar
    from avatar.io.take import Take
    from avatar.motion import Motion

log = logging.getLogger(__name__)

# Long enough to judge by, short enough that drawing them costs seconds and the page can be mailed.
SECONDS = 4.0
SIDE, BESIDE_SIDE, CRF, PRESET = 384, 320, 23, "veryfast"
FASTEST = 30
SPEECH_RATE, LEAST_SOUND = 16000, 1.0
AT_REST = "at rest"
# Faces that every person makes, as ARKit weights.
FACES: dict[str, dict[str, float]] = {
    AT_REST: {},
    "open mouth": {"jawOpen": 0.7},
    "smile": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
    "pursed lips": {"mouthPucker": 0.9},
    "raised brows": {"browInnerUp": 0.9, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.9},
    "closed eyes": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
}


@dataclass(frozen=True)
class Film:
    """A short video for a page.

    Attributes:
        data: The MP4.
        poster: (H, W, 3) one of its pictures.
        seconds: Its length.
    """

    data: bytes
    poster: UInt8[np.ndarray, "H W 3"]
    seconds: float


def turning(stored: StoredAvatar, motion: Motion, center: Float[np.ndarray, " 3"]) -> Film:
    """The camera swings around the head once while it moves, over grey; begins and ends alike.

    Args:
        stored: The avatar.
        motion: What it does, there and back again so that the loop has no seam; the first `SECONDS` / 2 are used.
        center: (3,) what the camera looks at, metres.
    """
    rate = _rate(stored)
    half = round(SECONDS / 2 * rate)
    there = motion.resample(motion.time[0] + np.arange(half + 1) / float(rate))
    shown = _picked(there, np.concatenate([np.arange(half), np.arange(half, 0, -1)]))
    cameras = orbit(_camera(stored, SIDE), center, ORBIT_SECONDS * np.arange(2 * half) / (2 * half))
    gray = np.full((1, 1, 3), 0.8, np.float32)
    return _film(render_motion(stored.gaussians, shown, cameras, background=gray), rate, poster=half // 2)


def talking(stored: StoredAvatar, take: Take) -> Film | None:
    """The avatar says the liveliest seconds of its own recording from the sound alone.

    None where the recording has no sound to say, or the network that listens is not here (`avatar models`).
    """
    sound = take.speech()
    if sound is None or len(sound) < LEAST_SOUND * SPEECH_RATE:
        return None
    samples = _liveliest(sound)
    able, life = able_speaker(stored), LifeModel.from_tensors(stored.life)
    for note in able.notes:
        log.info("The report's talking avatar: %s", note)
    rate = _rate(stored)
    try:
        motion = motion_from_audio(able.speaker, life, samples=samples, fps=float(rate), seed=1)
        motion = with_sound(motion, stored.gaussians, samples, activity=speech_activity(loudness(samples)))
    except PartError as error:
        log.warning("The report does not show the avatar talking: %s", error)
        return None
    return _before_plate(stored, motion, rate, sound=(samples, SPEECH_RATE))


def moving(stored: StoredAvatar, motion: Motion) -> Film:
    """The avatar does the first seconds of a motion before its own background."""
    rate = _rate(stored)
    seconds = min(float(np.ptp(motion.time)), SECONDS)
    count = max(1, round(seconds * rate))
    shown = motion.resample(motion.time[0] + np.arange(count) / float(rate))
    return _before_plate(stored, shown, rate, sound=None)


def beside(stored: StoredAvatar, take: Take, indices: Int[np.ndarray, " n"]) -> Film:
    """Frames of the take on the left, the avatar in the same moments on the right."""
    camera = _camera(stored, BESIDE_SIDE)
    renders = render_motion(
        stored.gaussians,
        take.motion()[indices],
        [camera] * len(indices),
        background=background_image("plate", stored.plate, camera),
    )
    size = camera.width, camera.height
    pairs = (
        np.concatenate([cv2.resize(take.image(int(i)), size, interpolation=cv2.INTER_AREA), render], axis=1)
        for i, render in zip(indices, renders, strict=True)
    )
    times = take.times[indices]
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 1 / float(Fraction(*take.info.fps))
    return _film(pairs, Fraction(1 / spacing).limit_denominator(1001), poster=len(indices) // 2)


def excerpt(take: Take, around: float) -> Int[np.ndarray, " n"]:
    """Up to `SECONDS` of held-out frames with a moment (seconds) in the middle where there is room."""
    held_out = take.split()["test"]
    times = take.times[held_out]
    start = np.clip(around - SECONDS / 2, times[0], max(times[-1] - SECONDS, times[0]))
    step = max(1, math.ceil(Fraction(*take.info.fps) / FASTEST))
    return held_out[(times >= start) & (times < start + SECONDS)][::step]


def faces(stored: StoredAvatar, motion: Motion) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """Pictures of faces nobody has asked the subject for, by name; none where the head knows no ARKit actions.

    Args:
        stored: The avatar.
        motion: One moment, whose place of the head is kept.
    """
    head = stored.head
    if not head.arkit_names:
        return {}
    weights = np.zeros((len(FACES), len(ARKIT_NAMES)))
    for row, actions in zip(weights, FACES.values(), strict=True):
        row[[ARKIT_NAMES.index(name) for name in actions]] = list(actions.values())
    parts = arkit_to_motion_parts(weights, head)
    posed = replace(
        _picked(motion, np.zeros(len(FACES), int)),
        expression=parts.expression,
        jaw_pose=parts.jaw_pose,
        leye_pose=parts.leye_pose,
        reye_pose=parts.reye_pose,
        eyelids=parts.eyelids,
    )
    camera = _camera(stored, BESIDE_SIDE)
    pictures = render_motion(
        stored.gaussians, posed, [camera] * len(FACES), background=background_image("plate", stored.plate, camera)
    )
    return dict(zip(FACES, pictures, strict=True))


def calm_moment(take: Take) -> Motion:
    """The moment of the training frames in which the head looks ahead with open eyes and a closed mouth."""
    motion = take.motion()[take.split()["train"]]
    away = np.linalg.norm(motion.global_orient + motion.neck_pose, axis=1)
    unrest = 2 * away + motion.eyelids.mean(1) + 2 * np.abs(motion.jaw_pose[:, 0])
    best = int(np.argmin(unrest))
    return motion[best : best + 1]


def _liveliest(sound: Float[np.ndarray, " N"]) -> Float[np.ndarray, " n"]:
    """The stretch of `SECONDS` with the most speech in it."""
    activity = np.concatenate([[0.0], np.cumsum(speech_activity(loudness(sound)))])
    window = round(100 * SECONDS)
    if len(activity) <= window + 1:
        return sound
    start = int(np.argmax(activity[window:] - activity[:-window])) * SPEECH_RATE // 100
    return sound[start : start + round(SECONDS * SPEECH_RATE)]


def _before_plate(
    stored: StoredAvatar, motion: Motion, rate: Fraction, *, sound: tuple[Float[np.ndarray, " N"], int] | None
) -> Film:
    camera = _camera(stored, SIDE)
    plate = background_image("plate", stored.plate, camera)
    pictures = render_motion(stored.gaussians, motion, [camera] * len(motion), background=plate)
    return _film(pictures, rate, poster=len(motion) // 2, sound=sound)


def _picked(motion: Motion, index: Int[np.ndarray, " n"]) -> Motion:
    """Moments of the motion in any order and number, on a new clock."""
    rows = {name: getattr(motion, name)[index] for name in (*PER_FRAME, "sound")}
    return replace(motion, time=np.arange(len(index), dtype=np.float64), **rows)


def _camera(stored: StoredAvatar, side: int) -> Camera:
    info = stored.info
    return resized(Camera.front(info.focal, info.width, info.height), min(side, max(info.width, info.height)))


def _rate(stored: StoredAvatar) -> Fraction:
    """The recording's frame rate, or a whole part of it that a page can bear."""
    rate = Fraction(*stored.info.fps)
    return rate / max(1, math.ceil(rate / FASTEST))


def _film(
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]],
    rate: Fraction,
    *,
    poster: int,
    sound: tuple[Float[np.ndarray, " N"], int] | None = None,
) -> Film:
    shown: np.ndarray | None = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        source = iter(pictures)
        first = next(source)
        height, width = first.shape[:2]
        with VideoWriter(path, fps=rate, width=width, height=height, audio=sound, crf=CRF, preset=PRESET) as writer:
            writer.write(first)
            for picture in source:
                if writer.frames == poster:
                    shown = picture.copy()
                writer.write(picture)
            count = writer.frames
        return Film(path.read_bytes(), first.copy() if shown is None else shown, count / float(rate))
