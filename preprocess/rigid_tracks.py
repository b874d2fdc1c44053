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

from avatar.cameras import Camera
from avatar.fields.sampling import IRISES, landmark_points
from avatar.heads.adapters.zbuffer import CameraScene

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from avatar.heads import Head

HEAD_LABEL = 1
# Metres that vertices of the rigid regions move at most under an ARKit weight of 1; how much they hang on the neck.
STILL, ON_NECK = 9e-3, 0.8
EYE_BOX, EYE_DEPTH = np.array([0.018, 0.011]), 0.03
FACING_KEY, FACING = 0.35, 0.3
DEPTH_SCALE, DEPTH_TOLERANCE = 2, 4e-3
UNSEEN = -1e3
MARGIN, SPACING = 24, 4
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
class View:
    """A picture with the mesh in it.

    Attributes:
        grey: (H, W) brightness.
        skin: (H, W) whether the picture shows the head there.
        pixels: (V, 2) where the mesh's vertices appear.
        depths: (V,) their distances along the view, metres.
        facing: (F,) cosine between each triangle's normal and the way to the camera.
        scene: What a picture of `1 / DEPTH_SCALE` of the size shows.
        rotation: (3, 3) of the head.
    """

    grey: Float[np.ndarray, "H W"]
    skin: Bool[np.ndarray, "H W"]
    pixels: Float[np.ndarray, "V 2"]
    depths: Float[np.ndarray, " V"]
    facing: Float[np.ndarray, " F"]
    scene: CameraScene
    rotation: Float[np.ndarray, "3 3"]


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


@dataclass(frozen=True)
class Key:
    """The rigid part of a key picture, cut out: where it starts, its pixels' triangles (-1: none) and weights."""

    index: int
    corner: tuple[int, int]
    faces: Int[np.ndarray, "h w"]
    barycentric: Float[np.ndarray, "h w 3"]
    rigid: Bool[np.ndarray, "h w"]


def view_of(
    image: UInt8[np.ndarray, "H W 3"],
    parts: UInt8[np.ndarray, "H W"],
    vertices: Float[np.ndarray, "V 3"],
    *,
    faces: Int[np.ndarray, "F 3"],
    focal: float,
    rotation: Float[np.ndarray, "3 3"],
) -> View:
    """A picture and its labels with the posed mesh (metres, world of the front camera) in it."""
    height, width = parts.shape
    vertices = np.asarray(vertices, np.float64)
    depths = -vertices[:, 2]
    scale = focal / depths
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sights = corners.mean(axis=1)
    sizes = np.linalg.norm(normals, axis=1) * np.linalg.norm(sights, axis=1)
    small = Camera.front(focal / DEPTH_SCALE, width // DEPTH_SCALE, height // DEPTH_SCALE)
    return View(
        grey=cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32),
        skin=parts == HEAD_LABEL,
        pixels=np.stack([width / 2 + vertices[:, 0] * scale, height / 2 - vertices[:, 1] * scale], 1),
        depths=depths,
        facing=-(normals * sights).sum(axis=1) / np.maximum(sizes, 1e-12),
        scene=CameraScene(vertices, faces, small),
        rotation=rotation,
    )


def largest_motion(head: Head) -> Float[np.ndarray, " V"]:
    """Metres that each vertex moves at most under an ARKit weight (or expression coefficient) of 1."""
    moves = head.exprdirs @ head.arkit_to_psi if head.arkit_to_psi.numel() else head.exprdirs
    return moves.norm(dim=1).amax(dim=1).numpy()


