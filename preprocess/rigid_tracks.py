"""Points of the head that move rigidly, tracked through pictures along a mesh that is already about right.

Each picture is warped to a key picture by the mesh, so that Lucas-Kanade (Lucas and Kanade, "An iterative image
registration technique", 1981; pyramids after Bouguet, 2000) has but the mesh's error to find. Shading stays where the
light is while the skin turns; taking out local means keeps what is finer than it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.preprocess._rigid_views import cut_out, key_of, warp_to
from avatar.preprocess._threads import map_ordered

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.preprocess._rigid_views import Key, View

    Hits = tuple[np.ndarray, np.ndarray, np.ndarray]

SPACING = 4
# Share of a window that has to be seen, grey values into LK's eight bits, and what keeps tensors invertible.
MOSTLY, CONTRAST, TEXTURE_FLOOR = 0.95, 2.5, 4.0


@dataclass(frozen=True)
class TrackSettings:
    """How points are tracked.

    Attributes:
        key_frames: Number of pictures whose points are looked for in the others.
        points: Most points of one key picture.
        reach: Largest turn in degrees between a key picture and one that its points are looked for in.
        window: Side of Lucas-Kanade's windows, pixels, odd.
        quality: Smallest texture of a point, against the best one's: the structure tensor's smaller eigenvalue.
        return_error: Most pixels that a track misses its start by when it is followed back.
        largest_shift: Most pixels that a point may be off the mesh.
        correlation: Least correlation of a window with what it was found in.
    """

    key_frames: int = 6
    points: int = 260
    reach: float = 35.0
    window: int = 11
    quality: float = 2e-3
    return_error: float = 0.5
    largest_shift: float = 5.0
    correlation: float = 0.8


@dataclass(frozen=True)
class RigidTracks:
    """K points on a head, found m times in n pictures.

    Attributes:
        faces: (K,) triangle of the head that each point lies on.
        barycentric: (K, 3) weights of its corners.
        point: (m,) point of each observation.
        frame: (m,) picture of it, 0 to n - 1.
        pixels: (m, 2) where it was found.
        covariance: (m, 2, 2) squared pixels: mean squared remainder of the window times the inverse of its structure
            tensor, the error of a window in white noise.
    """

    faces: Int[np.ndarray, " K"]
    barycentric: Float[np.ndarray, "K 3"]
    point: Int[np.ndarray, " m"]
    frame: Int[np.ndarray, " m"]
    pixels: Float[np.ndarray, "m 2"]
    covariance: Float[np.ndarray, "m 2 2"]


@dataclass(frozen=True)
class Points:
    """Points of one key picture.

    Attributes:
        picture: (h, w) the cut-out without local means over `blur` pixels.
        blur: Standard deviation of these means.
        starts: (p, 2) where they are, OpenCV's pixels of the cut-out.
        faces: (p,) triangles they lie on.
        barycentric: (p, 3) weights of their corners.
        spreads: (p, 2, 2) inverse structure tensors of their windows.
        grid: (1, w, 2) places in a window.
        windows: (p, w) what is there.
    """

    picture: Float[np.ndarray, "h w"]
    blur: float
    starts: Float[np.ndarray, "p 2"]
    faces: Int[np.ndarray, " p"]
    barycentric: Float[np.ndarray, "p 3"]
    spreads: Float[np.ndarray, "p 2 2"]
    grid: Float[np.ndarray, "1 w 2"]
    windows: Float[np.ndarray, "p w"]


def track_points(
    views: list[View],
    keys: list[int],
    *,
    faces: Int[np.ndarray, "F 3"],
    rigid: Bool[np.ndarray, " F"],
    focal: float,
    blurs: tuple[float, ...],
    settings: TrackSettings,
) -> list[RigidTracks]:
    """Tracks of rigid points from key pictures to all others, once for each way to take out shading.

    Args:
        views: The n pictures.
        keys: Which of them are key pictures.
        faces: The mesh's triangles.
        rigid: (F,) triangles that points may lie on.
        focal: Focal length that the mesh was posed for, pixels.
        blurs: Standard deviations in pixels of the means that are taken out of the pictures.
        settings: How points are tracked.
    """
    found: list[list[tuple[Points, list[tuple[int, Hits]]]]] = [[] for _ in blurs]
    for index in keys:
        key = key_of(views[index], index, faces=faces, rigid=rigid, focal=focal)
        if key is None:
            continue
        points = [_points(key, views[index], blur=blur, settings=settings) for blur in blurs]
        turns = [_degrees(views[index].rotation, view.rotation) for view in views]
        near = [frame for frame, turn in enumerate(turns) if frame != index and turn <= settings.reach]

        def find(frame: int, key: Key = key, points: list[Points] = points) -> list[Hits]:
            warp, seen = warp_to(key, views[frame], faces=faces)
            warped = _sampled(views[frame].grey, warp, method=cv2.INTER_CUBIC)
            warped = np.where(key.faces >= 0, warped, cut_out(views[key.index].grey, key))
            return [_find(own, warped, warp, seen, settings=settings) for own in points]

        hits = list(map_ordered(find, near))
        for way, (mine, own) in enumerate(zip(found, points, strict=True)):
            own_places = own.starts + np.array(key.corner) + 0.5
            exact = np.arange(len(own.starts)), own_places, np.zeros((len(own.starts), 2, 2))
            mine.append((own, [(index, exact), *((frame, ways[way]) for frame, ways in zip(near, hits, strict=True))]))
    return [_joined(part) for part in found]


def _joined(found: list[tuple[Points, list[tuple[int, Hits]]]]) -> RigidTracks:
    """The tracks of all key pictures as one set."""
    first = np.cumsum([0, *(len(points.starts) for points, _ in found)])
    hits = [
        (begin + number, np.full(len(number), frame), pixels, covariance)
        for begin, (_, some) in zip(first, found, strict=False)
        for frame, (number, pixels, covariance) in some
    ]
    empty = (np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2, 2)))
    point, frame, pixels, covariance = (np.concatenate(column) for column in zip(empty, *hits, strict=True))
    faces = np.concatenate([np.zeros(0, int), *(points.faces for points, _ in found)])
    barycentric = np.concatenate([np.zeros((0, 3)), *(points.barycentric for points, _ in found)])
    return RigidTracks(faces, barycentric, point, frame, pixels, covariance)


def detail(picture: Float[np.ndarray, "H W"], *, blur: float) -> Float[np.ndarray, "H W"]:
    """A picture without its local means."""
    return picture - cv2.GaussianBlur(picture, (0, 0), blur)


def _points(key: Key, view: View, *, blur: float, settings: TrackSettings) -> Points:
    """The best textured points of a key picture."""
    picture, side = detail(cut_out(view.grey, key), blur=blur), settings.window
    found = cv2.goodFeaturesToTrack(
        picture, settings.points, settings.quality, SPACING, mask=key.rigid.astype(np.uint8), blockSize=9
    )
    starts = np.zeros((0, 2), np.float32) if found is None else found[:, 0].round().astype(np.float32)
    across, down = (cv2.Sobel(picture, cv2.CV_32F, *order, ksize=1) / 2 for order in ((1, 0), (0, 1)))
    column, row = starts.astype(int).T
    products = (across * across, across * down, across * down, down * down)
    sums = [cv2.boxFilter(product, -1, (side, side), normalize=False)[row, column] for product in products]
    tensors = np.stack(sums, axis=1).reshape(-1, 2, 2).astype(np.float64)
    steps = np.arange(side) - side // 2
    grid = np.stack(np.meshgrid(steps, steps), axis=2).reshape(1, -1, 2).astype(np.float32)
    return Points(
        picture=picture,
        blur=blur,
        starts=starts,
        faces=key.faces[row, column],
        barycentric=key.barycentric[row, column],
        spreads=np.linalg.inv(tensors + TEXTURE_FLOOR * np.eye(2)),
        grid=grid,
        windows=_windows(picture, starts[:, None] + grid),
    )


def _find(points: Points, warped: np.ndarray, warp: np.ndarray, seen: np.ndarray, *, settings: TrackSettings) -> Hits:
    """Points found in a warped picture: their numbers, where they are in the picture itself, and covariances."""
    side = settings.window
    column, row = points.starts.astype(int).T
    tried = np.flatnonzero(cv2.boxFilter(seen, -1, (side, side))[row, column] > MOSTLY)
    if len(tried):
        other = detail(warped, blur=points.blur)
        ends, good = _followed(points.picture, other, points.starts[tried], settings=settings)
        tried, ends = tried[good], ends[good]
    if not len(tried):
        return tried, np.zeros((0, 2)), np.zeros((0, 2, 2))
    remainder, correlation = _compared(points.windows[tried], _windows(other, ends[:, None] + points.grid))
    places = _sampled(warp, ends[:, None])[:, 0].astype(np.float64) + 0.5
    kept = (correlation > settings.correlation) & (places > 0).all(axis=1)
    return tried[kept], places[kept], (remainder[:, None, None] * points.spreads[tried])[kept]


def _followed(
    picture: np.ndarray, other: np.ndarray, starts: np.ndarray, *, settings: TrackSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Where points went, and which of them come back when they are followed back."""
    first, second = (np.clip(128.5 + CONTRAST * image, 0, 255).astype(np.uint8) for image in (picture, other))
    options = {
        "winSize": (settings.window, settings.window),
        "maxLevel": 1,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.005),
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    begin = starts[:, None]
    ends, there, _ = cv2.calcOpticalFlowPyrLK(first, second, begin, begin.copy(), **options)
    again, back, _ = cv2.calcOpticalFlowPyrLK(second, first, ends, begin.copy(), **options)
    good = (there[:, 0] == 1) & (back[:, 0] == 1)
    good &= np.linalg.norm((again - begin)[:, 0], axis=1) < settings.return_error
    good &= np.abs(ends - begin)[:, 0].max(axis=1) < settings.largest_shift
    return ends[:, 0], good


def _windows(picture: np.ndarray, places: np.ndarray) -> Float[np.ndarray, "p w"]:
    """Brightness in windows (p, w, 2) of a picture, each without its mean."""
    if not len(places):
        return np.zeros(places.shape[:2], np.float32)
    values = _sampled(picture, places)
    return values - values.mean(axis=1, keepdims=True)


def _sampled(picture: np.ndarray, places: np.ndarray, *, method: int = cv2.INTER_LINEAR) -> np.ndarray:
    """What a picture has at places (h, w, 2), OpenCV's pixels."""
    across, down = (np.ascontiguousarray(places[..., axis], np.float32) for axis in (0, 1))
    return cv2.remap(picture, across, down, method, borderMode=cv2.BORDER_REPLICATE)


def _compared(own: np.ndarray, other: np.ndarray) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Mean squared remainder of windows after a gain, and their correlation."""
    product, power = (own * other).sum(axis=1), (other * other).sum(axis=1)
    gain = np.clip(product / np.maximum(power, 1e-6), 0.5, 2)
    remainder = np.square(own - gain[:, None] * other).mean(axis=1)
    return remainder, product / np.sqrt((own * own).sum(axis=1) * power + 1e-6)


def _degrees(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between two rotations."""
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))
