"""The eyes of the ingest: what looks at frames, gathered so that tests and other models can stand in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from avatar.preprocess.landmarks import Region

Image: TypeAlias = "UInt8[np.ndarray, 'H W 3']"
Alpha: TypeAlias = "Float[np.ndarray, 'H W']"
# A frame, its soft person mask, and its (478, 3) landmarks in pixels, which a frame may lack.
Sample: TypeAlias = "tuple[Image, Alpha, Float[np.ndarray, '478 3']]"
LooseSample: TypeAlias = "tuple[Image, Alpha, Float[np.ndarray, '478 3'] | None]"


class Observation(Protocol):
    """What a landmarker returns for a face: (478, 3) pixels, (52,) blendshapes, a probability."""

    @property
    def landmarks(self) -> np.ndarray: ...  # noqa: D102
    @property
    def blendshapes(self) -> np.ndarray: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102


class Landmarker(Protocol):
    """Finds faces and their landmarks; keeps nothing between frames."""

    def detect(self, image: np.ndarray) -> Sequence[Region]: ...  # noqa: D102
    def look(self, image: np.ndarray, region: Region) -> Observation | None: ...  # noqa: D102


@dataclass(frozen=True)
class Observer:
    """What the ingest asks about frames.

    Attributes:
        landmarker: Finds faces and looks at them.
        segment: Soft alpha of the person in an image; called from several threads at once.
        fit_regions: Learns the subject's colours from samples spread over the clip.
        label_parts: Labels of consecutive samples under what `fit_regions` returned, in order.
        plate: The scene without the person, from images and alphas spread over the clip.
    """

    landmarker: Landmarker
    segment: Callable[[Image], Alpha]
    fit_regions: Callable[[Iterable[Sample]], Any]
    label_parts: Callable[[Any, Iterable[LooseSample]], Iterator[np.ndarray]]
    plate: Callable[[Iterable[tuple[Image, Alpha]]], Image]


def default_observer() -> Observer:
    """The observer of the product: MediaPipe's face landmarker and person mask, and the subject's own colours.

    Raises:
        PartError: A model is not cached and cannot be fetched.
    """
    from avatar.preprocess._threads import worker_count
    from avatar.preprocess.landmarks import FaceLandmarker
    from avatar.preprocess.matting import PersonSegmenter
    from avatar.preprocess.plate import background_plate
    from avatar.preprocess.regions import RegionModel, label_parts

    # A face is looked for where it was in the frame before, one frame after the other; masks are drawn side by side.
    landmarker = FaceLandmarker(threads=worker_count())
    return Observer(landmarker, PersonSegmenter(), RegionModel.fit, label_parts, background_plate)
