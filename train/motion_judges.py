"""What of pictures over time is judged: where the face's landmarks are, blinks, and flicker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from avatar.face_mesh import OUTER_LIPS
from avatar.train.flicker import MotionCompensation, temporal_residual
from avatar.train.picture_regions import MESH_POINTS, inter_ocular
from avatar.train.tally import TRUTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, UInt8

    from avatar.train.tally import Moment, Tally

# MediaPipe's blendshapes: closure of the two lids. A blink begins above the one and ends below the other.
BLINKS, SHUT, OPEN = (9, 10), 0.5, 0.35
# Without a blink in a shorter stretch than this nothing is known of the rate, seconds.
LEAST_SECONDS = 1.0
POINTS = {"face": np.arange(MESH_POINTS), "mouth": np.array(OUTER_LIPS)}


class Observation(Protocol):
    """What a landmark detector sees of a face."""

    @property
    def landmarks(self) -> Float[np.ndarray, "478 3"]: ...  # noqa: D102
    @property
    def blendshapes(self) -> Float[np.ndarray, " 52"]: ...  # noqa: D102


class Observer(Protocol):
    """A landmark detector that follows one face, such as `avatar.preprocess.landmarks.FaceLandmarker`."""

    def track(self, image: UInt8[np.ndarray, "H W 3"], /) -> Observation | None:
        """The face in the next picture."""
        ...


class FaceJudge:
    """Landmarks and expression as a detector sees them in each row, against those it sees in the truth.

    The truth's own row is the detector's repeatability: what it sees now against the take's landmarks.

    Args:
        observer: Makes a detector; each row has its own, which follows that row's face.
        times: (T,) seconds of the take's frames.
    """

    def __init__(self, observer: Callable[[], Observer], times: Float[np.ndarray, " T"]) -> None:
        self._observer, self._times = observer, times
        self._observers: dict[str, Observer] = {}
        self._lids: dict[str, list[tuple[float, float]]] = {}

    def see(self, moment: Moment, tally: Tally) -> None:
        """Looks at every row."""
        seen = {row: self._look(row, picture) for row, picture in moment.pictures.items()}
        truth = seen[TRUTH]
        for row, face in seen.items():
            tally.add(row, "face", face_found=float(face is not None))
            if face is None:
                continue
            shut = float(face.blendshapes[list(BLINKS)].mean())
            self._lids.setdefault(row, []).append((float(self._times[moment.index]), shut))
            goal = moment.landmarks if row == TRUTH else None if truth is None else truth.landmarks
            if goal is None or not np.isfinite(goal).all():
                continue
            away = np.linalg.norm((face.landmarks - goal)[:, :2], axis=1)
            for region, points in POINTS.items():
                pixels = float(away[points].mean())
                tally.add(row, region, landmark_px=pixels, landmark_iod=pixels / float(inter_ocular(goal)))
            if truth is not None:
                difference = np.abs(face.blendshapes - truth.blendshapes)[1:]
                tally.add(row, "face", expression_distance=float(difference.mean()))

    def finish(self, tally: Tally) -> None:
        """Blinks a minute of every row."""
        for row, lids in self._lids.items():
            time, shut = np.array(lids).T
            tally.set(row, "face", blinks_per_minute=blinks_per_minute(time, shut))

    def _look(self, row: str, picture: UInt8[np.ndarray, "H W 3"]) -> Observation | None:
        if row not in self._observers:
            self._observers[row] = self._observer()
        return self._observers[row].track(picture)


class FlickerJudge:
    """Change from frame to frame that motion does not explain, and its ratio to the truth's own.

    ``flicker`` takes the motion from the truth for all rows, so that trembling counts; ``own_motion_flicker`` from
    each row itself, which leaves noise and popping alone and can also be stated of rows that move otherwise.
    """

    def __init__(self) -> None:
        self._motion = MotionCompensation()
        self._before: Moment | None = None

    def see(self, moment: Moment, tally: Tally) -> None:
        """Compares the moment with the one before it, if that was the frame before."""
        before, self._before = self._before, moment
        if before is None or before.index != moment.index - 1:
            return
        origin = self._motion(before.pictures[TRUTH], moment.pictures[TRUTH])
        for row, picture in moment.pictures.items():
            previous = before.pictures[row]
            own = origin if row == TRUTH else self._motion(previous, picture)
            for name, region in moment.regions.items():
                tally.add(
                    row,
                    name,
                    flicker=temporal_residual(previous, picture, origin, region),
                    own_motion_flicker=temporal_residual(previous, picture, own, region),
                )

    def finish(self, tally: Tally) -> None:
        """Ratios to the truth."""
        for row, regions in tally.rows().items():
            for region in regions:
                for metric in ("flicker", "own_motion_flicker"):
                    value, truth = tally.mean(row, region, metric), tally.mean(TRUTH, region, metric)
                    if value is not None and truth:
                        tally.set(row, region, **{f"{metric}_ratio": value / truth})


def blinks_per_minute(time: Float[np.ndarray, " T"], shut: Float[np.ndarray, " T"]) -> float | None:
    """Blinks a minute by the lids' closure in [0, 1]; None for less than a second.

    A blink begins where the closure rises above 0.5 and ends where it falls below 0.35.
    """
    seconds = float(time[-1] - time[0]) if len(time) > 1 else 0.0
    if seconds < LEAST_SECONDS:
        return None
    count, closed = 0, False
    for value in shut:
        if not closed and value > SHUT:
            count, closed = count + 1, True
        elif closed and value < OPEN:
            closed = False
    return 60 * count / seconds
