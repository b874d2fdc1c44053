"""Bundle adjustment of one moving head before one camera of unknown focal length.

After Hartley and Zisserman, "Multiple View Geometry in Computer Vision" (2004), chapter 18 and appendix 6: Levenberg's
and Marquardt's steps over poses, points and the focal length, the points eliminated by the Schur complement, with
Cauchy's loss by reweighting (Triggs et al., "Bundle adjustment: a modern synthesis", 2000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# Beyond so many standard deviations an observation counts for less and less.
CAUCHY = 1.5
# How far points may be off the mesh (metres) and the head's turns off the first guess (radians). Hair and the rims of
# glasses stand off by 1 to 2 cm, skin by a few millimetres; looser points are bent along with a wrong focal length.
POINT_SPREAD, TURN_SPREAD = 0.01, np.radians(30.0)
ITERATIONS, TOLERANCE = 14, 1e-5
DAMPING, MOST_DAMPING, LONGEST = 1e-6, 1e4, 0.3
POSE = 6
# Keeps the equations solvable where nothing is known of an unknown.
WEAK = 1e-4


@dataclass(frozen=True)
class Bundle:
    """m observations of K points of a head in n pictures.

    Attributes:
        point: (m,) which point was seen.
        frame: (m,) in which picture.
        pixels: (m, 2) where, from the middle of the picture, y downwards.
        whitening: (m, 2, 2) turns a distance in pixels into one in standard deviations.
        moved: (m, 3) metres that the face's expression has moved the point, in the head's axes.
    """

    point: Int[np.ndarray, " m"]
    frame: Int[np.ndarray, " m"]
    pixels: Float[np.ndarray, "m 2"]
    whitening: Float[np.ndarray, "m 2 2"]
    moved: Float[np.ndarray, "m 3"]


@dataclass(frozen=True)
class Geometry:
    """What is solved for.

    Attributes:
        rotations: (n, 3, 3) of the head.
        places: (n, 3) of the head's origin before the front camera, metres, z negative.
        points: (K, 3) in the head's axes, metres.
        focal: Focal length, pixels.
    """

    rotations: Float[np.ndarray, "n 3 3"]
    places: Float[np.ndarray, "n 3"]
    points: Float[np.ndarray, "K 3"]
    focal: float


@dataclass(frozen=True)
class Normal:
    """Normal equations of poses and log focal length (the last row), the points eliminated.

    Attributes:
        matrix: (M, M), without priors on the poses.
        right: (M,) their right-hand side.
        coupling: (M, K, 3) between them and the points.
        inverses: (K, 3, 3) inverses of the points' own blocks, their prior included.
        pull: (K, 3) right-hand side of the points.
    """

    matrix: Float[np.ndarray, "M M"]
    right: Float[np.ndarray, " M"]
    coupling: Float[np.ndarray, "M K 3"]
    inverses: Float[np.ndarray, "K 3 3"]
    pull: Float[np.ndarray, "K 3"]


def adjust(bundle: Bundle, start: Geometry) -> Geometry:
    """The most likely geometry near a first guess, which is the middle of the points' and turns' priors as well."""
    now, damping = start, DAMPING
    value = _value(bundle, now, start)
    for _ in range(ITERATIONS):
        normal = normal_equations(bundle, now, start)
        matrix, right = with_priors(normal, now, start)
        while True:
            step = np.linalg.solve(matrix + damping * np.diag(np.diag(matrix)), right)
            moved = _stepped(now, step, normal)
            found = _value(bundle, moved, start)
            if found <= value or damping > MOST_DAMPING:
                break
            damping = max(10 * damping, 1e-4)
        if not found <= value:
            break
        gain, now, value, damping = value - found, moved, found, damping / 5
        if gain < TOLERANCE * value:
            break
    return now


def normal_equations(
    bundle: Bundle, now: Geometry, start: Geometry, *, taken: Bool[np.ndarray, " m"] | None = None
) -> Normal:
    """Gauss-Newton's equations at a geometry, of some of the observations."""
    if taken is not None:
        bundle = Bundle(**{name: value[taken] for name, value in vars(bundle).items()})
    turned, seen, predicted = _predicted(bundle, now)
    residual = _whitened(bundle, bundle.pixels - predicted)
    weight = 1 / np.sqrt(1 + np.square(residual).sum(axis=1) / CAUCHY**2)
    residual = residual * weight[:, None]
    depth = -seen[:, 2]
    slope = np.zeros((len(depth), 2, 3))
    slope[:, 0, 0], slope[:, 1, 1] = now.focal / depth, -now.focal / depth
    slope[:, :, 2] = predicted / depth[:, None]
    slope = np.einsum("oij,ojk->oik", bundle.whitening * weight[:, None, None], slope)
    # Depth is focal length x scale, so that either hardly moves what the other does.
    far = slope[:, :, 2] * now.places[bundle.frame, 2:]
    focal = _whitened(bundle, predicted) * weight[:, None] + far
    turn = np.cross(turned[:, None], slope)
    poses = np.concatenate([turn, slope[:, :, :2], far[:, :, None], focal[:, :, None]], axis=2)
    points = np.einsum("oij,ojk->oik", slope, now.rotations[bundle.frame])

    size, count = POSE * len(now.places) + 1, len(now.points)
    columns = np.concatenate(
        [POSE * bundle.frame[:, None] + np.arange(POSE), np.full((len(depth), 1), size - 1)], axis=1
    )
    wide = _sparse(poses, columns, size)
    narrow = _sparse(points, 3 * bundle.point[:, None] + np.arange(3), 3 * count)
    flat = residual.ravel()
    coupling = (wide.T @ narrow).toarray().reshape(size, count, 3)
    blocks = np.zeros((count, 3, 3))
    np.add.at(blocks, bundle.point, np.einsum("oai,oaj->oij", points, points))
    inverses = np.linalg.inv(blocks + np.eye(3) / POINT_SPREAD**2)
    pull = (narrow.T @ flat).reshape(count, 3) - (now.points - start.points) / POINT_SPREAD**2
    through = np.einsum("mki,kij->mkj", coupling, inverses).reshape(size, -1)
    matrix = (wide.T @ wide).toarray() - through @ coupling.reshape(size, -1).T
    return Normal(matrix, wide.T @ flat - through @ pull.ravel(), coupling, inverses, pull)


