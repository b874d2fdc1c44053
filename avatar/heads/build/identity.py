"""Random identities from MakeHuman's sliders, aligned, and their principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.build.makehuman import TARGETS, MakeHuman

if TYPE_CHECKING:
    from jaxtyping import Float

# Standard deviations of the sliders by folder; head sliders much above 0.15 give implausible skulls.
FOLDERS = {
    **{"head": 0.15, "forehead": 0.30, "eyebrows": 0.30, "eyes": 0.25, "nose": 0.28},
    **{"mouth": 0.25, "ears": 0.30, "chin": 0.28, "cheek": 0.30, "neck": 0.18},
}
# Sliders that move whole features or set a whole skull type get less; 0 where the alignment would undo them anyway.
SLIDERS = {
    **{"head-trans-out": 0, "head-trans-forward": 0.05, "head-trans-up": 0.05, "nose-trans-out": 0.05},
    **{"mouth-trans-out": 0.05, "neck-trans-out": 0, "neck-trans-forward": 0.1, "neck-trans-up": 0.05},
    **{"head-square": 0.12, "head-round": 0.15, "head-rectangular": 0.12, "head-triangular": 0.12},
    **{"head-invertedtriangular": 0.12, "head-oval": 0.2, "head-diamond": 0.12, "head-angle-out": 0.12},
    **{"head-fat-incr": 0.2, "head-back-scale-depth-incr": 0.15},
}
OPPOSITES = {
    **{"incr": "decr", "out": "in", "up": "down", "forward": "backward"},
    **{"convex": "concave", "uncompress": "compress"},
}
# MakeHuman's mean eyes stand about 4 mm closer than people's do.
EYE_SPREAD = 0.35
ASYMMETRY = 0.12


@dataclass(frozen=True)
class Slider:
    """One or two targets on one axis: `positive` above zero, `negative` below, or nothing where it is empty."""

    positive: str
    negative: str
    sigma: float
    mirror_of: int | None


def sliders(data: MakeHuman) -> list[Slider]:
    """The local sliders in the order they are drawn; a right-hand one names its left-hand twin."""
    found: list[Slider] = []
    by_name: dict[str, int] = {}
    for folder, sigma in FOLDERS.items():
        names = data.names(f"{TARGETS}{folder}/")
        for name in names:
            stem, _, ending = name.rpartition("-")
            opposite = f"{stem}-{OPPOSITES[ending]}" if ending in OPPOSITES else ""
            if ending in OPPOSITES.values() and any(f"{stem}-{up}" in names for up in _upper(ending)):
                continue
            twin = by_name.get("l-" + name[2:]) if name.startswith("r-") else None
            by_name[name] = len(found)
            negative = f"{TARGETS}{folder}/{opposite}" if opposite in names else ""
            found.append(Slider(f"{TARGETS}{folder}/{name}", negative, SLIDERS.get(name, sigma), twin))
    return found


def _upper(ending: str) -> list[str]:
    return [up for up, down in OPPOSITES.items() if down == ending]


def macro(
    data: MakeHuman, *, race: np.ndarray, gender: float, age: float, muscle: float, weight: float
) -> Float[np.ndarray, "N 3"]:
    """MakeHuman's macro sliders as displacements of the base vertices, metres.

    Args:
        data: The data.
        race: (3,) shares of african, asian, caucasian.
        gender: 0 female to 1 male.
        age: 0 young (25 years) to 1 old (90 years).
        muscle: 0 to 1, 0.5 the average.
        weight: 0 to 1, 0.5 the average.
    """
    moved = np.zeros_like(data.base.vertices)

    def thirds(value: float, name: str) -> dict[str, float]:
        return {
            f"min{name}": max(0.0, 1 - 2 * value),
            f"average{name}": 1 - abs(2 * value - 1),
            f"max{name}": max(0.0, 2 * value - 1),
        }

    for sex, sex_share in (("female", 1 - gender), ("male", gender)):
        for years, years_share in (("young", 1 - age), ("old", age)):
            share = sex_share * years_share
            for name, part in zip(("african", "asian", "caucasian"), race, strict=True):
                _add(moved, data, f"{TARGETS}macrodetails/{name}-{sex}-{years}", share * part)
            for build, build_share in thirds(muscle, "muscle").items():
                for mass, mass_share in thirds(weight, "weight").items():
                    name = f"{TARGETS}macrodetails/universal-{sex}-{years}-{build}-{mass}"
                    _add(moved, data, name, share * build_share * mass_share)
    return moved


def _add(moved: np.ndarray, data: MakeHuman, name: str, share: float) -> None:
    if abs(share) > 1e-6:
        ids, by = data.target(name)
        moved[ids] += share * by


def reference(data: MakeHuman) -> Float[np.ndarray, "N 3"]:
    """The mean of all macro sliders, on which every part of the head is laid out; metres."""
    moved = macro(data, race=np.full(3, 1 / 3), gender=0.5, age=0.12, muscle=0.5, weight=0.5)
    return data.base.vertices + moved + _eye_spread(data)


def _eye_spread(data: MakeHuman) -> np.ndarray:
    left, right = (data.displacement(f"{TARGETS}eyes/{side}-eye-trans-out") for side in "lr")
    return EYE_SPREAD * (left + right)


def sample_identity(data: MakeHuman, axes: list[Slider], rng: np.random.Generator) -> Float[np.ndarray, "N 3"]:
    """One random adult as base vertices, metres."""
    moved = macro(
        data,
        race=rng.dirichlet([0.5, 0.5, 0.5]),
        gender=rng.beta(0.6, 0.6),
        age=min(abs(rng.normal(0, 0.3)), 0.8),
        muscle=float(np.clip(rng.normal(0.5, 0.15), 0, 1)),
        weight=float(np.clip(rng.normal(0.5, 0.18), 0, 1)),
    )
    drawn: list[float] = []
    for axis in axes:
        # Twins differ a little only: faces are nearly symmetric.
        centre, spread = (0.0, axis.sigma) if axis.mirror_of is None else (drawn[axis.mirror_of], 0.12 * axis.sigma)
        value = float(np.clip(rng.normal(centre, spread), -1, 1))
        drawn.append(value)
        name = axis.positive if value >= 0 else axis.negative
        if name:
            _add(moved, data, name, abs(value))
    for name in data.names(f"{TARGETS}asym/"):
        if name.startswith("asym-"):
            _add(moved, data, f"{TARGETS}asym/{name}", abs(rng.normal(0, ASYMMETRY)))
    return data.base.vertices + moved + _eye_spread(data)


def align(points: Float[np.ndarray, "V 3"], onto: Float[np.ndarray, "V 3"], chosen: np.ndarray) -> np.ndarray:
    """Moves `points` rigidly so that the chosen ones lie on those of `onto` (Kabsch)."""
    rotation, shift = rigid_fit(points[chosen], onto[chosen])
    return points @ rotation.T + shift


def rigid_fit(points: Float[np.ndarray, "n 3"], onto: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) that bring `points` closest to `onto` (Kabsch, 1976)."""
    centre, goal = points.mean(0), onto.mean(0)
    left, _, right = np.linalg.svd((points - centre).T @ (onto - goal))
    flip = np.diag([1, 1, np.linalg.det(right.T @ left.T)])
    rotation = right.T @ flip @ left.T
    return rotation, goal - rotation @ centre


