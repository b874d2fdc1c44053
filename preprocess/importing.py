"""Another tool's pictures in, a take out that is ready for tracking with a head of one's own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.errors import InputError
from avatar.io._files import replacing
from avatar.io.audio import read_audio
from avatar.io.imported import ImportedClip, read_picture
from avatar.io.parts import BACKGROUND
from avatar.io.take import Perception, Take
from avatar.io.vhap import in_camera
from avatar.preprocess.camera_check import check_cameras
from avatar.preprocess.faces import FaceFollower
from avatar.preprocess.framing import Crop, bridge_gaps, require_enough
from avatar.preprocess.ingest import STAGE, new_take, require_place
from avatar.preprocess.main_face import cast_shot
from avatar.preprocess.observer import LooseSample, Observer, default_observer
from avatar.preprocess.selection import select_shots
from avatar.preprocess.shots import Shot
from avatar.preprocess.sightings import sightings_of
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.motion import Motion

MOTION = "imported_motion.npz"
FLAME_VERTICES = 5023
_CONFIDENT = 0.5
_SAMPLES, _PLATE_SAMPLES = 32, 48


def import_clip(
    clip: ImportedClip,
    take_path: Path,
    *,
    name: str,
    size: int = 512,
    head: Head | None = None,
    observer: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Take:
    """Makes a take of another tool's pictures: cropped around the principal point, and looked at.

    Masks and labels of the tool are kept where it has made some. A motion that it knows is checked against the pictures
    and kept as ``imported_motion.npz`` in the take's own world; it serves one head model and no other. That of a tool
    which says FLAME and not which is taken for `head`'s, where that is one.

    Args:
        clip: What the tool left.
        take_path: Folder of the take, which must not hold a finished one.
        name: Name of the recording.
        size: Largest side of the images in pixels.
        head: The head model that the take will be tracked with, where it is known.
        observer: What looks at the pictures; the product's own when None.
        progress: Called with pictures done and in total, over both passes.

    Raises:
        InputError: There is a take already, or the unfinished one of other pictures, or the pictures show too little of
            a face or two equal ones.
        FormatError: A picture cannot be read, or the cameras do not fit the pictures.
    """
    started = time.perf_counter()
    if finished_import(clip, take_path, name=name) is not None:
        raise InputError(f"{take_path} already holds a take", expected="a new folder", fix="choose another with -o")
    observer = default_observer() if observer is None else observer
    report = progress or (lambda done, total: None)
    crop = _crop(clip)
    side = min(size, crop.side)
    count = len(clip.images)

    seen, digest = _look(clip, crop, side, name=name, observer=observer, progress=report)
    used = seen["confidence"] >= _CONFIDENT
    require_enough(name, used, clip.time)
    scale = side / crop.side
    if clip.to_world is not None and clip.motion is not None:
        intrinsics = np.array([[clip.focal * scale, 0, side / 2], [0, clip.focal * scale, side / 2], [0, 0, 1]])
        check_cameras(name, clip.to_world, motion=clip.motion, landmarks=seen["landmarks"], intrinsics=intrinsics)
    rate = Fraction(clip.fps).limit_denominator(1001)
    take = new_take(take_path, crop, side, rate=rate, name=name, digest=digest)
    landmarks = bridge_gaps(seen["landmarks"], used, clip.time)
    _write(clip, take, crop, landmarks, used, observer=observer, progress=report)
    take.write_perception(
        Perception(
            landmarks=landmarks,
            blendshapes=bridge_gaps(seen["blendshapes"], used, clip.time),
            confidence=np.where(used, seen["confidence"], np.float32(0)),
        )
    )
    take.write_frames(clip.time - clip.time[0], used)
    chosen = evenly_spread(take.split()["train"], _PLATE_SAMPLES)
    take.write_background(observer.plate((take.image(int(i)), take.mask(int(i))) for i in chosen))
    sound = read_audio(clip.sound) if clip.sound is not None else None
    if sound is not None:
        take.write_speech(sound)
    kept = _keep_motion(clip, take, head)
    take.record(
        STAGE,
        seconds=time.perf_counter() - started,
        size=size,
        frames=count,
        used=int(used.sum()),
        has_audio=sound is not None,
        layout=clip.layout,
        motion=kept,
    )
    return take


def finished_import(clip: ImportedClip, take_path: Path, *, name: str) -> Take | None:
    """The finished take that the clip's pictures have made before; None where there is none yet.

    Raises:
        InputError: The folder holds the take of other pictures, or cannot be written to.
        FormatError: A picture cannot be read.
    """
    if not (take_path / "take.json").is_file():
        require_place(take_path)
        return None
    take = Take.open(take_path)
    finished = take.is_complete(STAGE)
    crop, digest = _crop(clip), hashlib.sha256()
    for path in clip.images:
        digest.update(_square(read_picture(path), crop, take.info.width).tobytes())
    if digest.hexdigest() != take.info.source_sha256:
        raise InputError(
            f"{take_path} holds the take of another recording",
            expected=f"a take of {name} or no take",
            found=f"{'one' if finished else 'an unfinished one'} of {take.info.source_name} with other pictures",
            fix="choose another output folder with -o" + ("" if finished else ", or remove that one"),
        )
    return take if finished else None


def _crop(clip: ImportedClip) -> Crop:
    """The largest square around the principal point, so that it is the middle of the take's images."""
    height, width = read_picture(clip.images[0]).shape[:2]
    x, y = clip.center or (width / 2, height / 2)
    side = int(2 * min(x, width - x, y, height - y))
    if side < 64:
        raise InputError(
            f"The {clip.layout} pictures cannot be used",
            expected="a principal point well inside the pictures",
            found=f"({x:.0f}, {y:.0f}) in {width} x {height} pixels",
            fix="export pictures that are not cropped off the camera's axis",
        )
    return Crop(left=round(x - side / 2), top=round(y - side / 2), side=side)


