"""The first pass over a recording: every face is followed, the cuts are found, and the main face is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.io.video import VideoInfo, read_frames
from avatar.preprocess._threads import ahead
from avatar.preprocess.faces import FaceFollower
from avatar.preprocess.main_face import cast_shot
from avatar.preprocess.observer import Observer
from avatar.preprocess.selection import Selection, select_shots
from avatar.preprocess.shots import CutFinder
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int, UInt8

# The face is followed in pictures of at most this size: finer ones cost time and show the landmarker nothing more.
_SEARCH_SIDE = 1280
_CONFIDENT = 0.5
_COLOUR_SAMPLES, _FEWEST_SAMPLES = 32, 12


@dataclass(frozen=True)
class Sightings:
    """The main face in the T rows of a take, in pixels of the upright source; NaN where it was not seen.

    `frames` are their numbers in the source, `covered` says where something is before the face, and `samples` are
    pictures by row, `shrink` times as large as the source's.
    """

    frames: Int[np.ndarray, " T"]
    times: Float[np.ndarray, " T"]
    landmarks: Float32[np.ndarray, "T 478 3"]
    blendshapes: Float32[np.ndarray, "T 52"]
    confidence: Float32[np.ndarray, " T"]
    covered: Bool[np.ndarray, " T"]
    samples: dict[int, UInt8[np.ndarray, "h w 3"]]
    shrink: float

    @property
    def seen(self) -> Bool[np.ndarray, " T"]:
        """Where the face was seen clearly."""
        return self.confidence >= _CONFIDENT


def follow_main_face(
    video: Path, info: VideoInfo, observer: Observer, progress: Callable[[int, int], None], *, all_shots: bool
) -> tuple[Sightings, Selection, Float[np.ndarray, " F"]]:
    """The main face in the chosen shots, the choice, and the seconds of all F frames of the recording."""
    times: list[float] = []
    samples: dict[int, np.ndarray] = {}
    stride = 1
    shrink = min(1.0, _SEARCH_SIDE / max(info.width, info.height))
    follower, cuts = FaceFollower(observer.landmarker), CutFinder()
    size = (info.width, info.height)
    for index, frame in enumerate(ahead(read_frames(video, max_side=_SEARCH_SIDE))):
        size = frame.image.shape[1::-1]
        times.append(frame.time)
        seen = follower.look(frame.image, frame.time, afresh=cuts.look(frame.image))
        if seen and index % stride == 0:
            samples[index] = frame.image
            if len(samples) > _COLOUR_SAMPLES:
                # Every other one goes, so that those kept stay spread over however long the clip is.
                stride *= 2
                samples = {i: image for i, image in samples.items() if i % stride == 0}
        progress(index + 1, 2 * max(info.frames, index + 1))
    source = np.array(times)
    castings = [cast_shot(shot, follower.tracklets, source, size=size) for shot in cuts.shots()]
    selection = select_shots(video.name, castings, source, all_shots=all_shots, shrink=shrink)
    sightings = sightings_of(selection, source, shrink=shrink)
    samples = _samples_of(video, sightings, samples)
    return replace(sightings, samples=samples), selection, source


def sightings_of(selection: Selection, source: Float[np.ndarray, " F"], *, shrink: float) -> Sightings:
    """The persons of a selection, without pictures; `source` has the seconds of all F frames of the recording."""
    landmarks = np.full((len(source), 478, 3), np.nan, np.float32)
    blendshapes, confidence = np.full((len(source), 52), np.nan, np.float32), np.zeros(len(source), np.float32)
    covered = np.zeros(len(source), bool)
    for shot, person in zip(selection.shots, selection.persons, strict=True):
        for tracklet in person.tracklets:
            rows = slice(tracklet.start, tracklet.stop)
            landmarks[rows] = np.stack(tracklet.landmarks) / np.float32(shrink)
            blendshapes[rows], confidence[rows] = np.stack(tracklet.blendshapes), tracklet.confidence
        covered[slice(*shot)] = person.covered(source)[slice(*shot)]
    frames = selection.frames
    return Sightings(
        frames=frames,
        times=selection.times(source),
        landmarks=landmarks[frames],
        blendshapes=blendshapes[frames],
        confidence=np.where(covered, np.float32(0), confidence)[frames],
        covered=covered[frames],
        samples={},
        shrink=shrink,
    )


def _samples_of(
    video: Path, sightings: Sightings, samples: dict[int, UInt8[np.ndarray, "h w 3"]]
) -> dict[int, UInt8[np.ndarray, "h w 3"]]:
    """Pictures of rows with the face, spread over the take; read again where too few of `samples` lie in it."""
    row_of = {int(frame): row for row, frame in enumerate(sightings.frames) if sightings.seen[row]}
    kept = {row_of[index]: image for index, image in samples.items() if index in row_of}
    if len(kept) >= min(_FEWEST_SAMPLES, len(row_of)):
        return kept
    frames = np.array(list(row_of))
    wanted = set(evenly_spread(frames, _COLOUR_SAMPLES).tolist())
    return {row_of[frame.index]: frame.image for frame in read_frames(video, max_side=_SEARCH_SIDE, wanted=wanted)}
