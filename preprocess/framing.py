"""Where the head is in a clip: one square crop for all frames, and landmarks over short losses of the face."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# MediaPipe's face mesh: middle of the hair line, chin, and the face's left and right border beside the ears.
_FOREHEAD, _CHIN, _SIDES = 10, 152, (234, 454)

# In face heights (hair line to chin). The skull ends 0.35 above the hair line; hair needs more.
_ABOVE, _BELOW, _BESIDE = 0.5, 0.55, 0.3
_SIDE = 2.15
_CENTRE_ABOVE_CHIN = 0.42


class Crop(NamedTuple):
    """A square of the upright source picture, in pixels."""

    left: int
    top: int
    side: int


def face_heights(landmarks: Float[np.ndarray, "T 478 3"]) -> Float[np.ndarray, " T"]:
    """Distance in the picture from hair line to chin, in pixels."""
    return np.linalg.norm(landmarks[:, _FOREHEAD, :2] - landmarks[:, _CHIN, :2], axis=1)


def choose_crop(landmarks: Float[np.ndarray, "T 478 3"], width: int, height: int) -> Crop:
    """The square that holds the head with hair and neck in all frames, and shoulders where the picture has them.

    It is at least about twice the median face's height, more where the head moves about, and never leaves the picture;
    a picture smaller than that gives its largest square, where the head is in it most often. Single wild detections do
    not widen it.

    Args:
        landmarks: (T, 478, 3) pixels of the frames where the face was seen, T > 0.
        width: Width of the picture.
        height: Height of the picture.
    """
    size = float(np.median(face_heights(landmarks)))
    lower = landmarks[..., :2].min(axis=1) - size * np.array([_BESIDE, _ABOVE])
    upper = landmarks[..., :2].max(axis=1) + size * np.array([_BESIDE, _BELOW])
    (left, top), (right, bottom) = np.percentile(lower, 1, axis=0), np.percentile(upper, 99, axis=0)
    side = int(min(np.ceil(max(_SIDE * size, right - left, bottom - top)), width, height))
    middle = _busiest(lower[:, 0], upper[:, 0], side) if right - left > side else (left + right) / 2
    centre = float(np.median(landmarks[:, _CHIN, 1])) - _CENTRE_ABOVE_CHIN * size
    # The head comes first: the shoulders' room gives way when it would cut off hair or neck.
    start = centre - side / 2
    start = max(start, bottom - side) if bottom - top <= side else start
    start = min(start, top)
    return Crop(
        left=int(np.clip(round(middle - side / 2), 0, width - side)),
        top=int(np.clip(round(start), 0, height - side)),
        side=side,
    )


def _busiest(lower: Float[np.ndarray, " T"], upper: Float[np.ndarray, " T"], side: int) -> float:
    """The middle of those intervals from lower to upper of which most fit into a stretch of a length together."""
    starts = np.unique(np.round(lower))
    held = [np.count_nonzero((lower >= start - 0.5) & (upper <= start + side)) for start in starts]
    start = starts[int(np.argmax(held))]
    inside = (lower >= start - 0.5) & (upper <= start + side)
    if not inside.any():
        return float(np.median((lower + upper) / 2))
    return float((lower[inside].min() + upper[inside].max()) / 2)


def inside_crop(landmarks: Float[np.ndarray, "T 478 3"], crop: Crop) -> Bool[np.ndarray, " T"]:
    """Whether the whole face lies in the crop, frame by frame; a lost face (NaN) does not."""
    corner = np.array([crop.left, crop.top])
    points = landmarks[..., :2] - corner
    with np.errstate(invalid="ignore"):
        inside = np.logical_and(points >= 0, points <= crop.side)
    return np.asarray(inside.all(axis=(1, 2)))


def bridge_gaps(
    values: Float[np.ndarray, "T ..."],
    seen: Bool[np.ndarray, " T"],
    times: Float[np.ndarray, " T"],
    *,
    longest: float = 0.25,
) -> Float[np.ndarray, "T ..."]:
    """Fills short losses between two sightings by straight lines over time.

    Args:
        values: One row a frame; rows of unseen frames are ignored.
        seen: Frames that count.
        times: Seconds, increasing.
        longest: Longest time in seconds between the two sightings around a gap that is filled.

    Returns:
        The rows, NaN where the gap is longer or has one end only.
    """
    filled = np.where(seen.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
    known = np.flatnonzero(seen)
    for before, after in pairwise(known):
        span = times[after] - times[before]
        if after - before > 1 and span <= longest + 1e-9:
            inner = slice(before + 1, after)
            weight = ((times[inner] - times[before]) / span).reshape(-1, *[1] * (values.ndim - 1))
            filled[inner] = (1 - weight) * values[before] + weight * values[after]
    return filled.astype(values.dtype)


def require_enough(
    name: str,
    used: Bool[np.ndarray, " T"],
    times: Float[np.ndarray, " T"],
    *,
    frames: int = 50,
    seconds: float = 2.0,
    shots: int = 1,
) -> None:
    """Raises InputError, with advice on recording, when the face was seen in too little of a clip.

    Args:
        name: The clip's name.
        used: (T,) frames in which the face was seen.
        times: (T,) seconds.
        frames: Fewest frames with a face.
        seconds: Least time with a face.
        shots: Number of shots that the clip was cut into, of which this may be one.
    """
    count = int(used.sum())
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if count >= frames and count * step >= seconds:
        return
    found = "no face found in" if count == 0 else f"a face in {count} of"
    raise InputError(
        f"{name} shows too little of a face",
        expected=f"a face in at least {frames} frames and {seconds:g} s",
        found=f"{found} {len(times)} frames ({times[-1] + step if len(times) else 0:.1f} s)"
        + (f" of the shots used, of {shots} that the clip was cut into" if shots > 1 else ""),
        fix=("try --all-shots, or " if shots > 1 else "")
        + "record one person who faces the camera and talks for a few minutes, the whole head with hair and neck in "
        "the picture, in even light, with the camera held still",
    )
