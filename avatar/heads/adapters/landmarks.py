"""The 478 landmarks of any head model: painted like the open head, rendered, detected, and carried back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from avatar.errors import InputError
from avatar.face_mesh import OVAL
from avatar.heads.adapters.registration import LANDMARKS, UNSURE, register
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.heads.build.embedding import JAWS, VIEWS, closest_on, embed_landmarks, orbit, without_jaw_line
from avatar.heads.head import Head
from avatar.heads.layout import Embedding
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.raycast import to_srgb
from avatar.synthetic.skin import HeadAppearance

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from avatar.cameras import Camera
    from avatar.heads.adapters.registration import Registration
    from avatar.heads.layout import HeadLayout

# Where the eyes' middle stands while the head is looked at, as on the open head.
EYES_AT = np.array([0.0, 0.03, 0.035])
# How well a template must match its own mirror image for the landmarks' two sides to be averaged, metres.
MIRRORED = 1e-3
FIRST_VIEWS, FIRST_JAWS = VIEWS[:7], (0.0, 0.12)
# Of the first pictures' landmarks only a rough place is asked, of the last ones a good one: medians, metres.
WORST_SIGMA, WORST_REPROJECTION = 4e-3, 0.03
MENDED_SIGMA = 5e-3
LIGHTS = (((0.45, 0.5, 0.75), 0.75), ((-0.75, 0.2, 0.6), 0.3))
AMBIENT, BACKDROP = (0.42, 0.28), 120


def embed_by_detection(
    layout: HeadLayout,
    reference: Head,
    *,
    detect: Callable[[np.ndarray], np.ndarray | None],
    identities: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> HeadLayout:
    """The layout with its landmarks, where the detector sees them on pictures of the head.

    The head wears the open head's skin: first laid on by the eyes alone, then by the landmarks that a first look found.

    Args:
        layout: A head model; the regions and landmarks it has are not used.
        reference: The open head.
        detect: Finds the landmarks (478, 2) in pixels in an RGB picture, or None.
        identities: Identities looked at, the first being the mean.
        progress: Called with (done, total) pictures, of both looks.

    Raises:
        InputError: No face is found, or the pictures do not agree on where the landmarks are.
    """
    shift = EYES_AT - (layout.J_regressor[3:] @ layout.v_template).mean(axis=0)
    bare = replace(layout, v_template=(layout.v_template + shift).astype(np.float32), lmk478=None, lmk68=None)
    symmetric = _is_symmetric(bare)
    found = register(bare, reference)
    first = embed_landmarks(
        # The mouth's inside is known to be no place for landmarks.
        Head(replace(bare, regions=found.regions(reference))),
        picture=painter(bare, reference, found),
        detect=detect,
        identities=1,
        scene=CameraScene,
        views=FIRST_VIEWS,
        jaws=FIRST_JAWS,
        symmetric=symmetric,
    )
    found = register(replace(bare, lmk478=first), reference)
    picture = painter(bare, reference, found)
    embedding = embed_landmarks(
        Head(replace(bare, regions=found.regions(reference))),
        picture=picture,
        detect=detect,
        identities=identities,
        scene=CameraScene,
        views=VIEWS,
        jaws=JAWS,
        symmetric=symmetric,
        progress=progress,
    )
    embedding = mended(replace(bare, lmk478=embedding), reference)
    sigma = float(np.median(embedding.sigma))
    error = reprojection(replace(bare, lmk478=embedding), picture, detect)
    if sigma > WORST_SIGMA or error > WORST_REPROJECTION:
        raise InputError(
            "The landmarks cannot be embedded",
            expected=f"pictures that agree within {1e3 * WORST_SIGMA:g} mm and {100 * WORST_REPROJECTION:g} % of the "
            "eyes' distance",
            found=f"{1e3 * sigma:.1f} mm and {100 * error:.1f} %",
            fix="check that the model is a face with eyes and a mouth, upright, facing +z",
        )
    quality = {**layout.quality, "landmarks_sigma_mm": 1e3 * sigma, "landmarks_reprojection": error}
    return replace(layout, lmk478=embedding, lmk68=without_jaw_line(embedding), quality=quality)


def mended(layout: HeadLayout, reference: Head) -> Embedding:
    """The layout's landmarks, with those that the pictures disagree about put where the open head has them."""
    embedding = layout.lmk478
    if embedding is None:
        raise InputError(f"The head {layout.id} has no landmarks", expected="an embedding to mend")
    unsure = np.flatnonzero(embedding.sigma[:LANDMARKS] >= UNSURE)
    if not len(unsure):
        return embedding
    found = register(layout, reference)
    outer = np.flatnonzero(found.trust[layout.f].min(axis=1) > 0)
    goal = reference.landmark_positions(reference())[0, unsure.tolist()].double().numpy()
    triangle, weights = closest_on(found.warped[layout.f[outer]], goal)
    faces, barycentric, sigma = embedding.faces.copy(), embedding.barycentric.copy(), embedding.sigma.copy()
    faces[unsure], barycentric[unsure], sigma[unsure] = outer[triangle], weights, MENDED_SIGMA
    return Embedding(faces, barycentric, sigma)


