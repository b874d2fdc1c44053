"""Frames in which something is before the face, such as a hand: told by colours that the face has at no other time.

A landmarker goes on confidently behind a hand. The skin under its landmarks, however, keeps its colour over a clip but
for light and shade, so a frame where a part of the landmarks lies on other colours shows something else there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.face_mesh import EYE_CORNERS, OVAL

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

# fmt: off
# Landmarks that see the background, eyes, lids, teeth or tongue by turns (FACEMESH_FACE_OVAL, eyes with the rings
# around them, inner lips) say nothing here.
_CHANGING = (
    *OVAL,
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 130, 25, 110, 24, 23, 22, 26, 112),
    *(243, 190, 56, 28, 27, 29, 30, 247, 263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388),
    *(466, 359, 255, 339, 254, 253, 252, 256, 341, 463, 414, 286, 258, 257, 259, 260, 467),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324),
)
# fmt: on
_POINTS = np.setdiff1d(np.arange(468), _CHANGING)
# Colours are means over squares of this share of the distance between the outer corners of the eyes.
_BLUR = 0.05
# A landmark is covered where its colour is further from its usual one than this many times the spread it has anyway
# (its third quartile, at least so many 8-bit levels), and a face where such a share of its landmarks is for so long.
_UNUSUAL, _LEAST_SPREAD, _COVERED = 3.0, 6.0, 0.055
_SHORTEST = 0.1
# What happens in more frames than this is how the face looks: a turn, a change of light.
_MOST_FRAMES = 0.2
_FEWEST_FRAMES = 25
_MARGIN = 0.08


def face_colours(image: UInt8[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "P 3"]:
    """Colours under those landmarks of a face that lie on skin and lips."""
    points = landmarks[_POINTS, :2]
    eyes = landmarks[EYE_CORNERS[0], :2] - landmarks[EYE_CORNERS[1], :2]
    width = max(1, round(_BLUR * float(np.linalg.norm(eyes))))
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(points.min(axis=0)) - width, 0, size - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + width, low + 1, size).astype(int)
    part = cv2.blur(image[low[1] : high[1], low[0] : high[0]], (width, width))
    # Landmarks speak of pixel centres at +0.5.
    columns, rows = np.clip(np.floor(points - low), 0, high - low - 1).astype(int).T
    return part[rows, columns]


def covered_frames(
    colours: UInt8[np.ndarray, "T P 3"], seen: Bool[np.ndarray, " T"], times: Float[np.ndarray, " T"]
) -> Bool[np.ndarray, " T"]:
    """In which frames something is before the face.

    Args:
        colours: What `face_colours` found in each frame of one shot; rows of unseen frames are ignored.
        seen: (T,) frames with a face.
        times: (T,) seconds.
    """
    covered = np.zeros(len(seen), bool)
    if seen.sum() < _FEWEST_FRAMES:
        return covered
    found = colours[seen].astype(np.float32)
    found -= np.median(found, axis=0)
    # Light that falls on all of the face is no other colour.
    found -= np.median(found, axis=1, keepdims=True)
    distance = np.linalg.norm(found, axis=2)
    spread = np.maximum(np.percentile(distance, 75, axis=0), _LEAST_SPREAD)
    covered[seen] = (distance > _UNUSUAL * spread).mean(axis=1) > _COVERED
    for start, stop in np.flatnonzero(np.diff(np.concatenate([[False], covered, [False]]))).reshape(-1, 2):
        if times[stop - 1] - times[start] < _SHORTEST:
            covered[start:stop] = False
    if covered.sum() > _MOST_FRAMES * seen.sum():
        return np.zeros(len(seen), bool)
    # A hand has begun to come before it covers enough to be noticed.
    starts = np.searchsorted(times, times[covered] - _MARGIN, "left")
    stops = np.searchsorted(times, times[covered] + _MARGIN, "right")
    for start, stop in zip(starts, stops, strict=True):
        covered[start:stop] = True
    return covered
