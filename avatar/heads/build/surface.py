"""The open head's surface: skin, teeth, tongue, lashes and eyeballs, all linear in MakeHuman's base vertices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from avatar.heads.build.atlas import islands, pack
from avatar.heads.build.makehuman import BaseMesh, MakeHuman
from avatar.heads.build.meshes import clip, largest_component, row_count, select, stack, subdivide, triangles

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# The bust ends on a sphere of this radius (m) around a point in the lower neck.
BUST_RADIUS = 0.155
# Corrections of MakeHuman's mouth, a factor on x and a shift in metres: its upper teeth hide behind the lip and its
# tongue fills the mouth. With these the incisors show 1.5 mm below the resting upper lip, as young adults' do (Vig and
# Brundo, 1978). The arch is narrowed so that molars stay behind the corners of the lips, the tongue widened so that it
# meets the molars.
MOUTH = {
    "teeth_upper": (0.95, (0.0, -0.0055, 0.0)),
    "teeth_lower": (0.95, (0.0, 0.001, 0.0)),
    "tongue": (1.08, (0.0, -0.009, -0.009)),
}
# The human iris is 11.8 mm wide with a standard deviation of 0.5 mm (Rüfer et al., Cornea 24, 2005).
IRIS_RADIUS = 0.0059
CORNEA_BULGE = 0.055
# MakeHuman's lashes are opaque strips, long enough for a texture of hairs; without one they look like paint.
LASH_LENGTH = {2: 0.35, 1: 0.2}
# The lids' edges lie this far (m) outside MakeHuman's eyeballs; LASH_BLUR smooths the edge the lashes grow from.
LID_EDGE = (0.0003, 0.0011)
LASH_BLUR = 0.002
SEGMENTS = 32
MASKS = ("lips", "eyelids", "ears", "inside-mouth")


@dataclass(frozen=True)
class Eyeball:
    """A sphere with a cornea whose centre and radius are linear in the base vertices.

    Attributes:
        ids: (n,) base vertices of MakeHuman's helper eye.
        centre: (n,) weights, summing to one, that give the centre.
        normals: (n, 3) unit directions from the centre; the radius is the mean of their product with the offsets.
        directions: (v, 3) the ball's vertices at radius one.
        rigid: (v, 3) share of each coordinate that keeps the reference's radius, so that every iris is 11.8 mm wide.
        radius: The reference's radius, metres.
    """

    ids: Int[np.ndarray, " n"]
    centre: Float[np.ndarray, " n"]
    normals: Float[np.ndarray, "n 3"]
    directions: Float[np.ndarray, "v 3"]
    rigid: Float[np.ndarray, "v 3"]
    radius: float

    def vertices(self, base: Float[np.ndarray, "N 3"], *, affine: bool) -> Float[np.ndarray, "v 3"]:
        """The ball of a base mesh (`affine`), or its displacement under displacements of the base mesh."""
        points = base[self.ids]
        centre = self.centre @ points
        radius = (self.normals * (points - centre)).sum(axis=1).mean()
        return centre + self.directions * ((1 - self.rigid) * radius + (self.radius * self.rigid if affine else 0.0))


@dataclass(frozen=True)
class Surface:
    """The head's mesh and how base vertices become its vertices.

    Attributes:
        faces: (F, 3) triangles.
        uv: (F, 3, 2) texture coordinates of their corners.
        parts: Vertex range of every part.
        rows: (n, N) matrix that makes all vertices but the eyeballs'.
        widths: (n, 1) factor on x.
        shift: (n, 3) displacement that a position gets beyond the matrix, metres.
        eyes: The left and the right eyeball.
        iris_angle: Half-angle of the iris from the eyeball's centre, radians.
        painted: (V,) weights of the painted regions, by name.
    """

    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "F 3 2"]
    parts: dict[str, tuple[int, int]]
    rows: sp.csr_matrix
    widths: Float[np.ndarray, "n 1"]
    shift: Float[np.ndarray, "n 3"]
    eyes: tuple[Eyeball, Eyeball]
    iris_angle: float
    painted: dict[str, Float[np.ndarray, " V"]]

    def positions(self, base: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "V 3"]:
        """The head of a base mesh, metres."""
        return self._map(base, affine=True)

    def displacements(self, moved: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "V 3"]:
        """What displacements of the base mesh do to the head, metres."""
        return self._map(moved, affine=False)

    def _map(self, base: np.ndarray, *, affine: bool) -> np.ndarray:
        outer = (self.rows @ base) * np.concatenate([self.widths, np.ones((len(self.widths), 2))], axis=1)
        if affine:
            outer = outer + self.shift
        return np.concatenate([outer, *(eye.vertices(base, affine=affine) for eye in self.eyes)])

    def slice(self, part: str) -> slice:
        """Vertices of a part."""
        return slice(*self.parts[part])


def build_surface(data: MakeHuman, reference: Float[np.ndarray, "N 3"]) -> Surface:
    """Lays the head's parts out on the reference identity (N, 3)."""
    base = data.base
    blocks = [("skin", *_skin(base, reference))]
    for name, group, steps in (
        ("teeth_upper", "helper-upper-teeth", 2),
        ("teeth_lower", "helper-lower-teeth", 2),
        ("tongue", "helper-tongue", 0),
    ):
        blocks.append((name, *_subdivided(base, base.groups[group], steps)))
    blocks.append(("lashes", *_lashes(base, reference)))
    eyes, eye_faces, eye_uv, iris = _eyeballs(base, reference)
    parts: dict[str, tuple[int, int]] = {}
    faces, uv, label = [], [], []
    start = 0
    for name, rows, local, texture in blocks:
        parts[name] = start, start + row_count(rows)
        faces.append(local + start)
        uv.append(texture)
        start += row_count(rows)
    skin_uv = blocks[0][3]
    for name, eye in zip(("eye_l", "eye_r"), eyes, strict=True):
        parts[name] = start, start + len(eye.directions)
        faces.append(eye_faces + start)
        uv.append(eye_uv)
        start += len(eye.directions)
    # The skin's islands keep their own labels; every other part is one island.
    label = np.concatenate([islands(skin_uv), *(np.full(len(each), 1000 + k) for k, each in enumerate(uv[1:]))])
    rows = stack([block[1] for block in blocks])
    widths, shift = np.ones((row_count(rows), 1)), np.zeros((row_count(rows), 3))
    for name, (width, by) in MOUTH.items():
        widths[slice(*parts[name])] = width
        shift[slice(*parts[name])] = by
    return Surface(
        faces=np.concatenate(faces),
        uv=pack(np.concatenate(uv), label),
        parts=parts,
        rows=rows,
        widths=widths,
        shift=shift,
        eyes=eyes,
        iris_angle=iris,
        painted=_painted(data, blocks[0][2], skin_uv, parts["skin"][1], start),
    )


