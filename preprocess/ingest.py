"""Ingest: a recording in, a take out, with every frame cropped to the head and looked at; ready for tracking.

The recording is decoded twice, one frame in memory at a time: once to follow all faces and find the cuts, then, with
the shot, the main face and the crop known, to write what the take holds. Apart from a few dozen sampled frames and
the landmarks, memory does not grow with the clip.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import InputError
from avatar.io.audio import read_audio
from avatar.io.take import SPEECH_RATE, Perception, Take, TakeInfo
from avatar.io.video import Box, probe, read_frames
from avatar.models.cache import sha256_of
from avatar.preprocess._threads import ahead, map_ordered
from avatar.preprocess.framing import Crop, bridge_gaps, choose_crop, face_heights, inside_crop, require_enough
from avatar.preprocess.landmarks import region_of
from avatar.preprocess.observer import LooseSample, Observer, Sample, default_observer
from avatar.preprocess.sightings import Sightings, follow_main_face
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Float

logger = logging.getLogger(__name__)

STAGE = "ingest"

# Below this face height in pixels the landmarker's own input (256 pixels for the face and its surroundings) is finer.
_FINE_FACE = 200.0
_PLATE_SAMPLES = 48
# Frames a second that a take may claim; what lies outside is a broken clock.
_SLOWEST, _FASTEST = Fraction(1), Fraction(240)


def ingest(
    video: Path,
    take_path: Path,
    *,
    size: int = 512,
    all_shots: bool = False,
    observer: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Take:
    """Turns a recording into a take that is ready for tracking; returns at once where that has been done.

    Frames where the face was lost or covered for up to a quarter of a second get interpolated landmarks and
    confidence 0, longer losses NaN; neither is used for training. Of several faces the main one is followed. Of a
    recording with cuts the shot where that is seen longest makes the take, which is noted in take.json.

    Args:
        video: The recording of one person.
        take_path: Folder of the take; made where it is missing.
        size: Largest side of the images in pixels; the recording is only ever scaled down.
        all_shots: Uses every shot with the main face, one second apart on the take's clock.
        observer: What looks at the frames; the product's own when None.
        progress: Called with frames done and in total, over both passes.

    Raises:
        InputError: The recording cannot be read, shows too little of a face or two equal ones, or the folder cannot be
            written to or holds the take of another recording; nothing has been changed then.
    """
    video, take_path = Path(video), Path(take_path)
    started = time.perf_counter()
    info = probe(video)
    digest = sha256_of(video)
    finished = _existing(take_path, video, digest, size, all_shots)
    if finished is not None:
        return finished
    observer = default_observer() if observer is None else observer
    report = progress or (lambda done, total: None)

    sightings, selection, source = follow_main_face(video, info, observer, report, all_shots=all_shots)
    require_enough(video.name, sightings.seen, sightings.times, shots=len(selection.rows))
    crop = choose_crop(sightings.landmarks[sightings.seen], info.width, info.height)
    sightings = replace(sightings, confidence=sightings.confidence * inside_crop(sightings.landmarks, crop))
    require_enough(video.name, sightings.seen, sightings.times, shots=len(selection.rows))
    for note in selection.notes:
        logger.info("%s", note)
    followed = time.perf_counter()

    side = min(size, crop.side)
    rate = frame_rate(source[slice(*max(selection.shots, key=lambda shot: shot.stop - shot.start))], info.fps)
    take = new_take(take_path, crop, side, rate=rate, name=video.name, digest=digest)
    seen = _to_crop(sightings, crop, side)
    _write_pictures(video, take, crop, seen, sightings, observer, report)
    take.write_perception(seen)
    take.write_frames(sightings.times, sightings.seen)
    # Not even the background is learned from held-out frames.
    chosen = evenly_spread(take.split()["train"], _PLATE_SAMPLES)
    take.write_background(observer.plate((take.image(int(i)), take.mask(int(i))) for i in chosen))
    drawn = time.perf_counter()

    sound = read_audio(video)
    if sound is not None:
        take.write_speech(selection.sound(sound, source, rate=SPEECH_RATE))
    take.record(
        STAGE,
        seconds=time.perf_counter() - started,
        size=size,
        frames=len(sightings.times),
        declared_frames=info.frames,
        all_shots=all_shots,
        shots=selection.rows,
        notes=list(selection.notes),
        used=int(sightings.seen.sum()),
        covered=int(sightings.covered.sum()),
        bridged=int((np.isfinite(seen["landmarks"][:, 0, 0]) & ~sightings.seen).sum()),
        has_audio=sound is not None,
        follow_seconds=round(followed - started, 2),
        write_seconds=round(drawn - followed, 2),
        sound_seconds=round(time.perf_counter() - drawn, 2),
    )
    return take


def frame_rate(times: Float[np.ndarray, " T"], declared: Fraction) -> Fraction:
    """Average frames a second of T decoded times in seconds; `declared` where that is right to one per cent.

    Headers of files with a variable frame rate may state the tick of their clock, such as 1000, instead.
    """
    span = float(times[-1] - times[0]) if len(times) else 0.0
    if span <= 0:
        return min(max(declared, _SLOWEST), _FASTEST)
    measured = Fraction((len(times) - 1) / span)
    rate = declared if abs(declared / measured - 1) <= Fraction(1, 100) else measured.limit_denominator(1001)
    return min(max(rate, _SLOWEST), _FASTEST)


def _existing(path: Path, video: Path, digest: str, size: int, all_shots: bool) -> Take | None:
    """The finished take, or None where there is work to do; raises InputError where the folder is no place for it."""
    if (path / "take.json").is_file():
        take = Take.open(path)
        if take.info.source_sha256 != digest:
            raise InputError(
                f"{path} holds the take of another recording",
                expected=f"a take of {video.name} or no take",
                found=f"one of {take.info.source_name} with other content",
                fix="choose another output folder",
            )
        if not take.is_complete(STAGE):
            return None
        if take.info.stages[STAGE].detail.get("size") != size:
            raise InputError(
                f"{path} holds a take of another size",
                expected=f"images of at most {size} pixels",
                found=f"a limit of {take.info.stages[STAGE].detail.get('size')}",
                fix="choose another output folder, or the same size",
            )
        if take.info.stages[STAGE].detail.get("all_shots", False) != all_shots:
            raise InputError(
                f"{path} holds a take of other shots",
                expected="one of " + ("all shots" if all_shots else "the longest shot"),
                found="one of " + ("the longest shot" if all_shots else "all shots"),
                fix=f"choose another output folder, or {'leave out' if all_shots else 'give'} --all-shots",
            )
        return take
    require_place(path)
    return None


def new_take(path: Path, crop: Crop, side: int, *, rate: Fraction, name: str, digest: str) -> Take:
    """An empty take for what a crop of a clip shows.

    Args:
        path: The take's folder.
        crop: What of the upright source is shown.
        side: Pixels of the take's square pictures.
        rate: Frames a second.
        name: The clip's name.
        digest: Its SHA-256.
    """
    info = TakeInfo(
        width=side,
        height=side,
        fps=(rate.numerator, rate.denominator),
        source_name=name,
        source_sha256=digest,
        crop=(crop.left, crop.top, crop.side),
    )
    return Take.create(path, info)


def require_place(path: Path) -> None:
    """Raises InputError where no folder can be made, or written to, at a path."""
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"{path} cannot be written",
            expected="a folder that can be written to",
            found=f"{place} is {'write-protected' if place.is_dir() else 'a file'}",
            fix="choose another output folder",
        )


def _to_crop(sightings: Sightings, crop: Crop, side: int) -> Perception:
    """The sightings in pixels of the take's images, short gaps bridged. Cropping and scaling are linear, so is this."""
    landmarks = (sightings.landmarks - np.array([crop.left, crop.top, 0], np.float32)) * np.float32(side / crop.side)
    return Perception(
        landmarks=bridge_gaps(landmarks, sightings.seen, sightings.times),
        blendshapes=bridge_gaps(sightings.blendshapes, sightings.seen, sightings.times),
        confidence=np.where(sightings.seen, sightings.confidence, np.float32(0)),
    )