def rigid_faces(head: Head) -> Bool[np.ndarray, " F"]:
    """Triangles of the skin that neither an expression nor jaw, eyes or shoulders move much."""
    start, stop = head.parts["skin"]
    rest = head.v_template.numpy()
    still = np.zeros(len(rest), bool)
    still[start:stop] = True
    still &= (head.weights[:, 1].numpy() > ON_NECK) & (largest_motion(head) < STILL)
    marks = landmark_points(head, rest)
    for iris in IRISES:
        beside = np.abs(rest[:, :2] - marks[iris, :2]) < EYE_BOX
        still &= ~(beside.all(axis=1) & (rest[:, 2] > marks[iris, 2] - EYE_DEPTH))
    return still[head.faces.numpy()].all(axis=1)


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
    found: list[list[tuple[Points, list[tuple[int, tuple[np.ndarray, ...]]]]]] = [[] for _ in blurs]
    for index in keys:
        key = _key(views[index], index, faces=faces, rigid=rigid, focal=focal)
        if key is None:
            continue
        points = [_points(key, views[index], blur=blur, settings=settings) for blur in blurs]
        hits: list[list[tuple[int, tuple[np.ndarray, ...]]]] = [[] for _ in blurs]
        for frame, view in enumerate(views):
            if frame == index or _degrees(views[index].rotation, view.rotation) > settings.reach:
                continue
            warp, seen = _warp(key, view, faces=faces)
            warped = cv2.remap(view.grey, warp, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            warped = np.where(key.faces >= 0, warped, _cut(views[index].grey, key))
            for some, own in zip(hits, points, strict=True):
                some.append((frame, _find(own, warped, warp, seen, settings=settings)))
        for mine, own, some in zip(found, points, hits, strict=True):
            own_places = own.starts + np.array(key.corner) + 0.5
            exact = np.arange(len(own.starts)), own_places, np.zeros((len(own.starts), 2, 2))
            mine.append((own, [(index, exact), *some]))
    return [_joined(part) for part in found]


def _joined(found: list[tuple[Points, list[tuple[int, tuple[np.ndarray, ...]]]]]) -> RigidTracks:
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


def _key(view: View, index: int, *, faces: np.ndarray, rigid: Bool[np.ndarray, " F"], focal: float) -> Key | None:
    """The rigid part of a picture; None where it shows too little of it."""
    height, width = view.grey.shape
    hits = CameraScene(view.scene.vertices, faces, Camera.front(focal, width, height)).image
    shown = hits.faces.reshape(height, width)
    allowed = (shown >= 0) & view.skin & (rigid & (view.facing > FACING_KEY))[np.maximum(shown, 0)]
    allowed = cv2.erode(allowed.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    rows, columns = np.flatnonzero(allowed.any(axis=1)), np.flatnonzero(allowed.any(axis=0))
    if not len(rows):
        return None
    top, left = max(0, rows[0] - MARGIN), max(0, columns[0] - MARGIN)
    box = slice(top, rows[-1] + 1 + MARGIN), slice(left, columns[-1] + 1 + MARGIN)
    on_skin = np.where(view.skin, shown, -1)[box]
    return Key(index, (int(left), int(top)), on_skin, hits.barycentric.reshape(height, width, 3)[box], allowed[box])


def _cut(picture: np.ndarray, key: Key) -> np.ndarray:
    left, top = key.corner
    height, width = key.faces.shape
    return picture[top : top + height, left : left + width]


def _warp(key: Key, view: View, *, faces: np.ndarray) -> tuple[Float[np.ndarray, "h w 2"], Float[np.ndarray, "h w"]]:
    """Where the mesh takes a key's pixels in another picture (OpenCV's pixels), and which are seen there."""
    inside = key.faces >= 0
    shown = key.faces[inside]
    corners, shares = faces[shown], key.barycentric[inside]
    goal = np.einsum("pkc,pk->pc", view.pixels[corners], shares)
    warp = np.full((*inside.shape, 2), UNSEEN, np.float32)
    warp[inside] = goal - 0.5
    spot = np.floor(goal).astype(int)
    height, width = view.grey.shape
    within = ((spot >= 0) & (spot < [width, height])).all(axis=1)
    column, row = spot.clip(0, [width - 1, height - 1]).T
    surface = view.scene.depth
    low = (row // DEPTH_SCALE).clip(0, surface.shape[0] - 1), (column // DEPTH_SCALE).clip(0, surface.shape[1] - 1)
    front = np.einsum("pk,pk->p", view.depths[corners], shares) < surface[low] + DEPTH_TOLERANCE
    seen = np.zeros(inside.shape, np.float32)
    seen[inside] = within & front & (view.facing[shown] > FACING) & view.skin[row, column]
    return warp, seen


def detail(picture: Float[np.ndarray, "H W"], *, blur: float) -> Float[np.ndarray, "H W"]:
    """A picture without its local means."""
    return picture - cv2.GaussianBlur(picture, (0, 0), blur)


def _points(key: Key, view: View, *, blur: float, settings: TrackSettings) -> Points:
    """The best textured points of a key picture."""
    picture, side = detail(_cut(view.grey, key), blur=blur), settings.window
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


def _find(
    points: Points, warped: np.ndarray, warp: np.ndarray, seen: np.ndarray, *, settings: TrackSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    places = cv2.remap(warp, ends[:, None], None, cv2.INTER_LINEAR)[:, 0].astype(np.float64) + 0.5
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
    places = np.ascontiguousarray(places, np.float32)
    values = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values - values.mean(axis=1, keepdims=True)


def _compared(own: np.ndarray, other: np.ndarray) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Mean squared remainder of windows after a gain, and their correlation."""
    product, power = (own * other).sum(axis=1), (other * other).sum(axis=1)
    gain = np.clip(product / np.maximum(power, 1e-6), 0.5, 2)
    remainder = np.square(own - gain[:, None] * other).mean(axis=1)
    return remainder, product / np.sqrt((own * own).sum(axis=1) * power + 1e-6)


def _degrees(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between two rotations."""
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))
