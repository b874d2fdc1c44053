"""Whom a recording is about: one face for each shot, decided over the whole shot and consistent in time.

Tracklets become persons by place and by the shape of the face; the main person is the largest, most central and longest
seen. Two who are equal in that are not chosen between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.preprocess.faces import Tracklet
from avatar.preprocess.framing import face_heights
from avatar.preprocess.landmarks import region_of
from avatar.preprocess.occlusion import covered_frames
from avatar.preprocess.shots import Shot
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# Root-mean-square distance of mean face shapes whose size is one. One person's, from other recordings and sides, were
# measured up to 0.03 apart, those of different persons from 0.045 on; siblings may be nearer.
SAME_SHAPE = 0.037
# A rival this near to the main face's prominence leaves no main face.
_EQUAL = 0.6
# A face that comes back within this time, near where it was and of like size, is the same.
_RETURN_SECONDS, _RETURN_DISTANCE, _RETURN_GROWTH = 1.5, 0.6, 1.8
# How fast prominence falls off from the picture's middle; 1 is a corner's distance.
_FALL_OFF = 2.0
_SHAPE_SAMPLES = 40
# What speaks and blinks says little of the person: lips, and everything below them moves with the jaw.
_LIPS = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375, 78, 191, 80, 81, 82),
    *(13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324),
)
_STILL = np.setdiff1d(np.arange(468), _LIPS)


@dataclass(frozen=True)
class Person:
    """The tracklets of one face in a shot, in order, without overlap.

    Attributes:
        tracklets: Where it was seen.
        shape: Mean of the face without position, size and rotation.
        prominence: Face area in pixels weighted by nearness to the picture's middle, summed over the frames.
    """

    tracklets: tuple[Tracklet, ...]
    shape: Float[np.ndarray, "P 3"]
    prominence: float

    @property
    def frames(self) -> int:
        """Number of frames it was seen in."""
        return sum(len(tracklet.landmarks) for tracklet in self.tracklets)

    def seen(self, count: int) -> Bool[np.ndarray, " count"]:
        """In which of a recording's frames it was seen."""
        seen = np.zeros(count, bool)
        for tracklet in self.tracklets:
            seen[tracklet.start : tracklet.stop] = True
        return seen

    def covered(self, times: Float[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
        """In which of a recording's frames, whose times in seconds are given, something is before its face."""
        if not self.tracklets:
            return np.zeros(len(times), bool)
        start, stop = self.tracklets[0].start, self.tracklets[-1].stop
        colours = np.zeros((stop - start, *self.tracklets[0].colours[0].shape), np.uint8)
        for tracklet in self.tracklets:
            colours[tracklet.start - start : tracklet.stop - start] = np.stack(tracklet.colours)
        result = np.zeros(len(times), bool)
        result[start:stop] = covered_frames(colours, self.seen(len(times))[start:stop], times[start:stop])
        return result

    @property
    def height(self) -> float:
        """Median height of the face in pixels of the searched pictures."""
        return float(np.median(np.concatenate([face_heights(np.stack(t.landmarks)) for t in self.tracklets])))

    @property
    def middle(self) -> float:
        """Median place from left to right in the same pixels."""
        return float(np.median([region_of(points).x for t in self.tracklets for points in t.landmarks]))


@dataclass(frozen=True)
class Casting:
    """Who is in a shot.

    Attributes:
        shot: The shot.
        persons: Everyone seen in it, the most prominent first.
    """

    shot: Shot
    persons: tuple[Person, ...]

    @property
    def main(self) -> Person | None:
        """The main person, or None where no face was seen or nobody stands out."""
        return None if not self.persons or self.rival else self.persons[0]

    @property
    def rival(self) -> Person | None:
        """The second person where that one is about as prominent as the first."""
        first, second = (*self.persons, None, None)[:2]
        return second if first and second and second.prominence >= _EQUAL * first.prominence else None


def cast_shot(
    shot: Shot, tracklets: Sequence[Tracklet], times: Float[np.ndarray, " T"], *, size: tuple[int, int]
) -> Casting:
    """Puts the tracklets of a shot together to persons.

    Args:
        shot: The shot.
        tracklets: Those of the whole recording; the ones that begin in the shot count.
        times: (T,) seconds of all frames.
        size: Width and height of the searched pictures.
    """
    inside = [tracklet for tracklet in tracklets if shot.start <= tracklet.start < shot.stop]
    return Casting(shot, tuple(sorted(_persons(inside, times, size=size), key=lambda person: -person.prominence)))


def shape_distance(first: Float[np.ndarray, "P 3"], second: Float[np.ndarray, "P 3"]) -> float:
    """Distance of two shapes of `Person` at the best rotation; below `SAME_SHAPE` for one person."""
    return float(np.sqrt(((_aligned(first[None], second)[0] - second) ** 2).sum(axis=1).mean()))


def _persons(tracklets: Sequence[Tracklet], times: Float[np.ndarray, " T"], *, size: tuple[int, int]) -> list[Person]:
    persons: list[list[Tracklet]] = []
    shapes: dict[int, np.ndarray] = {id(tracklet): _shape([tracklet]) for tracklet in tracklets}
    # The longest say best who is who, so they come first.
    for tracklet in sorted(tracklets, key=lambda item: -len(item.landmarks)):
        best, nearest = None, np.inf
        for person in persons:
            if any(tracklet.start < other.stop and other.start < tracklet.stop for other in person):
                continue
            distance = shape_distance(shapes[id(tracklet)], shapes[id(person[0])])
            if any(_comes_back(*_in_order(tracklet, other), times) for other in person):
                distance /= 4
            if distance < min(SAME_SHAPE, nearest):
                best, nearest = person, distance
        if best is None:
            persons.append([tracklet])
        else:
            best.append(tracklet)
    return [
        Person(
            tuple(sorted(person, key=lambda item: item.start)),
            _shape(person),
            sum(_prominence(tracklet, size) for tracklet in person),
        )
        for person in persons
    ]


def _in_order(first: Tracklet, second: Tracklet) -> tuple[Tracklet, Tracklet]:
    return (first, second) if first.start < second.start else (second, first)


def _comes_back(before: Tracklet, after: Tracklet, times: Float[np.ndarray, " T"]) -> bool:
    last, first = before.region, region_of(after.landmarks[0])
    distance = np.hypot(last.x - first.x, last.y - first.y) / last.side
    near = distance < _RETURN_DISTANCE and 1 / _RETURN_GROWTH < first.side / last.side < _RETURN_GROWTH
    return bool(near and times[after.start] - times[before.stop - 1] < _RETURN_SECONDS)


def _prominence(tracklet: Tracklet, size: tuple[int, int]) -> float:
    landmarks = np.stack(tracklet.landmarks)
    middle = np.array(size) / 2
    offset = np.linalg.norm(landmarks[..., :2].mean(axis=1) - middle, axis=1) / np.linalg.norm(middle)
    return float((face_heights(landmarks) ** 2 * np.exp(-_FALL_OFF * offset**2)).sum())


def _shape(tracklets: Sequence[Tracklet]) -> Float[np.ndarray, "P 3"]:
    """Mean shape of a face over its tracklets (generalised Procrustes analysis: Gower, Psychometrika 1975)."""
    points = np.concatenate([np.stack(tracklet.landmarks) for tracklet in tracklets])
    rows = evenly_spread(np.arange(len(points)), _SHAPE_SAMPLES)
    shapes = points[rows][:, _STILL].astype(np.float64)
    shapes -= shapes.mean(axis=1, keepdims=True)
    shapes /= np.sqrt((shapes**2).sum(axis=(1, 2), keepdims=True) / shapes.shape[1]).clip(1e-9)
    mean = shapes[len(shapes) // 2]
    for _ in range(3):
        mean = _aligned(shapes, mean).mean(axis=0)
        mean /= max(np.sqrt((mean**2).sum() / len(mean)), 1e-9)
    return mean


def _aligned(shapes: Float[np.ndarray, "N P 3"], to: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "N P 3"]:
    """Shapes rotated onto another (Kabsch, Acta Crystallographica A 1976)."""
    u, _, vt = np.linalg.svd(np.einsum("npi,pj->nij", shapes, to))
    u[:, :, -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.einsum("npi,nij->npj", shapes, u @ vt)