def _colour_samples(sightings: Sightings, crop: Crop, observer: Observer) -> Iterator[Sample]:
    scale = sightings.shrink
    small = Crop(*(int(value * scale) for value in crop))
    for index, image in sightings.samples.items():
        if sightings.seen[index]:
            part = np.ascontiguousarray(image[small.top :, small.left :][: small.side, : small.side])
            points = sightings.landmarks[index] * scale - np.array([small.left, small.top, 0], np.float32)
            yield part, observer.segment(part), points


def _write_pictures(
    video: Path,
    take: Take,
    crop: Crop,
    seen: Perception,
    sightings: Sightings,
    observer: Observer,
    progress: Callable[[int, int], None],
) -> None:
    """Writes images, masks and parts; a face that was small in the search is found again in the finer crop."""
    model = observer.fit_regions(_colour_samples(sightings, crop, observer))
    sightings.samples.clear()
    count = len(sightings.times)
    searched = float(np.median(face_heights(sightings.landmarks[sightings.seen]))) * sightings.shrink
    refine = searched < _FINE_FACE and take.info.width / crop.side > 1.2 * sightings.shrink
    pictures = read_frames(
        video,
        box=Box(crop.left, crop.top, crop.side, crop.side),
        size=(take.info.width, take.info.width),
        wanted=set(sightings.frames.tolist()),
    )

    def crops() -> Iterator[tuple[int, np.ndarray]]:
        for index, frame in zip(range(count), ahead(pictures), strict=False):
            if refine and sightings.seen[index]:
                found = observer.landmarker.look(frame.image, region_of(seen["landmarks"][index]))
                if found is not None:
                    seen["landmarks"][index], seen["blendshapes"][index] = found.landmarks, found.blendshapes
            yield index, frame.image

    def store(item: tuple[int, np.ndarray]) -> LooseSample:
        index, image = item
        alpha = observer.segment(image)
        take.write_image(index, image)
        take.write_mask(index, alpha)
        points = seen["landmarks"][index]
        return image, alpha, points if np.isfinite(points).all() else None

    labels = observer.label_parts(model, map_ordered(store, crops()))
    for index, _ in enumerate(map_ordered(lambda item: take.write_parts(*item), enumerate(labels))):
        progress(count + index + 1, 2 * count)
