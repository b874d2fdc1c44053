"""Face landmarks and blendshapes of video frames, by MediaPipe's published models on the small runtime alone."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from avatar.errors import FormatError, InputError
from avatar.face_mesh import EYE_CORNERS
from avatar.models import fetch
from avatar.preprocess import _face_graph as graph
from avatar.preprocess._lite import load_lite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class FaceObservation:
    """What one frame shows of the face.

    Attributes:
        landmarks: (478, 3) pixels; x right, y down with pixel centres at +0.5, z towards the scene in the same unit,
            zero at the head's centre. The last ten are the irises, 468 the subject's right one.
        blendshapes: (52,) in [0, 1], MediaPipe's order (``_neutral`` first).
        confidence: Probability that the landmarks lie on a face.
    """

    landmarks: Float[np.ndarray, "478 3"]
    blendshapes: Float[np.ndarray, " 52"]
    confidence: float


class Region(NamedTuple):
    """A square that holds a face: centre and side in pixels, roll in radians (positive turns x to y)."""

    x: float
    y: float
    side: float
    roll: float


class FaceLandmarker:
    """Finds faces, and follows one.

    `detect` and `look` keep nothing between frames. `track` follows the main face of a clip: the region of each frame
    comes from the landmarks of the one before; the detector runs on the first frame and when the face was lost. Of
    several faces the largest is taken first; after a loss, a face near the lost one goes before a larger one elsewhere.

    Args:
        model: The ``.task`` file; the registry's ``face_landmarker`` when None.
        threads: CPU threads of each of the three models.

    Raises:
        PartError: The model is not cached and cannot be fetched.
        FormatError: `model` is not a face landmarker bundle.
    """

    def __init__(self, model: Path | None = None, *, threads: int = 1) -> None:
        path = fetch("face_landmarker") if model is None else model
        detector, mesh = graph.DETECTOR_SIZE, graph.MESH_SIZE
        try:
            with zipfile.ZipFile(path) as bundle:
                contents = [
                    bundle.read(f"face_{name}.tflite") for name in ("detector", "landmarks_detector", "blendshapes")
                ]
        except (zipfile.BadZipFile, KeyError) as error:
            raise FormatError(f"{path} is no face landmarker", expected="a .task bundle", found=str(error)) from error
        self._detector = load_lite(contents[0], (1, detector, detector, 3), threads=threads)
        self._mesh = load_lite(contents[1], (1, mesh, mesh, 3), threads=threads)
        self._blendshapes = load_lite(contents[2], (1, len(graph.BLENDSHAPE_POINTS), 2), threads=threads)
        self._anchors = graph.detector_anchors()
        self._region: Region | None = None
        self._last_seen: Region | None = None

    def reset(self) -> None:
        """Forgets the face, for the next clip or after a cut."""
        self._region = self._last_seen = None

    def track(self, image: UInt8[np.ndarray, "H W 3"]) -> FaceObservation | None:
        """Landmarks of the main face in the next RGB frame; None when there is no face.

        Raises:
            InputError: `image` is not (H, W, 3) uint8.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(
                "The frame cannot be used", expected="RGB uint8 (H, W, 3)", found=f"{image.dtype} {image.shape}"
            )
        seen = self._follow(image) or self._find(image)
        if seen is None:
            self._region = None
            return None
        self._region = self._last_seen = region_of(seen[0])
        return self._observation(*seen)

    def look(self, image: UInt8[np.ndarray, "H W 3"], region: Region) -> FaceObservation | None:
        """Landmarks of the face in a region of an RGB frame, without regard to other frames; None without a face."""
        seen = self._landmarks(image, region)
        return None if seen is None else self._observation(*seen)

    def _observation(self, landmarks: np.ndarray, confidence: float) -> FaceObservation:
        points = landmarks[graph.BLENDSHAPE_POINTS, :2]
        return FaceObservation(landmarks, self._blendshapes(points)[0].reshape(-1).copy(), confidence)

    def _follow(self, image: np.ndarray) -> tuple[np.ndarray, float] | None:
        return None if self._region is None else self._landmarks(image, self._region)

    def _find(self, image: np.ndarray) -> tuple[np.ndarray, float] | None:
        for region in self._by_preference(self.detect(image)):
            first = self._landmarks(image, region)
            if first is not None:
                # A second look from the mesh's own region, since the detector's box is only rough.
                return self._landmarks(image, region_of(first[0])) or first
        return None

    def _by_preference(self, regions: list[Region]) -> list[Region]:
        last = self._last_seen

        def rank(region: Region) -> tuple[bool, float]:
            near = last is not None and (
                np.hypot(region.x - last.x, region.y - last.y) < 0.75 * last.side
                and 0.5 < region.side / last.side < 2.0
            )
            return not near, -region.side

        return sorted(regions, key=rank)

    def _landmarks(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float] | None:
        scale = graph.MESH_SIZE / region.side
        cosine, sine = np.cos(region.roll) * scale, np.sin(region.roll) * scale
        half = graph.MESH_SIZE / 2
        to_mesh = np.array(
            [
                [cosine, sine, half - cosine * region.x - sine * region.y],
                [-sine, cosine, half + sine * region.x - cosine * region.y],
            ]
        )
        # The matrix speaks of points with pixel centres at +0.5, OpenCV's warp of centres at whole numbers.
        warp = to_mesh.copy()
        warp[:, 2] += to_mesh[:, :2].sum(axis=1) * 0.5 - 0.5
        patch = cv2.warpAffine(image, warp, (graph.MESH_SIZE, graph.MESH_SIZE), flags=cv2.INTER_LINEAR)
        points, presence, *_ = self._mesh(patch.astype(np.float32) / 255)
        confidence = float(_sigmoid(presence.ravel()[0]))
        if confidence < graph.MESH_THRESHOLD:
            return None
        points = points.reshape(478, 3).astype(np.float64)
        back = cv2.invertAffineTransform(to_mesh)
        xy = points[:, :2] @ back[:, :2].T + back[:, 2]
        return np.concatenate([xy, points[:, 2:] / scale], axis=1).astype(np.float32), confidence

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Region]:
        """Regions of all faces, most probable first; the whole frame first, then smaller squares for small faces."""
        for tiles in _tiles(*image.shape[:2]):
            found = [region for x, y, side in tiles for region in self._detect_in(image, x, y, side)]
            if found:
                return found
        return []

    def _detect_in(self, image: np.ndarray, left: float, top: float, side: float) -> list[Region]:
        size = graph.DETECTOR_SIZE
        scale = size / side
        x0, y0 = int(max(left, 0)), int(max(top, 0))
        crop = image[y0 : int(np.ceil(top + side)), x0 : int(np.ceil(left + side))]
        width, height = (min(max(1, round(n * scale)), size) for n in (crop.shape[1], crop.shape[0]))
        square = np.zeros((size, size, 3), np.uint8)
        at_x = min(max(0, round((x0 - left) * scale)), size - width)
        at_y = min(max(0, round((y0 - top) * scale)), size - height)
        small = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
        square[at_y : at_y + height, at_x : at_x + width] = small
        boxes, logits = self._detector(square.astype(np.float32) / 127.5 - 1)
        scores = _sigmoid(logits.reshape(-1))
        keep = scores > graph.DETECTOR_THRESHOLD
        # Each row: the box's centre, its size, then six key points; all but the size relative to the anchor.
        rows = boxes[0][keep].reshape(-1, 8, 2) / size
        rows[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[keep][:, None]
        regions = []
        for row in merge_detections(rows, scores[keep]):
            (x, y), extent = row[0] * side + (left, top), row[1] * side
            eyes = row[3] - row[2]
            regions.append(Region(x, y, graph.REGION_SCALE * max(extent), float(np.arctan2(eyes[1], eyes[0]))))
        return regions


def region_of(landmarks: Float[np.ndarray, "478 3"]) -> Region:
    """The region in which to look for the face in the next frame."""
    right, left = landmarks[EYE_CORNERS[0], :2], landmarks[EYE_CORNERS[1], :2]
    roll = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    upright = landmarks[:, :2] @ turn.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = turn.T @ ((low + high) / 2)
    return Region(float(x), float(y), graph.REGION_SCALE * float(max(high - low)), roll)


def merge_detections(
    rows: Float[np.ndarray, "N 8 2"], scores: Float[np.ndarray, " N"]
) -> list[Float[np.ndarray, "8 2"]]:
    """Weighted non-maximum suppression: each face is the score-weighted mean of the boxes that overlap its best one.

    Args:
        rows: Centre and size of each box, then its key points.
        scores: Their probabilities.

    Returns:
        One row for each face, best first.
    """
    faces = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best = rows[left[0]]
        boxes = rows[left]
        low = np.maximum(boxes[:, 0] - boxes[:, 1] / 2, best[0] - best[1] / 2)
        high = np.minimum(boxes[:, 0] + boxes[:, 1] / 2, best[0] + best[1] / 2)
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        overlap = shared / (np.prod(boxes[:, 1], axis=1) + np.prod(best[1]) - shared)
        same = overlap > graph.DETECTOR_OVERLAP
        same[0] = True
        faces.append(np.average(boxes[same], axis=0, weights=scores[left][same]))
        left = left[~same]
    return faces


def _tiles(height: int, width: int) -> Iterator[list[tuple[float, float, float]]]:
    """Squares (left, top, side) to search: first one around the frame, then, level by level, smaller ones."""
    longest, shortest = max(height, width), min(height, width)
    yield [((width - longest) / 2, (height - longest) / 2, longest)]
    for side in (shortest, shortest / 2):
        if side >= longest or side < graph.DETECTOR_SIZE:
            continue
        lefts, tops = (np.linspace(0, n - side, 1 + int(np.ceil((n - side) / (side / 2)))) for n in (width, height))
        yield [(float(left), float(top), float(side)) for top in tops for left in lefts]


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -80, 80)))