def _skin(base: BaseMesh, reference: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """The body's skin above the bust's edge, cut along a smooth line."""
    quads = base.groups["body"]
    corners = triangles(quads)
    faces, uv = corners[..., 0], base.uv[corners[..., 1]]
    neck = reference[base.ids("joint-neck")].mean(axis=0)
    offset = reference - neck - np.array([0, 0.02, 0.015])
    below = np.stack([offset[:, 0], np.minimum(offset[:, 1], 0), offset[:, 2]], axis=1)
    field = BUST_RADIUS - np.linalg.norm(below, axis=1) + 10 * np.maximum(offset[:, 1], 0)
    near = (field[faces] > 0).any(axis=1)
    rows, faces, uv = clip(faces[near], uv[near], field)
    head = largest_component(faces)
    used, local = np.unique(faces[head], return_inverse=True)
    return sp.csr_matrix(rows[used]), local.reshape(-1, 3), uv[head]


def _subdivided(base: BaseMesh, quads: np.ndarray, steps: int) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    ids, local = np.unique(quads[..., 0], return_inverse=True)
    rows, local, uv = select(ids, len(base.vertices)), local.reshape(-1, 4), base.uv[quads[..., 1]]
    for _ in range(steps):
        rows, local, uv = subdivide(rows, local, uv)
    return rows, triangles(local), triangles(uv)


def _lashes(base: BaseMesh, reference: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """Upper and lower lashes, pulled towards the lids' edges, which they then ride on."""
    skin = base.ids("body")
    pieces = []
    for side in "lr":
        centre, radius, _ = _sphere(reference[base.ids(f"helper-{side}-eye")])
        offset = reference[skin] - centre
        height = np.linalg.norm(offset, axis=1) - radius
        edge = skin[(height > LID_EDGE[0]) & (height < LID_EDGE[1]) & (offset[:, 2] > radius / 2)]
        for row, length in LASH_LENGTH.items():
            rows, faces, uv = _subdivided(base, base.groups[f"helper-{side}-eyelashes-{row}"], 0)
            squared = (((rows @ reference)[:, None] - reference[edge]) ** 2).sum(axis=2)
            share = np.exp((squared.min(axis=1, keepdims=True) - squared) / (2 * LASH_BLUR**2))
            share /= share.sum(axis=1, keepdims=True)
            roots = sp.csr_matrix(share) @ select(edge, len(base.vertices))
            pieces.append((sp.csr_matrix(length * rows + (1 - length) * roots), faces, uv))
    starts = np.cumsum([0, *(row_count(piece[0]) for piece in pieces)])
    return (
        stack([piece[0] for piece in pieces]),
        np.concatenate([piece[1] + start for piece, start in zip(pieces, starts[:-1], strict=True)]),
        np.concatenate([piece[2] for piece in pieces]),
    )


def _eyeballs(base: BaseMesh, reference: np.ndarray) -> tuple[tuple[Eyeball, Eyeball], np.ndarray, np.ndarray, float]:
    """Both balls, their triangles and texture coordinates, and the iris's half-angle."""
    fits = [_sphere(reference[base.ids(f"helper-{side}-eye")]) for side in "lr"]
    radius = float(np.mean([fit[1] for fit in fits]))
    iris = float(np.arcsin(IRIS_RADIUS / radius))
    inner = iris * np.array([0.18, 0.36, 0.54, 0.72, 0.86])
    outer = np.radians([26, 31, 39, 54, 64, 75, 87, 100, 115, 130, 145, 160])
    polar = np.concatenate([inner, [iris], outer[outer > iris * 1.08]])
    around = np.arange(SEGMENTS) / SEGMENTS * 2 * np.pi
    rings = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.sin(polar)[:, None] * np.sin(around),
            np.repeat(np.cos(polar)[:, None], SEGMENTS, axis=1),
        ],
        axis=-1,
    )
    angle = np.concatenate([[0], np.repeat(polar, SEGMENTS), [np.pi]])
    unit = np.concatenate([[[0, 0, 1.0]], rings.reshape(-1, 3), [[0, 0, -1.0]]])
    # The cornea rises inside the limbus only, so the iris's edge stays on the sphere.
    height = 1 + CORNEA_BULGE * np.clip(1 - (angle / iris) ** 2, 0, 1)
    rigid = np.clip(1 - (angle - iris) / np.radians(20), 0, 1)[:, None] * [1, 1, 0]
    flat = angle[:, None] / np.pi * unit[:, :2] / np.maximum(np.linalg.norm(unit[:, :2], axis=1, keepdims=True), 1e-9)
    eyes = []
    for side, (centre, _, on) in zip("lr", fits, strict=True):
        ids = base.ids(f"helper-{side}-eye")[on]
        points = reference[ids]
        weights = np.linalg.lstsq(np.vstack([points.T, np.ones(len(points))]), np.r_[centre, 1], rcond=None)[0]
        normals = (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)
        eyes.append(Eyeball(ids, weights, normals, unit * height[:, None], rigid, radius))
    faces, uv = _ball_faces(len(polar), flat * 0.055)
    return (eyes[0], eyes[1]), faces, uv, iris


