"""The shoulders' own motion: how far the clothes are from where the head's root would carry them.

A head model has no joint between shoulders and head but the neck, so its root follows the head. The clothes are
registered to a reference frame by their picture (ECC: Evangelidis and Psarakis, PAMI 2008), and what the root does not
explain is kept as the motion's ``torso``.
"""

from __future__ import annotations

import time as clock
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.io.parts import TORSO

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from avatar.io.take import Take

STAGE = "shoulders"
WORKING_SIDE = 160
SMALLEST_SHARE = 0.02
BLUR = 1.0
MARGIN = 2
MIDDLE_GRAY = 128
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-4)
LOWEST_CORRELATION = 0.8
ENOUGH_FRAMES = 0.8


def track_shoulders(take: Take, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Adds the shoulders' own motion to the take's tracked motion; where no clothes are seen they follow the root."""
    started = clock.perf_counter()
    shifts = clothes_shifts(take, progress=progress)
    if shifts is None:
        return
    motion, focal = take.motion(), take.info.focal
    reference = motion.transl[_reference(take)]
    # Pixels of a plane at the root's depth; towards the camera the shoulders are taken to stay where they are.
    moved = np.stack([shifts[:, 0], -shifts[:, 1], np.zeros(len(shifts))], axis=1) * (-reference[2] / focal)
    torso = (moved - (motion.transl - reference)).astype(np.float32)
    take.write_motion(replace(motion, torso=torso), focal=focal)
    take.record(STAGE, seconds=clock.perf_counter() - started)


def clothes_shifts(
    take: Take, *, progress: Callable[[int, int], None] | None = None
) -> Float[np.ndarray, "T 2"] | None:
    """Displacement of the clothes in each frame against the middle frame, pixels; None where no clothes are seen.

    The picture inside the clothes tells it best. Where too few frames can be registered by that, the clothes are plain,
    and their outline is followed as well. Frames that cannot be registered take the place between their neighbours.
    """
    if (take.parts(_reference(take)) == TORSO).mean() < SMALLEST_SHARE:
        return None
    shifts = _registered(take, outline=False, progress=progress)
    if np.isfinite(shifts[:, 0]).mean() < ENOUGH_FRAMES:
        shifts = _registered(take, outline=True, progress=progress)
    good = np.isfinite(shifts[:, 0])
    if not good.any():
        return None
    rows = np.arange(len(take))
    return np.stack([np.interp(rows, rows[good], column[good]) for column in shifts.T], axis=1)


def _registered(take: Take, *, outline: bool, progress: Callable[[int, int], None] | None) -> Float[np.ndarray, "T 2"]:
    """Displacements in pixels, NaN where a frame cannot be registered."""
    reference = _reference(take)
    factor = min(1.0, WORKING_SIDE / max(take.info.width, take.info.height))
    ground = _ground(take, reference) if outline else None
    template, mask = _clothes(take, reference, factor, ground)
    shifts = np.full((len(take), 2), np.nan)
    looked_at: list[int] = []

    def follow(frames: range) -> None:
        warp = np.eye(2, 3, dtype=np.float32)
        for index in frames:
            image, worn = _clothes(take, index, factor, ground)
            with suppress(cv2.error):  # ECC raises where it does not converge.
                score, found = cv2.findTransformECC(template, image, warp.copy(), cv2.MOTION_TRANSLATION, STOP, mask, 1)
                if score >= LOWEST_CORRELATION and worn.any():
                    warp = found
                    shifts[index] = found[:, 2] / factor
            looked_at.append(index)
            if progress:
                progress(len(looked_at), len(take))

    # Outwards from the reference, so that each frame starts from its neighbour's place; both ways at once.
    with ThreadPoolExecutor(max_workers=2) as ways:
        list(ways.map(follow, (range(reference, len(take)), range(reference - 1, -1, -1))))
    return shifts


def _reference(take: Take) -> int:
    """The middle one of the used frames."""
    used = np.flatnonzero(take.used)
    return int(used[len(used) // 2])


def _ground(take: Take, index: int) -> int:
    """Black or white, whichever is further from the clothes of a frame."""
    gray = cv2.cvtColor(take.image(index), cv2.COLOR_RGB2GRAY)
    return 255 if np.median(gray[take.parts(index) == TORSO]) < MIDDLE_GRAY else 0


def _clothes(take: Take, index: int, factor: float, ground: int | None) -> tuple[np.ndarray, np.ndarray]:
    """A small grey picture of a frame and where in it to look for the clothes.

    Without a ground, that is inside the clothes, away from their edge to the head and the scene. With one, all but the
    clothes is replaced by that grey, and their edge is looked at too.
    """
    gray = cv2.cvtColor(take.image(index), cv2.COLOR_RGB2GRAY)
    worn = take.parts(index) == TORSO
    if ground is not None:
        gray = np.where(worn, gray, np.uint8(ground))
    area = worn.astype(np.uint8) * np.uint8(255)
    gray, area = (cv2.resize(x, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for x in (gray, area))
    kernel = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    if ground is None:
        mask = cv2.erode((area >= MIDDLE_GRAY).astype(np.uint8) * np.uint8(255), kernel)
    else:
        mask = cv2.dilate((area > 0).astype(np.uint8) * np.uint8(255), kernel)
    return cv2.GaussianBlur(gray, (0, 0), BLUR), mask
