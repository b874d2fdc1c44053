"""The 478-landmark embedding: render the head, detect, back-project, and take robust medians with their spread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import trimesh.triangles
from scipy.spatial import KDTree

from avatar.cameras import Camera, intrinsics, look_at
from avatar.errors import InputError
from avatar.face_mesh import INNER_LIPS, OVAL
from avatar.heads.head import Head
from avatar.heads.layout import Embedding
from avatar.synthetic.raycast import Scene

if TYPE_CHECKING:
    from jaxtyping import Float, Int

logger = logging.getLogger(__name__)

# Landmark indices of MediaPipe's canonical face mesh.
IRISES = {"eye_r": range(468, 473), "eye_l": range(473, 478)}
# Points 17 to 67 of iBUG-68 (Sagonas et al., 2016): brows, nose, eyes, mouth. The jaw line 0 to 16 is left out: the
# mesh's oval moves with the silhouette and is no stand-in for it.
IBUG_51 = (
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
VIEWS = (
    *((0, 0), (0.26, 0), (-0.26, 0), (0.52, 0), (-0.52, 0), (0, 0.2), (0, -0.2)),
    *((0.35, 0.15), (-0.35, 0.15), (0.8, 0), (-0.8, 0)),
)
JAWS = (0.0, 0.12, 0.25)
FRONTAL = 0.1
SIZE, FIELD_OF_VIEW, DISTANCE = 416, 0.29, 0.9
# A landmark that no ray finds on the skin goes to the nearest skin in the picture within this many metres.
REACH, OVAL_REACH = 0.004, 0.03
OUTLIER, SMALLEST_SIGMA = 0.012, 5e-4
SEEN_SHARE = 0.5

Views = Sequence[tuple[float, float]]


class Sighted(Protocol):
    """A mesh that answers rays: `avatar.synthetic.raycast.Scene`, or one that knows a single camera."""

    vertices: np.ndarray

    @cached_property
    def normals(self) -> np.ndarray:
        """(V, 3) unit vertex normals."""
        ...

    def intersect(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First faces (r,) along rays (r, 3), -1 for none, and the weights (r, 3) of the hits' corners."""
        ...

    def occluded(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Whether anything lies along each ray, (r,)."""
        ...


SceneMaker = Callable[[np.ndarray, np.ndarray, Camera], Sighted]


def ray_caster(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], camera: Camera) -> Sighted:
    """The exact ray caster, which serves any camera and needs embreex."""
    del camera
    return Scene(vertices, faces)


@dataclass(frozen=True)
class Sighting:
    """What one picture says: each landmark's place on the template (478, 3), metres, and its weight (478,)."""

    points: Float[np.ndarray, "478 3"]
    weights: Float[np.ndarray, " 478"]


def embed_landmarks(
    head: Head,
    *,
    picture: Callable[[np.ndarray, Camera, int], np.ndarray],
    detect: Callable[[np.ndarray], np.ndarray | None],
    identities: int = 8,
    seed: int = 0,
    scene: SceneMaker = ray_caster,
    views: Views = VIEWS,
    jaws: Sequence[float] = JAWS,
    symmetric: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Embedding:
    """Where the detector sees its 478 landmarks on the head.

    Args:
        head: The head, with or without landmarks.
        picture: Renders posed vertices (V, 3) from a camera for an identity's number; RGB uint8.
        detect: Finds the landmarks (478, 2) in pixels in an RGB picture, or None.
        identities: Random identities, the first being the mean.
        seed: Seed of the identities.
        scene: Makes what answers the rays of a camera into a mesh.
        views: Azimuths and elevations of the cameras, radians.
        jaws: Jaw angles, radians; the inner lips are seen on open mouths only.
        symmetric: Whether the head's two sides are mirror images, so that each landmark may learn from its twin.
        progress: Called with (done, total) pictures.

    Raises:
        InputError: The detector finds a face in hardly any picture, or no picture shows some landmark.
    """
    generator = torch.Generator().manual_seed(seed)
    skin = _SkinSamples(head, scene)
    sightings: list[Sighting] = []
    plan = [(jaw, *view) for jaw in jaws for view in views if not (jaw and abs(view[0]) > 0.55)]
    for identity in range(identities):
        betas = 0.7 * torch.randn((1, head.shapedirs.shape[-1]), generator=generator) * (identity > 0)
        for place, (jaw, azimuth, elevation) in enumerate(plan):
            pose = torch.zeros(1, 5, 3)
            pose[0, 2, 0] = jaw
            vertices = head(betas=betas, pose=pose)[0].double().numpy()
            camera = orbit(azimuth, elevation)
            found = detect(picture(vertices, camera, identity))
            if found is not None:
                frontal = abs(azimuth) < FRONTAL and abs(elevation) < FRONTAL
                sightings.append(skin.back_project(found, vertices, camera, opened=jaw > 0, frontal=frontal))
            if progress is not None:
                progress(identity * len(plan) + place + 1, identities * len(plan))
        logger.info("identity %d of %d: %d sightings", identity + 1, identities, len(sightings))
    if len(sightings) < SEEN_SHARE * identities * len(plan):
        raise InputError(
            "The landmarks cannot be embedded",
            expected=f"a face found in most of {identities * len(plan)} pictures of the head",
            found=f"one in {len(sightings)}",
            fix="check that the head faces +z with +y up, in metres, and has skin around the eyes and the mouth",
        )
    points, sigma = _consensus(sightings, symmetric=symmetric)
    return _pin(head, points, sigma, skin)


def without_jaw_line(embedding: Embedding) -> Embedding:
    """Points 17 to 67 of iBUG-68, taken from the 478."""
    chosen = np.array(IBUG_51)
    return Embedding(embedding.faces[chosen], embedding.barycentric[chosen], embedding.sigma[chosen])


def orbit(
    azimuth: float, elevation: float, *, size: int = SIZE, target: tuple[float, float, float] = (0, 0, 0.03)
) -> Camera:
    """A square camera on a sphere around the face; angles in radians, positive azimuth towards the subject's left."""
    direction = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    eye = np.asarray(target) + DISTANCE * np.array(direction)
    focal = size / 2 / np.tan(FIELD_OF_VIEW / 2)
    return Camera(look_at(eye, np.asarray(target)), intrinsics(focal, size, size), size, size)


class _SkinSamples:
    """Points spread over the head's outer skin, to find the nearest visible skin of a ray that misses it."""

    def __init__(self, head: Head, scene: SceneMaker) -> None:
        self.scene = scene
        self.template = head.v_template.double().numpy()
        self.faces = head.faces.numpy()
        self.part = np.full(len(self.faces), -1)
        self.names = list(head.parts)
        # A model without eyeballs has its irises painted on the skin.
        self.irises = {part: indices for part, indices in IRISES.items() if part in self.names}
        for index, (start, stop) in enumerate(head.parts.values()):
            self.part[(self.faces[:, 0] >= start) & (self.faces[:, 0] < stop)] = index
        inside = (
            head.regions["inside_mouth"].numpy() if "inside_mouth" in head.regions else np.zeros(len(self.template))
        )
        self.outer = (self.part == self.names.index("skin")) & (inside[self.faces].mean(axis=1) < 0.5)
        front = self.outer & (self.template[self.faces].mean(axis=1)[:, 2] > -0.05)
        steps = 4
        grid = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
        self.face = np.repeat(np.flatnonzero(front), len(grid))
        self.barycentric = np.tile(grid, (int(front.sum()), 1))
        self.rest = self._at(self.template, self.face, self.barycentric)

    def _at(self, vertices: np.ndarray, faces: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", barycentric, vertices[self.faces[faces]])

    def back_project(
        self, landmarks: np.ndarray, vertices: np.ndarray, camera: Camera, *, opened: bool, frontal: bool
    ) -> Sighting:
        """Carries the landmarks (478, 2) of one picture of the posed vertices (V, 3) to the template."""
        scene = self.scene(vertices, self.faces, camera)
        rotation, translation = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
        pixels = np.concatenate([landmarks[:, :2], np.ones((478, 1))], axis=1)
        directions = pixels @ np.linalg.inv(camera.K).T @ rotation
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        origin = -rotation.T @ translation
        face, barycentric = scene.intersect(np.broadcast_to(origin, directions.shape), directions)
        points, weights = np.zeros((478, 3)), np.zeros(478)
        hit = face >= 0
        points[hit] = self._at(self.template, face[hit], barycentric[hit].astype(np.float64))
        on_skin = hit & self.outer[np.where(hit, face, 0)]
        corners = self.faces[face[on_skin]]
        normal = np.einsum("nk,nkc->nc", barycentric[on_skin], scene.normals[corners])
        weights[on_skin] = np.clip(-(normal * directions[on_skin]).sum(axis=1), 0, 1) ** 2
        # Inner lips and silhouettes are seen edge-on wherever they are seen at all.
        edge = [index for index in (*INNER_LIPS, *OVAL) if on_skin[index]]
        weights[edge] = np.maximum(weights[edge], 0.2)
        # The lids may cover the iris's edge, which the detector still points to: the balls are hit without the skin.
        for part, indices in self.irises.items():
            ball = np.flatnonzero(self.part == self.names.index(part))
            rays = directions[indices]
            alone = self.scene(vertices, self.faces[ball], camera)
            hit_face, at = alone.intersect(np.broadcast_to(origin, rays.shape), rays)
            points[indices] = self._at(self.template, ball[hit_face], at.astype(np.float64))
            weights[indices] = hit_face >= 0
        strayed = np.setdiff1d(np.flatnonzero(~on_skin), [index for ids in self.irises.values() for index in ids])
        points[strayed], weights[strayed] = self._nearest(landmarks[strayed, :2], strayed, scene, camera, origin)
        if not opened:
            weights[list(INNER_LIPS)] = 0
        oval = list(OVAL)
        # A silhouette shows a true point only where it is seen from the front; it slides elsewhere.
        weights[oval] = np.where(frontal & (weights[oval] > 0) & (points[oval, 2] > -0.04), 0.5, 0)
        weights[weights < 0.12] = 0
        return Sighting(points, weights)

    def _nearest(
        self, pixels: np.ndarray, indices: np.ndarray, scene: Sighted, camera: Camera, origin: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The visible skin nearest to pixels (n, 2) in the picture, on the template, and its weights."""
        place = self._at(scene.vertices.astype(np.float64), self.face, self.barycentric)
        towards = origin - place
        depth = np.linalg.norm(towards, axis=1)
        towards /= depth[:, None]
        seen = ~scene.occluded(place + 5e-4 * towards, towards)
        view = place[seen] @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        projected = view @ camera.K.T
        gap, nearest = KDTree(projected[:, :2] / projected[:, 2:]).query(pixels)
        metres = gap / camera.K[0, 0] * view[nearest, 2]
        reach = np.where(np.isin(indices, OVAL), OVAL_REACH, REACH)
        return self.rest[seen][nearest], np.where(metres < reach, 0.3, 0.0)


def _consensus(
    sightings: list[Sighting], *, symmetric: bool
) -> tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, " 478"]]:
    """Weighted geometric medians (Weiszfeld) without outliers, made symmetric if asked, and the spread around them."""
    points = np.stack([sighting.points for sighting in sightings])
    weights = np.stack([sighting.weights for sighting in sightings])
    blind = np.flatnonzero((weights > 0).sum(axis=0) == 0)
    if len(blind):
        raise InputError(
            "The landmarks cannot be embedded",
            expected="each landmark seen on the skin in some picture",
            found=f"none for {blind.tolist()} in {len(sightings)} pictures",
            fix="Use more identities",
        )
    masked = np.where(weights[..., None] > 0, points, np.nan)
    middle = np.nanmedian(masked, axis=0)
    away = np.where(weights > 0, np.linalg.norm(points - middle, axis=2), np.inf)
    # The nearest sighting stays whatever its distance: a median between two camps may be far from both.
    weights = np.where(away > np.maximum(OUTLIER, away.min(axis=0)), 0, weights)
    torn = (away.min(axis=0) > OUTLIER / 2) | ((weights > 0).sum(axis=0) < 2)
    for _ in range(30):
        pull = weights / (np.linalg.norm(points - middle, axis=2) + 1e-4)
        middle = (points * pull[..., None]).sum(axis=0) / pull.sum(axis=0)[:, None]
    squared = ((points - middle) ** 2).sum(axis=2)
    # The spread is per axis on the surface: two of three dimensions.
    sigma = np.sqrt((weights * squared).sum(axis=0) / weights.sum(axis=0) / 2)
    sigma = np.where(torn, np.maximum(sigma, OUTLIER), sigma)
    if not symmetric:
        return middle, np.maximum(sigma, SMALLEST_SIGMA)
    flipped = middle * [-1, 1, 1]
    twin = np.asarray(KDTree(middle).query(flipped)[1])
    mutual = twin[twin] == np.arange(len(twin))
    middle = np.where(mutual[:, None], (middle + flipped[twin]) / 2, middle)
    sigma = np.where(mutual, np.sqrt((sigma**2 + sigma[twin] ** 2) / 2), sigma)
    return middle, np.maximum(sigma, SMALLEST_SIGMA)


def closest_on(
    corners: Float[np.ndarray, "F 3 3"], points: Float[np.ndarray, "n 3"], *, candidates: int = 24
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """The triangle nearest to each point, and the barycentric weights of the nearest place on it."""
    # The closest triangle is among those with the nearest centres: the head's triangles are small and even.
    count = min(candidates, len(corners))
    near = np.asarray(KDTree(corners.mean(axis=1)).query(points, k=count)[1]).reshape(len(points), count)
    repeated = np.repeat(points, count, axis=0)
    place = trimesh.triangles.closest_point(corners[near.ravel()], repeated).reshape(*near.shape, 3)
    best = np.argmin(np.linalg.norm(place - points[:, None], axis=2), axis=1)
    row = np.arange(len(best))
    triangle = near[row, np.asarray(best)]
    barycentric = trimesh.triangles.points_to_barycentric(corners[triangle], place[row, best]).clip(0, 1)
    return triangle, barycentric / barycentric.sum(axis=1, keepdims=True)


def _pin(head: Head, points: np.ndarray, sigma: np.ndarray, samples: _SkinSamples) -> Embedding:
    """Landmarks on the nearest outer skin, the irises on their eyeball's front."""
    faces, barycentric = np.zeros(478, np.int32), np.zeros((478, 3))
    targets = [(samples.outer, range(478))]
    targets += [(samples.part == samples.names.index(part), indices) for part, indices in samples.irises.items()]
    for allowed, indices in targets:
        chosen = np.flatnonzero(allowed)
        corners = samples.template[samples.faces[chosen]]
        triangle, barycentric[indices] = closest_on(corners, points[indices])
        faces[indices] = chosen[triangle]
    return Embedding(faces, barycentric.astype(np.float32), sigma.astype(np.float32))