def _square(image: np.ndarray, crop: Crop, side: int) -> np.ndarray:
    part = np.ascontiguousarray(image[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side])
    return part if side == crop.side else cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)


def _look(
    clip: ImportedClip, crop: Crop, side: int, *, name: str, observer: Observer, progress: Callable[[int, int], None]
) -> tuple[Perception, str]:
    """The main face in every picture, pixels of the take; and a hash of all pictures."""
    count = len(clip.images)
    follower, digest = FaceFollower(observer.landmarker), hashlib.sha256()
    for index, path in enumerate(clip.images):
        image = _square(read_picture(path), crop, side)
        digest.update(image.tobytes())
        follower.look(image, float(clip.time[index]))
        progress(index + 1, 2 * count)
    casting = cast_shot(Shot(0, count), follower.tracklets, clip.time, size=(side, side))
    selection = select_shots(name, [casting], clip.time, all_shots=False, shrink=1.0)
    found = sightings_of(selection, clip.time, shrink=1.0)
    seen = Perception(landmarks=found.landmarks, blendshapes=found.blendshapes, confidence=found.confidence)
    return seen, digest.hexdigest()


def _write(
    clip: ImportedClip,
    take: Take,
    crop: Crop,
    landmarks: Float[np.ndarray, "T 478 3"],
    used: np.ndarray,
    *,
    observer: Observer,
    progress: Callable[[int, int], None],
) -> None:
    """Writes images, masks and labels, those of the tool where it has made some."""
    side, count = take.info.width, len(clip.images)

    def picture(index: int) -> LooseSample:
        image = _square(read_picture(clip.images[index]), crop, side)
        alpha = observer.segment(image) if clip.mask is None else _square(clip.mask(index), crop, side)
        return image, alpha, landmarks[index] if np.isfinite(landmarks[index]).all() else None

    def pictures() -> Iterator[LooseSample]:
        for index in range(count):
            image, alpha, points = picture(index)
            take.write_image(index, image)
            take.write_mask(index, alpha)
            progress(count + index + 1, 2 * count)
            yield image, alpha, points

    if clip.parts is not None:
        for index, (_, alpha, _) in enumerate(pictures()):
            labels = _square(clip.parts(index).astype(np.float32), crop, crop.side)
            labels = cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST)
            take.write_parts(index, np.where(alpha > 0, labels, BACKGROUND).astype(np.uint8))
        return
    seen = np.flatnonzero(used)
    chosen = evenly_spread(seen, _SAMPLES)
    samples = (picture(int(index)) for index in chosen)
    model = observer.fit_regions((image, alpha, points) for image, alpha, points in samples if points is not None)
    for index, labels in enumerate(observer.label_parts(model, pictures())):
        take.write_parts(index, labels)


def _keep_motion(clip: ImportedClip, take: Take, head: Head | None) -> str:
    """Keeps the tool's motion beside the take's own; returns its head model, or why it could not be kept."""
    if clip.motion is None or clip.to_world is None:
        return "none"
    motion = None if head is None else _motion_of(clip.motion, head)
    root = None
    if motion is not None and head is not None:
        root = head.joints(torch.as_tensor(motion.betas)[None])[0, 0].numpy()
    try:
        motion = in_camera(motion or clip.motion, clip.to_world, root=root)
    except InputError as error:
        return str(error)
    replacing(take.path / MOTION, motion.save)
    return motion.head_id


def _motion_of(motion: Motion, head: Head) -> Motion | None:
    """The motion of a FLAME that the tool did not name, as one of `head`; None where it cannot be that model's."""
    if motion.head_hash or len(head.v_template) != FLAME_VERTICES:
        return None
    betas = _sized(motion.betas, head.shapedirs.shape[2])
    expression = _sized(motion.expression, head.exprdirs.shape[2])
    if betas is None or expression is None:
        return None
    return replace(motion, betas=betas, expression=expression, head_id=head.id, head_hash=head.hash)


def _sized(values: Float[np.ndarray, "*T n"], size: int) -> Float[np.ndarray, "*T m"] | None:
    """Coefficients filled up with zeros, or without zeros at the end; None where others would be lost."""
    if values[..., size:].any():
        return None
    missing = max(size - values.shape[-1], 0)
    return np.pad(values[..., :size], [(0, 0)] * (values.ndim - 1) + [(0, missing)])
