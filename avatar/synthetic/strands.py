"""Hair and lashes as thin ribbons rooted on a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from avatar.synthetic.noise import noise
from avatar.synthetic.raycast import vertex_normals
from avatar.synthetic.skin import hair_cover, smoothstep

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class Ribbons:
    """A mesh of ribbons.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3).
        tangents: (V, 3) unit direction from root to tip.
        tint: (V,) brightness of the strand about 1.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    tangents: Float[np.ndarray, "V 3"]
    tint: Float[np.ndarray, " V"]


@dataclass(frozen=True)
class Haircut:
    """A short haircut; lengths in metres.

    Attributes:
        count: Number of ribbons.
        top: Length on the crown.
        side: Length above the ears.
        lift: How far strands stand off the scalp, 0 lying flat to 1.
        sweep: Direction (3,) in which the top is combed, head axes.
        width: Width of a ribbon at its root.
    """

    count: int = 16000
    top: float = 0.034
    side: float = 0.012
    lift: float = 0.30
    sweep: tuple[float, float, float] = (-0.75, 0.0, 0.35)
    width: float = 0.0013


def sample_surface(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], count: int, *, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Random points of a surface, even by area: their faces (n,) and barycentric weights (n, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    u, v = rng.random((2, count))
    root = np.sqrt(u)
    return chosen, np.stack([1 - root, root * (1 - v), root * v], axis=1)


def grow_hair(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    template: Float[np.ndarray, "V 3"],
    bare: Float[np.ndarray, " V"],
    eye_height: float,
    cut: Haircut,
    rng: np.random.Generator,
) -> Ribbons:
    """Short hair on a head at rest.

    Args:
        vertices: (V, 3) the person's head at rest.
        faces: (F, 3) faces that may carry hair.
        template: (V, 3) the mean head, which the hairline is defined on.
        bare: (V,) 1 where no hair may grow, such as the ears.
        eye_height: Height of the eyes on the mean head.
        cut: The haircut.
        rng: Source of randomness.
    """
    chosen, weights = sample_surface(vertices, faces, 6 * cut.count, rng=rng)
    corners = faces[chosen]
    place = np.einsum("nk,nkc->nc", weights, template[corners])
    cover = hair_cover(place, eye_height) * (1 - smoothstep(0.01, 0.1, (weights * bare[corners]).sum(axis=1)))
    keep = np.flatnonzero(rng.random(len(place)) < cover**2 - 0.1)[: cut.count]
    corners, weights, place = corners[keep], weights[keep], place[keep]
    root = np.einsum("nk,nkc->nc", weights, vertices[corners])
    normal = _unit(np.einsum("nk,nkc->nc", weights, vertex_normals(vertices, faces)[corners]))

    up = place[:, 1] - eye_height
    crown = smoothstep(0.035, 0.095, up)
    length = cut.side + (cut.top - cut.side) * crown
    # The hair thins out and shortens towards the hairline and the nape.
    length = length * (0.45 + 0.55 * hair_cover(place, eye_height + 0.014, width=0.016))
    spread = np.clip(0.14 * rng.standard_normal(len(place)), -0.4, 0.2)
    length = length * np.exp(spread + 0.10 * noise(place, 0.022, seed=21))
    down = np.array([0.0, -1.0, -0.35])
    comb = down * (1 - crown[:, None]) + np.asarray(cut.sweep) * crown[:, None]
    clump = np.stack([noise(place, 0.016, seed=22 + axis) for axis in range(3)], axis=1)
    comb = comb + 0.34 * clump + 0.16 * rng.standard_normal(place.shape)
    comb = _unit(comb - normal * np.einsum("nc,nc->n", comb, normal)[:, None])
    unruly = np.exp(np.clip(0.25 * rng.standard_normal(len(place)), -0.6, 0.35))
    lift = (cut.lift * (0.45 + 0.55 * crown) * unruly)[:, None]

    steps = np.linspace(0, 1, 5)
    bend = comb[:, None] * steps[:, None] + (lift * normal)[:, None] * (steps - 0.55 * steps**2)[:, None]
    fall = np.array([0, -0.10, 0]) * (steps**2)[:, None]
    path = root[:, None] + length[:, None, None] * (bend + fall) - 0.0008 * normal[:, None]
    tint = np.exp(0.28 * rng.standard_normal(len(place)) + 0.20 * noise(place, 0.010, seed=26))
    width = cut.width * np.array([1.0, 1.0, 0.95, 0.8, 0.4])
    return ribbons(path, normal, width=width, tint=tint)


def ribbons(
    path: Float[np.ndarray, "n s 3"],
    facing: Float[np.ndarray, "n 3"],
    *,
    width: Float[np.ndarray, " s"],
    tint: Float[np.ndarray, " n"],
) -> Ribbons:
    """Flat ribbons along n paths of s points, their flat side turned to `facing`."""
    count, points = path.shape[:2]
    tangent = _unit(np.gradient(path, axis=1))
    side = _unit(np.cross(tangent, facing[:, None]))
    edges = np.stack([path - side * width[:, None] / 2, path + side * width[:, None] / 2], axis=2)
    first = (np.arange(count)[:, None] * points + np.arange(points - 1)) * 2
    quads = np.stack([first, first + 2, first + 1, first + 1, first + 2, first + 3], axis=-1)
    return Ribbons(
        vertices=edges.reshape(-1, 3),
        faces=quads.reshape(-1, 3),
        tangents=np.repeat(tangent.reshape(-1, 3), 2, axis=0),
        tint=np.repeat(tint, 2 * points),
    )


@dataclass(frozen=True)
class Lashes:
    """Lashes pinned to the faces of a head, one triangle each, so that they follow the lids.

    Attributes:
        corners: (3n, 3) the head's vertices each corner of a lash hangs on.
        weights: (3n, 3) their barycentric weights.
    """

    corners: Int[np.ndarray, "m 3"]
    weights: Float[np.ndarray, "m 3"]

    def vertices(self, posed: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "m 3"]:
        """The lashes' corners on a posed head."""
        return np.einsum("nk,nkc->nc", self.weights, posed[self.corners])


def pin_lashes(
    template: Float[np.ndarray, "V 3"],
    card: Int[np.ndarray, "F 3"],
    skin: Int[np.ndarray, "G 3"],
    *,
    count: int = 160,
    rng: np.random.Generator,
) -> Lashes:
    """Single upper lashes that run across a head's lash cards, from the edge on the lid to the free edge.

    Args:
        template: (V, 3) the mean head.
        card: (F, 3) faces of the lash cards.
        skin: (G, 3) faces of the skin they grow from.
        count: Number of lashes.
        rng: Source of randomness.
    """
    chosen, weights = sample_surface(template, card, 12000, rng=rng)
    place = np.einsum("nk,nkc->nc", weights, template[card[chosen]])
    # Each eye's lower card ends a little below the middle of both cards, where the upper one begins.
    upper = place[:, 1] > (place[:, 1].min() + place[:, 1].max()) / 2
    chosen, weights, place = chosen[upper], weights[upper], place[upper]
    near, share = sample_surface(template, skin, 60000, rng=rng)
    distance = KDTree(np.einsum("nk,nkc->nc", share, template[skin[near]])).query(place)[0]
    low, high = np.quantile(distance, [0.15, 0.85])
    # None near the nose, where lashes are few and short.
    roots = (distance < low) & (np.abs(place[:, 0]) > np.abs(place[:, 0]).min() + 0.006)
    start, ends = place[rng.choice(np.flatnonzero(roots), count)], place[distance > high]
    tip = ends[KDTree(ends).query(start + np.array([0, 0, 0.003]))[1]]
    tip = start + (tip - start) * rng.uniform(0.5, 0.75, (count, 1))
    side = np.array([0.0003, 0, 0])
    wanted = np.stack([start - side, start + side, tip], axis=1).reshape(-1, 3)
    found = KDTree(place).query(wanted)[1]
    return Lashes(card[chosen[found]], weights[found])


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