def reprojection(
    layout: HeadLayout,
    picture: Callable[[np.ndarray, Camera, int], np.ndarray],
    detect: Callable[[np.ndarray], np.ndarray | None],
) -> float:
    """Median distance of detected from embedded landmarks on the mean head's front, in distances of the eyes."""
    head = Head(layout)
    vertices = head()[0].double().numpy()
    camera = orbit(0, 0)
    found = detect(picture(vertices, camera, 0))
    if found is None:
        return float("inf")
    points = head.landmark_positions(head())[0].double().numpy()
    pixels = _project(points, camera)
    eyes = _project(head.joints()[0, 3:].double().numpy(), camera)
    inner = np.setdiff1d(np.arange(478), OVAL)
    distance = np.linalg.norm(found[inner, :2] - pixels[inner], axis=1)
    return float(np.median(distance) / np.linalg.norm(eyes[0] - eyes[1]))


def painter(
    layout: HeadLayout, reference: Head, found: Registration
) -> Callable[[np.ndarray, Camera, int], np.ndarray]:
    """Renders the head's vertices with the open head's skin, lips, brows and eyes, in the colours of an identity."""
    # Colours are functions of the place on the open head, so that the model is bent onto it while it is painted.
    warped, regions = found.warped.astype(np.float32), found.regions(reference)
    costume = replace(layout, v_template=warped, regions=regions, iris_angle=iris_angle(layout))
    dressed = Head(costume)
    appearances = [HeadAppearance(dressed, look) for look in LOOKS.values()]

    def picture(vertices: np.ndarray, camera: Camera, identity: int) -> np.ndarray:
        scene = CameraScene(vertices, layout.f, camera)
        faces, barycentric = scene.image
        shown = np.flatnonzero(faces >= 0)
        faces, barycentric = faces[shown], barycentric[shown]
        material = appearances[identity % len(appearances)](faces, barycentric)
        normal = np.einsum("nk,nkc->nc", barycentric, scene.normals[layout.f[faces]])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        light = AMBIENT[1] + (AMBIENT[0] - AMBIENT[1]) * (normal[:, 1] + 1) / 2
        shine = np.zeros(len(shown))
        for direction, strength in LIGHTS:
            towards = np.asarray(direction) / np.linalg.norm(direction)
            light = light + strength * np.clip(normal @ towards, 0, None)
            halfway = towards + np.array([0, 0, 1])
            halfway = halfway / np.linalg.norm(halfway)
            shine += strength * material.specular * np.clip(normal @ halfway, 0, None) ** material.gloss
        image = np.full((camera.height * camera.width, 3), BACKDROP / 255)
        image[shown] = to_srgb(np.clip(material.albedo * light[:, None] + shine[:, None], 0, 1))
        return (image.reshape(camera.height, camera.width, 3) * 255 + 0.5).astype(np.uint8)

    return picture


def iris_angle(layout: HeadLayout) -> float:
    """Half-angle of the iris seen from the eyeball's centre: 11.7 mm across on every grown eye."""
    if "eye_l" not in layout.parts:
        return layout.iris_angle
    ball = layout.v_template[slice(*layout.parts["eye_l"])]
    radius = np.median(np.linalg.norm(ball - layout.J_regressor[3] @ layout.v_template, axis=1))
    return float(np.arcsin(np.clip(0.00585 / radius, 0.3, 0.7)))


def _is_symmetric(layout: HeadLayout) -> bool:
    points = layout.v_template[slice(*layout.parts.get("skin", (0, None)))]
    front = points[points[:, 2] > 0]
    return bool(np.median(KDTree(points).query(front * [-1, 1, 1])[0]) < MIRRORED)


def _project(points: Float[np.ndarray, "n 3"], camera: Camera) -> Float[np.ndarray, "n 2"]:
    pixels = (points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]) @ camera.K.T
    return pixels[:, :2] / pixels[:, 2:]