def _ball_faces(rings: int, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of pole, rings, pole, counter-clockwise from outside, and their flattened texture coordinates."""
    ring = np.arange(SEGMENTS)
    following = (ring + 1) % SEGMENTS
    pieces = [np.stack([np.zeros(SEGMENTS, int), 1 + ring, 1 + following], axis=1)]
    for k in range(rings - 1):
        inner, outer = 1 + k * SEGMENTS, 1 + (k + 1) * SEGMENTS
        pieces.append(np.stack([inner + ring, outer + ring, inner + following], axis=1))
        pieces.append(np.stack([outer + ring, outer + following, inner + following], axis=1))
    last = 1 + (rings - 1) * SEGMENTS
    pieces.append(np.stack([last + ring, np.full(SEGMENTS, len(flat) - 1), last + following], axis=1))
    faces = np.concatenate(pieces)
    # The back pole has no direction in the flattened sheet: each triangle gives it its own.
    uv = flat[faces]
    back = faces == len(flat) - 1
    direction = flat[last + ring] + flat[last + following]
    uv[back] = direction / np.linalg.norm(direction, axis=1, keepdims=True) * np.linalg.norm(flat[last]) * np.pi / 2.8
    return faces, uv


def _sphere(points: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, float, np.ndarray]:
    """Least-squares sphere: centre, radius and the (n,) mask of points within 0.8 mm of it."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    radius = float(np.sqrt(solution[3] + centre @ centre))
    return centre, radius, np.abs(np.linalg.norm(points - centre, axis=1) - radius) < 8e-4


def _painted(
    data: MakeHuman, faces: np.ndarray, uv: np.ndarray, skin: int, total: int
) -> dict[str, Float[np.ndarray, " V"]]:
    """MPFB's painted masks, read at the skin's vertices; the other parts get 0."""
    regions = {}
    for name in MASKS:
        image = data.mask(name)
        height, width = image.shape
        column = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
        weight = np.zeros(total)
        # Corners on a texture seam can fall on either island; the larger value is the painted one.
        np.maximum.at(weight[:skin], faces.ravel(), image[row, column].ravel())
        regions[name.replace("-", "_")] = weight.astype(np.float32)
    return regions
