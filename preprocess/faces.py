"""All faces of a recording, each followed for as long as it can be: what the choice of the main one rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from avatar.preprocess.landmarks import Region, region_of
from avatar.preprocess.occlusion import face_colours

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from avatar.preprocess.observer import Landmarker, Observation

# While a face is followed, others are looked for this often, in seconds.
_PERIOD = 0.5
# Regions whose centres are nearer than this share of the larger one's side hold the same face.
_SAME = 0.35
# From one frame to the next no face moves by more than this share of its region, nor grows by more than this factor.
_JUMP, _GROWTH = 0.5, 1.6
# In a crowd only so many faces are followed at once, the largest.
_MOST = 4


@dataclass
class Tracklet:
    """One face in consecutive frames.

    Attributes:
        start: Number of its first frame.
        landmarks: (478, 3) pixels of the searched pictures, for each frame.
        blendshapes: (52,) for each frame.
        confidence: Probability that this is a face, for each frame.
        colours: (P, 3) of `occlusion.face_colours`, for each frame.
    """

    start: int
    landmarks: list[Float32[np.ndarray, "478 3"]] = field(default_factory=list)
    blendshapes: list[Float32[np.ndarray, " 52"]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    colours: list[UInt8[np.ndarray, "P 3"]] = field(default_factory=list)

    @property
    def stop(self) -> int:
        """Number of the frame after its last."""
        return self.start + len(self.landmarks)

    @property
    def region(self) -> Region:
        """Where it was last."""
        return region_of(self.landmarks[-1])

    def add(self, seen: Observation, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Appends the next frame."""
        self.landmarks.append(np.asarray(seen.landmarks, np.float32))
        self.blendshapes.append(np.asarray(seen.blendshapes, np.float32))
        self.confidence.append(float(seen.confidence))
        self.colours.append(face_colours(image, self.landmarks[-1]))

    def drop_last(self) -> None:
        """Takes the last frame away."""
        for rows in (self.landmarks, self.blendshapes, self.confidence, self.colours):
            rows.pop()


class FaceFollower:
    """Follows every face of a recording from frame to frame, and looks out for new ones.

    Args:
        landmarker: Detects faces, and looks at one in a region.
    """

    def __init__(self, landmarker: Landmarker) -> None:
        self.tracklets: list[Tracklet] = []
        self._landmarker = landmarker
        self._live: list[Tracklet] = []
        self._frame = 0
        self._searched = -np.inf

    def look(self, image: UInt8[np.ndarray, "H W 3"], time: float, *, afresh: bool = False) -> bool:
        """Takes the next frame.

        Args:
            image: (H, W, 3) RGB.
            time: Its time in seconds.
            afresh: The frame has nothing to do with the one before: every face is looked for anew.

        Returns:
            Whether a face was seen.
        """
        live = [] if afresh else [tracklet for tracklet in self._live if self._continue(tracklet, image)]
        lost = len(live) < len(self._live)
        self._live = self._distinct(live)
        if lost or not self._live or time - self._searched >= _PERIOD:
            self._searched = time
            for region in self._landmarker.detect(image):
                if len(self._live) < _MOST and not self._is_followed(region):
                    self._begin(region, image)
        self._frame += 1
        return bool(self._live)

    def _continue(self, tracklet: Tracklet, image: np.ndarray) -> bool:
        before = tracklet.region
        seen = self._landmarker.look(image, before)
        if seen is None:
            return False
        now = region_of(seen.landmarks)
        growth = now.side / before.side
        if _apart(now, before) > _JUMP or not 1 / _GROWTH < growth < _GROWTH:
            return False
        tracklet.add(seen, image)
        return True

    def _begin(self, region: Region, image: np.ndarray) -> None:
        seen = self._landmarker.look(image, region)
        if seen is not None:
            # A second look from the mesh's own region, since the detector's box is only rough.
            seen = self._landmarker.look(image, region_of(seen.landmarks)) or seen
        if seen is not None and not self._is_followed(region_of(seen.landmarks)):
            tracklet = Tracklet(self._frame)
            tracklet.add(seen, image)
            self.tracklets.append(tracklet)
            self._live.append(tracklet)

    def _is_followed(self, region: Region) -> bool:
        return any(_apart(region, tracklet.region) < _SAME for tracklet in self._live)

    def _distinct(self, live: list[Tracklet]) -> list[Tracklet]:
        """Of tracklets that have come to lie on one face the longest goes on; the others lose this frame."""
        kept: list[Tracklet] = []
        for tracklet in sorted(live, key=lambda item: item.start):
            if any(_apart(tracklet.region, other.region) < _SAME for other in kept):
                tracklet.drop_last()
            else:
                kept.append(tracklet)
        return kept


def _apart(first: Region, second: Region) -> float:
    """Distance of two regions' centres, in sides of the larger one."""
    return float(np.hypot(first.x - second.x, first.y - second.y)) / max(first.side, second.side)
