"""Correspondence between a head model's skin and the open head's, so that what one knows can be told to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from avatar.cameras import Camera, intrinsics, look_at
from avatar.face_mesh import INNER_LIPS, OVAL
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.heads.build.embedding import closest_on
from avatar.heads.build.meshes import neighbour_mean
from avatar.synthetic.raycast import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.heads.head import Head
    from avatar.heads.layout import HeadLayout

# Trust in a closest point falls from 1 to 0 between these distances and between these angles' cosines.
NEAR, FAR = 0.004, 0.012
ALIKE, APART = 0.6, 0.2
# The bending follows the landmarks this softly, and fades this far from the nearest one, metres.
SMOOTHING, REACH = 4e-5, 0.03
# What cannot be seen this close to the lips is the mouth's inside, metres.
MOUTH = 0.06
# Landmarks on which pictures agree less than this are no guide, metres.
UNSURE = 0.01
ROUNDS, BLUR, SPREAD = 4, 12, 40
CANDIDATES = 40
# Cameras that say what lies outside: azimuths and elevations, distance, and width of what they see there, metres.
AROUND = ((0, 0), (0, 0.5), (0, -0.6), (0.8, 0), (-0.8, 0), (1.6, 0.2), (-1.6, 0.2), (3.1, 0.2), (0, 1.5))
AWAY, SPAN, PIXELS = 1.5, 0.4, 400
LANDMARKS = 468


@dataclass(frozen=True)
class Similarity:
    """A change of scale, attitude and place: x -> scale R x + shift."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Moves points."""
        return self.scale * points @ self.rotation.T + self.shift

    def back(self, directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Carries displacements the other way."""
        return directions @ self.rotation / self.scale


@dataclass(frozen=True)
class Registration:
    """Where each of a model's V vertices lies on the open head.

    Attributes:
        similarity: From the model's space to the open head's.
        warped: (V, 3) the model's template bent onto the open head.
        corners: (V, 3) vertices of the open head around each place.
        barycentric: (V, 3) their weights.
        inside: (V,) whether a vertex of the skin lies in the mouth.
        trust: (V,) in [0, 1]; 0 for eyeballs and whatever the open head has no counterpart of.
        smooth: (V, V) averages neighbours on the model.
    """

    similarity: Similarity
    warped: Float[np.ndarray, "V 3"]
    corners: Int[np.ndarray, "V 3"]
    barycentric: Float[np.ndarray, "V 3"]
    inside: Bool[np.ndarray, " V"]
    trust: Float[np.ndarray, " V"]
    smooth: Any

    def scalars(self, values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " V"]:
        """What a weight painted on the open head is on the model; zero without trust."""
        return self.trust * (values[self.corners] * self.barycentric).sum(axis=1)

    def regions(self, reference: Head) -> dict[str, Float[np.ndarray, " V"]]:
        """The open head's painted regions on the model, by name."""
        painted = {name: self.scalars(weight.numpy()) for name, weight in reference.regions.items()}
        if "inside_mouth" in painted:
            painted["inside_mouth"] = np.maximum(painted["inside_mouth"], self.inside)
        return {name: weight.astype(np.float32) for name, weight in painted.items()}

    def displacements(self, values: Float[np.ndarray, "N 3 *k"]) -> Float[np.ndarray, "V 3 *k"]:
        """The open head's displacements on the model, spread smoothly into places without trust."""
        flat = values.reshape(len(values), 3, -1)
        found = np.einsum("vc,vcdk->vkd", self.barycentric, flat[self.corners])
        found = self.similarity.back(found).transpose(0, 2, 1).reshape(len(found), -1)
        known = self.trust[:, None]
        spread = known * found
        for _ in range(SPREAD):
            spread = known * found + (1 - known) * (self.smooth @ spread)
        return spread.reshape(len(found), *values.shape[1:])


def by_eyes(layout: HeadLayout, reference: Head) -> Similarity:
    """The similarity that puts eyes on eyes; both heads are upright and face +z."""
    eyes = [layout.J_regressor[3:] @ layout.v_template, reference.joints()[0, 3:].numpy()]
    middle = [pair.mean(axis=0) for pair in eyes]
    distance = [float(np.linalg.norm(pair[0] - pair[1])) for pair in eyes]
    scale = distance[1] / distance[0]
    return Similarity(scale, np.eye(3), middle[1] - scale * middle[0])


def umeyama(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Similarity:
    """The similarity that carries points onto others best (Umeyama, 1991)."""
    means = source.mean(axis=0), target.mean(axis=0)
    left, sizes, right = np.linalg.svd((target - means[1]).T @ (source - means[0]))
    mirror = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * mirror) @ right
    scale = float((sizes * mirror).sum() / np.square(source - means[0]).sum())
    return Similarity(scale, rotation, means[1] - scale * rotation @ means[0])


def register(layout: HeadLayout, reference: Head) -> Registration:
    """Finds the model's vertices on the open head: by the landmarks where both have them, else by the eyes alone."""
    template = layout.v_template.astype(np.float64)
    if layout.lmk478 is None:
        similarity = by_eyes(layout, reference)
        warped = similarity(template)
    else:
        similarity, warped = _by_landmarks(layout, reference)
    target = reference.v_template.double().numpy()
    start, stop = reference.parts["skin"]
    faces = reference.faces.numpy()
    faces = faces[(faces >= start).all(axis=1) & (faces < stop).all(axis=1)]
    if "inside_mouth" in reference.regions:
        # How much of the mouth's inside a model has differs too much to match it.
        faces = faces[reference.regions["inside_mouth"].numpy()[faces].mean(axis=1) < 0.5]
    facing = np.cross(target[faces[:, 1]] - target[faces[:, 0]], target[faces[:, 2]] - target[faces[:, 0]])
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
    first, last = layout.parts.get("skin", (0, len(template)))
    skin = np.zeros(len(template), bool)
    skin[first:last] = True
    outside = skin & seen_from_outside(layout)
    smooth = neighbour_mean(layout.f, len(template))
    triangle, barycentric = np.zeros(len(template), int), np.full((len(template), 3), 1 / 3)
    for last_round in [False] * (ROUNDS if layout.lmk478 is not None else 0) + [True]:
        normals = vertex_normals(warped, layout.f)
        # Skin is matched with skin that faces the same way: lips touch, and lids have two sides.
        triangle[skin], barycentric[skin] = closest_alike(
            target[faces], facing, points=warped[skin], normals=normals[skin]
        )
        place = np.einsum("vk,vkc->vc", barycentric, target[faces[triangle]])
        gap = np.linalg.norm(place - warped, axis=1)
        trust = _fade(gap, NEAR, FAR) * _fade(-(normals * facing[triangle]).sum(axis=1), -ALIKE, -APART) * outside
        if last_round:
            lips = reference.landmark_positions(reference())[0, list(INNER_LIPS)].mean(dim=0).double().numpy()
            inside = skin & ~outside & (np.linalg.norm(warped - lips, axis=1) < MOUTH)
            return Registration(similarity, warped, faces[triangle], barycentric, inside, trust, smooth)
        pull = trust[:, None] * (place - warped)
        for _ in range(BLUR):
            pull = 0.5 * pull + 0.5 * (smooth @ pull)
        warped = warped + np.where(skin[:, None], pull, 0)
    raise AssertionError("the last round returns")


def seen_from_outside(layout: HeadLayout) -> Bool[np.ndarray, " V"]:
    """Vertices that some camera around the head sees: neither the mouth's inside nor what lies behind the lids."""
    template = layout.v_template.astype(np.float64)
    middle = (layout.J_regressor[3:] @ layout.v_template).mean(axis=0)
    target = middle + np.array([0, -0.03, -0.03])
    seen = np.zeros(len(template), bool)
    for azimuth, elevation in AROUND:
        towards = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        eye = target + AWAY * np.array(towards)
        camera = Camera(look_at(eye, target), intrinsics(PIXELS * AWAY / SPAN, PIXELS, PIXELS), PIXELS, PIXELS)
        seen |= ~CameraScene(template, layout.f, camera).occluded(template, template - eye)
    return seen


def closest_alike(
    corners: Float[np.ndarray, "F 3 3"],
    facing: Float[np.ndarray, "F 3"],
    *,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """The nearest triangle that faces somewhat like each point's surface, sorted by eight directions of facing."""
    triangle, barycentric = np.zeros(len(points), int), np.full((len(points), 3), 1 / 3)
    octant = (normals > 0) @ [1, 2, 4]
    for value in np.unique(octant):
        chosen = octant == value
        middle = normals[chosen].mean(axis=0)
        alike = np.flatnonzero(facing @ middle > APART * np.linalg.norm(middle))
        if not len(alike):
            continue
        found, weights = closest_on(corners[alike], points[chosen], candidates=CANDIDATES)
        triangle[chosen], barycentric[chosen] = alike[found], weights
    return triangle, barycentric


def _by_landmarks(layout: HeadLayout, reference: Head) -> tuple[Similarity, np.ndarray]:
    """The landmarks' similarity, and the template bent so that landmark lies on landmark."""
    embedding = layout.lmk478
    if embedding is None:
        raise AssertionError("the caller has landmarks")
    template = layout.v_template.astype(np.float64)
    source = np.einsum("lk,lkc->lc", embedding.barycentric, template[layout.f[embedding.faces]])[:LANDMARKS]
    target = reference.landmark_positions(reference())[0].double().numpy()[:LANDMARKS]
    # The oval is a silhouette rather than a set of points on the skin.
    fixed = np.setdiff1d(np.flatnonzero(embedding.sigma[:LANDMARKS] < UNSURE), OVAL)
    similarity = umeyama(source[fixed], target[fixed])
    moved = similarity(source[fixed])
    # Landmarks that coincide would make the system singular.
    _, distinct = np.unique(np.round(moved, 5), axis=0, return_index=True)
    residual = target[fixed][distinct] - moved[distinct]
    bend = RBFInterpolator(moved[distinct], residual, kernel="linear", smoothing=SMOOTHING, degree=1)
    warped = similarity(template)
    # Beyond the landmarks the bending means nothing.
    away = np.asarray(KDTree(moved).query(warped)[0])
    return similarity, warped + np.exp(-np.square(away / REACH))[:, None] * bend(warped)


def _fade(value: np.ndarray, full: float, none: float) -> np.ndarray:
    return np.clip((none - value) / (none - full), 0, 1)
