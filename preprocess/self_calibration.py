"""The focal length from how the head's rigid parts move in the pictures, with an error that can be believed.

Landmarks tell the focal length to some 20 %. Textured points of brows and hair line tell it too, by bundle adjustment,
but their errors correlate in space and in time, so that the adjustment's own standard error is several times too small.
A jackknife over regions of the head (Quenouille, "Notes on bias in estimation", 1956; Tukey, 1958) finds what they
disagree by, and a second way to take shading out of the pictures what the method itself is unsure of. Both estimates
are then averaged by the inverse of their variances.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.transform import Rotation

from avatar.preprocess._bundle import Bundle, Geometry, adjust, normal_equations, with_priors
from avatar.preprocess._rigid_views import View, largest_motion, rigid_faces, view_of
from avatar.preprocess._threads import map_ordered
from avatar.preprocess.rigid_tracks import RigidTracks, TrackSettings, track_points
from avatar.preprocess.tracking_overlay import posed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int, UInt8

    from avatar.heads import Head
    from avatar.motion import Motion

    Pictures = Callable[[int], tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]]

REGIONS, SEED = 6, 1
LEAST_SIGHTINGS, LEAST_POINTS = 4, 60
# Standard deviations of an observation beside its window's: in pixels, per pixel that the expression has moved the
# point, and per metre that expressions can move it. Errors of neighbouring pixels are alike, not white.
FLOOR, MOVED, MOVABLE, NOT_WHITE = 0.15, 0.3, 0.1, 6.0


@dataclass(frozen=True)
class SelfCalibrationSettings:
    """How the pictures are asked for the focal length.

    Attributes:
        pictures: Number of pictures, those whose head turns differ most.
        largest_width: Wider pictures are made so small, pixels.
        blurs: Standard deviations in pixels of the local means that are taken out, one for each way to track.
        landmark_spread: Standard deviation of the logarithm of the landmark fit's focal length.
        least_error: Standard error below which that of the tracks is not believed.
        largest_error: Standard error of the tracks beyond which they tell nothing.
        least_turn: Degrees that the head has to turn at least.
        tracks: How points are tracked.
    """

    pictures: int = 36
    largest_width: int = 512
    blurs: tuple[float, ...] = (2.5, 5.0)
    landmark_spread: float = 0.2
    least_error: float = 0.08
    largest_error: float = 1.0
    least_turn: float = 10.0
    tracks: TrackSettings = field(default_factory=TrackSettings)


@dataclass(frozen=True)
class FocalEstimate:
    """A focal length in pixels, and the standard deviation of its logarithm."""

    focal: float
    error: float


@dataclass(frozen=True)
class SelfCalibration:
    """What came of it.

    Attributes:
        focal: Focal length to use, pixels; that of the landmark fit where the pictures tell nothing.
        error: Standard deviation of its logarithm.
        landmarks: Focal length of the landmark fit.
        tracks: What the tracked points say; None where they say nothing.
        ways: The same by each way to take shading out.
        points: Number of points, of the first way.
        turn: Degrees between the two most different turns of the head.
        skipped: Why the pictures tell nothing, or empty.
    """

    focal: float
    error: float
    landmarks: float
    tracks: FocalEstimate | None
    ways: tuple[FocalEstimate, ...]
    points: int
    turn: float
    skipped: str = ""

    def figures(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def self_calibrate(
    motion: Motion,
    head: Head,
    *,
    focal: float,
    rows: Int[np.ndarray, " N"],
    pictures: Pictures,
    settings: SelfCalibrationSettings | None = None,
) -> SelfCalibration:
    """The focal length by landmarks and tracked points together. Deterministic.

    Args:
        motion: The clip's motion by the landmark fit.
        head: The head model.
        focal: Focal length of the landmark fit, pixels.
        rows: Frames that may be learnt from.
        pictures: Gives a frame's picture and part labels by its number.
        settings: How; the defaults suit any talking head.
    """
    # What follows is geometry in numpy.
    settings, head = settings or SelfCalibrationSettings(), head.on("cpu")
    turns = Rotation.from_rotvec(motion.global_orient[rows]) * Rotation.from_rotvec(motion.neck_pose[rows])
    chosen, turn = spread_turns(turns, settings.pictures)
    nothing = SelfCalibration(focal, settings.landmark_spread, focal, None, (), 0, turn)
    if turn < settings.least_turn:
        return replace(nothing, skipped=f"the head turns by {turn:.0f}° only")
    frames = np.sort(chosen)
    keys = np.searchsorted(frames, chosen[: settings.tracks.key_frames])
    vertices = posed(head, motion[rows[frames]]).astype(np.float64)
    rotations = turns.as_matrix()[frames]
    faces = head.faces.numpy()
    zoom = min(1.0, settings.largest_width / pictures(int(rows[frames[0]]))[1].shape[1])

    def look(index: int) -> View:
        image, parts = pictures(int(rows[frames[index]]))
        return _view(image, parts, vertices[index], faces=faces, focal=focal, rotation=rotations[index], zoom=zoom)

    views = list(map_ordered(look, range(len(frames))))
    tracked = track_points(
        views,
        sorted(int(key) for key in keys),
        faces=faces,
        rigid=rigid_faces(head),
        focal=zoom * focal,
        blurs=settings.blurs,
        settings=settings.tracks,
    )
    size = views[0].grey.shape
    bundles = [_bundle(tracks, head, vertices, rotations, focal=zoom * focal, size=size) for tracks in tracked]
    counts = [len(rest) for *_, rest in bundles]
    if min(counts) < LEAST_POINTS:
        return replace(nothing, points=counts[0], skipped=f"only {min(counts)} points could be tracked")
    ways = map_ordered(lambda bundle: jackknifed_focal(*bundle), bundles)
    ways = tuple(replace(way, focal=way.focal / zoom) for way in ways)
    return combined(nothing, ways, points=counts[0], settings=settings)


def combined(
    nothing: SelfCalibration, ways: tuple[FocalEstimate, ...], *, points: int, settings: SelfCalibrationSettings
) -> SelfCalibration:
    """The landmark fit and the ways to track together, weighted by their inverse variances.

    What the ways differ by counts as an error of theirs: they see the same pictures, so that more of them make none
    smaller.
    """
    logs, errors = (np.array(values) for values in zip(*[(np.log(w.focal), w.error) for w in ways], strict=True))
    trust = 1 / np.square(errors)
    middle = float(trust @ logs / trust.sum())
    variance = float(trust @ (np.square(errors) + np.square(logs - middle)) / trust.sum())
    error = max(settings.least_error, variance**0.5)
    found = replace(nothing, tracks=FocalEstimate(float(np.exp(middle)), error), ways=ways, points=points)
    if error > settings.largest_error:
        return replace(found, skipped=f"the tracks' standard error is {100 * error:.0f} %")
    weights = np.array([settings.landmark_spread**-2, error**-2])
    mean = weights @ [np.log(nothing.landmarks), middle] / weights.sum()
    return replace(found, focal=float(np.exp(mean)), error=float(weights.sum() ** -0.5))


def jackknifed_focal(bundle: Bundle, start: Geometry, rest: Float[np.ndarray, "K 3"]) -> FocalEstimate:
    """The focal length by bundle adjustment, with its own variance and that of a jackknife over regions of the head.

    Leaving a region out is one Gauss-Newton step from the solution: its points' share of the reduced equations is
    taken away from the whole.

    Args:
        bundle: What was seen.
        start: First guess.
        rest: (K, 3) the points on the head at rest, which tells the regions.
    """
    now = adjust(bundle, start)
    matrix, right = with_priors(normal_equations(bundle, now, start), now, start)
    own = float(np.linalg.inv(matrix)[-1, -1])
    _, region = kmeans2(rest, REGIONS, seed=SEED, minit="++")  # pyright: ignore[reportCallIssue]
    changes = []
    for index in range(REGIONS):
        share = normal_equations(bundle, now, start, taken=region[bundle.point] == index)
        changes.append(np.linalg.solve(matrix - share.matrix, right - share.right)[-1])
    spread = (REGIONS - 1) * float(np.var(changes))
    return FocalEstimate(now.focal, (own + spread) ** 0.5)


def spread_turns(turns: Rotation, count: int) -> tuple[Int[np.ndarray, " n"], float]:
    """Up to `count` turns that differ most, the middle one first, and the largest angle between two, degrees.

    Each is the farthest from those before it (Gonzalez, "Clustering to minimize the maximum intercluster distance",
    1985).
    """
    chosen = [int(np.argmin((turns.mean().inv() * turns).magnitude()))]
    away = (turns[chosen[0]].inv() * turns).magnitude()
    while len(chosen) < min(count, len(turns)) and away.max() > 0:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, (turns[chosen[-1]].inv() * turns).magnitude())
    largest = max(float((turns[index].inv() * turns).magnitude()[chosen].max()) for index in chosen)
    return np.array(chosen), float(np.degrees(largest))


def _view(
    image: np.ndarray,
    parts: np.ndarray,
    vertices: np.ndarray,
    *,
    faces: np.ndarray,
    focal: float,
    rotation: np.ndarray,
    zoom: float,
) -> View:
    if zoom < 1:
        size = round(image.shape[1] * zoom), round(image.shape[0] * zoom)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        parts = cv2.resize(parts, size, interpolation=cv2.INTER_NEAREST)
    return view_of(image, parts, vertices, faces=faces, focal=zoom * focal, rotation=rotation)


def _bundle(
    tracks: RigidTracks,
    head: Head,
    vertices: Float[np.ndarray, "n V 3"],
    rotations: Float[np.ndarray, "n 3 3"],
    *,
    focal: float,
    size: tuple[int, int],
) -> tuple[Bundle, Geometry, Float[np.ndarray, "K 3"]]:
    """Tracks of points that were seen often enough, a first guess by the mesh, and the points at rest."""
    often = np.bincount(tracks.point, minlength=len(tracks.faces)) >= LEAST_SIGHTINGS
    taken = often[tracks.point]
    point, frame = (np.cumsum(often) - 1)[tracks.point[taken]], tracks.frame[taken]
    corners, shares = head.faces.numpy()[tracks.faces[often]], tracks.barycentric[often]
    surface = np.einsum("nkcx,kc->nkx", vertices[:, corners], shares)
    places = surface.mean(axis=1) if len(corners) else np.zeros((len(vertices), 3))
    local = np.einsum("nji,nkj->nki", rotations, surface - places[:, None])
    points = local.mean(axis=0)
    moved = (local - points)[frame, point]
    rest = (head.v_template.numpy()[corners] * shares[..., None]).sum(axis=1)
    movable = (largest_motion(head)[corners] * shares).sum(axis=1)[point]
    pixels_a_metre = focal / -places[frame, 2]
    variance = FLOOR**2 + np.square(MOVED * np.linalg.norm(moved, axis=1) * pixels_a_metre)
    variance = variance + np.square(MOVABLE * movable * pixels_a_metre)
    covariance = NOT_WHITE**2 * tracks.covariance[taken] + variance[:, None, None] * np.eye(2)
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).transpose(0, 2, 1)
    middle = np.array([size[1] / 2, size[0] / 2])
    bundle = Bundle(point, frame, tracks.pixels[taken] - middle, whitening, moved)
    return bundle, Geometry(rotations, places, points, focal), rest