@dataclass(frozen=True)
class ShapeBasis:
    """Principal components of identities.

    Attributes:
        mean: (V, 3) metres.
        directions: (V, 3, S) one standard deviation each, metres.
        explained: (S,) cumulative share of the weighted variance.
    """

    mean: Float[np.ndarray, "V 3"]
    directions: Float[np.ndarray, "V 3 S"]
    explained: Float[np.ndarray, " S"]


def principal_shapes(heads: Float[np.ndarray, "n V 3"], importance: Float[np.ndarray, " V"], count: int) -> ShapeBasis:
    """The first `count` components of (n, V, 3) heads, with vertex `importance` as weights of the squared error."""
    mean = heads.mean(axis=0, dtype=np.float64)
    root = np.sqrt(importance / importance.mean()).astype(np.float32)
    rows = ((heads - mean.astype(np.float32)) * root[:, None]).reshape(len(heads), -1)
    # n is far below 3 V, so the small Gram matrix carries the spectrum.
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    total = float((rows.astype(np.float64) ** 2).sum())
    directions = (rows.T @ vectors.astype(np.float32)).astype(np.float64) / np.sqrt(len(heads))
    directions = directions.reshape(-1, 3, count) / root[:, None, None]
    # An eigenvector's sign is arbitrary: fixing it makes rebuilds comparable.
    flat = directions.reshape(-1, count)
    directions *= np.sign(flat[np.abs(flat).argmax(axis=0), np.arange(count)])
    return ShapeBasis(mean, directions, np.cumsum(values) / total)