def with_priors(
    normal: Normal, now: Geometry, start: Geometry
) -> tuple[Float[np.ndarray, "M M"], Float[np.ndarray, " M"]]:
    """Matrix and right-hand side with what is known of the poses beforehand."""
    matrix, right = normal.matrix.copy(), normal.right.copy()
    diagonal = np.full((len(now.places), POSE), WEAK)
    diagonal[:, :3] += 1 / TURN_SPREAD**2
    matrix += np.diag(np.append(diagonal, WEAK))
    right[:-1].reshape(-1, POSE)[:, :3] += _turns(now, start) / TURN_SPREAD**2
    return matrix, right


def _value(bundle: Bundle, now: Geometry, start: Geometry) -> float:
    squared = np.square(_whitened(bundle, bundle.pixels - _predicted(bundle, now)[2])).sum(axis=1)
    loss = 0.5 * CAUCHY**2 * np.log1p(squared / CAUCHY**2).sum()
    loss += 0.5 * np.square((now.points - start.points) / POINT_SPREAD).sum()
    return float(loss + 0.5 * np.square(_turns(now, start) / TURN_SPREAD).sum())


def _predicted(bundle: Bundle, now: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points turned, in the camera's world, and in the picture."""
    turned = np.einsum("oij,oj->oi", now.rotations[bundle.frame], now.points[bundle.point] + bundle.moved)
    seen = turned + now.places[bundle.frame]
    return turned, seen, seen[:, :2] * [now.focal, -now.focal] / -seen[:, 2:]


def _whitened(bundle: Bundle, distance: np.ndarray) -> np.ndarray:
    return np.einsum("oij,oj->oi", bundle.whitening, distance)


def _turns(now: Geometry, start: Geometry) -> Float[np.ndarray, "n 3"]:
    """Rotation vectors back to the first guess."""
    return (Rotation.from_matrix(start.rotations) * Rotation.from_matrix(now.rotations).inv()).as_rotvec()


def _stepped(now: Geometry, step: Float[np.ndarray, " M"], normal: Normal) -> Geometry:
    poses, zoom = step[:-1].reshape(-1, POSE), float(np.clip(step[-1], -LONGEST, LONGEST))
    shift = normal.pull - np.einsum("mki,m->ki", normal.coupling, step)
    places = now.places.copy()
    places[:, :2] += poses[:, 3:5]
    places[:, 2] *= np.exp(poses[:, 5] + zoom)
    return Geometry(
        rotations=Rotation.from_rotvec(poses[:, :3]).as_matrix() @ now.rotations,
        places=places,
        points=now.points + np.einsum("kij,kj->ki", normal.inverses, shift),
        focal=now.focal * float(np.exp(zoom)),
    )


def _sparse(blocks: Float[np.ndarray, "m 2 c"], columns: Int[np.ndarray, "m c"], width: int) -> csr_matrix:
    """Rows of two for each observation."""
    count, rows, entries = blocks.shape
    starts = np.arange(rows * count + 1) * entries
    return csr_matrix((blocks.ravel(), np.repeat(columns, rows, axis=0).ravel(), starts), shape=(rows * count, width))
