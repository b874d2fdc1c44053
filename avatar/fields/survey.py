"""A survey of the take before training: which triangles the clip shows, in what colour, as which part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import Camera
from avatar.errors import InputError
from avatar.heads.subject import subject_head

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

FRAMES = 32
PARTS = 3
# A triangle counts as shown from this cosine of the view on.
GRAZING = 0.02
# What is nearer to the camera than a triangle by more than this hides it, metres.
THICKNESS = 0.01
FINEST = 4  # Fractional bits of the drawing coordinates.


@dataclass(frozen=True)
class Survey:
    """What a few dozen frames show of the head's triangles.

    Attributes:
        rest: (V, 3) the subject's vertices at rest, metres.
        centroids: (F, 3) of the triangles at rest.
        areas: (F,) square metres.
        facing: (F,) z of the unit normal at rest: 1 towards the front, -1 away from it.
        labels: (F, 3) how many times each triangle was seen from the front on background, head and torso.
        colors: (F, 3) mean sRGB in [0, 1] where seen; NaN elsewhere.
        shown: (F,) whether a frame shows the triangle: it faces the camera and no other hides it.
    """

    rest: Float[np.ndarray, "V 3"]
    centroids: Float[np.ndarray, "F 3"]
    areas: Float[np.ndarray, " F"]
    facing: Float[np.ndarray, " F"]
    labels: Int[np.ndarray, "F 3"]
    colors: Float[np.ndarray, "F 3"]
    shown: Bool[np.ndarray, " F"]


def require_shown(shown: Bool[np.ndarray, " F"]) -> None:
    """Raises InputError when not one of a part's triangles was shown bare, so that nothing can be placed by it."""
    if not shown.any():
        raise InputError(
            "The take shows too little of the head",
            expected="frames where face and neck are seen from the front, in front of the clothes",
            found="no part of the head model that is labelled head more often than clothes",
            fix="record a clip that shows the whole head with the neck bare, and make the take again",
        )


def take_camera(take: Take) -> Camera:
    """The camera that the tracker found for the take."""
    return Camera.front(take.info.focal, take.info.width, take.info.height)


def project(points: Float[np.ndarray, "N 3"], camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and depths (N,) of world points."""
    seen = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = seen @ camera.K.T
    return pixels[:, :2] / pixels[:, 2:], seen[:, 2]


def posed_vertices(head: Head, motion: Motion, index: int) -> Float[np.ndarray, "V 3"]:
    """The tracked head at one row of the motion, in the camera's space."""
    row = motion[index : index + 1]
    parts = (row.expression, row.pose, row.eyelids, row.transl)
    expression, pose, eyelids, transl = (torch.as_tensor(p, dtype=torch.float32, device=head.device) for p in parts)
    with torch.no_grad():
        vertices = subject_head(head, row)(expression=expression, pose=pose, eyelids=eyelids, transl=transl)
    return vertices[0].cpu().numpy()


def triangle_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3"]:
    """Normals of triangles, as long as twice their areas."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def survey(take: Take, head: Head, motion: Motion, indices: np.ndarray) -> Survey:
    """Looks at up to ``FRAMES`` evenly chosen frames among `indices`, where nothing is before the head."""
    faces = head.faces.cpu().numpy()
    rest = subject_head(head, motion).v_template.cpu().numpy()
    normals = triangle_normals(rest, faces)
    doubled = np.linalg.norm(normals, axis=1)
    labels = np.zeros((len(faces), PARTS), np.int64)
    colors, shown = np.zeros((len(faces), 3)), np.zeros(len(faces), bool)
    camera = take_camera(take)
    chosen = indices[np.unique(np.linspace(0, len(indices) - 1, FRAMES).astype(int))]
    for index in chosen:
        vertices = posed_vertices(head, motion, int(index))
        centroids = vertices[faces].mean(1)
        pixels, depths = project(centroids, camera)
        columns, rows = np.floor(pixels).astype(int).T
        inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
        covered = take.covered(int(index))
        if covered is not None:
            inside[inside] = ~covered[rows[inside], columns[inside]]
        outward = triangle_normals(vertices, faces)
        facing = -(outward * centroids).sum(1) / np.maximum(_length(outward) * _length(centroids), 1e-12)
        seen = np.flatnonzero(inside & (facing > 0))
        np.add.at(labels, (seen, take.parts(int(index))[rows[seen], columns[seen]]), 1)
        place = rows[seen], columns[seen]
        nearest = depth_map(vertices, faces[facing > 0], camera)
        shown[seen[(facing[seen] > GRAZING) & (depths[seen] < nearest[place] + THICKNESS)]] = True
        person = seen[take.parts(int(index))[place] > 0]
        colors[person] += take.image(int(index))[rows[person], columns[person]] / 255.0
    count = labels[:, 1:].sum(1)
    colors = np.where(count[:, None] > 0, colors / np.maximum(count, 1)[:, None], np.nan)
    return Survey(
        rest=rest,
        centroids=rest[faces].mean(1),
        areas=doubled / 2,
        facing=normals[:, 2] / np.maximum(doubled, 1e-12),
        labels=labels,
        colors=colors,
        shown=shown,
    )


def _length(vectors: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
    return np.linalg.norm(vectors, axis=1)


def depth_map(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], camera: Camera
) -> Float[np.ndarray, "H W"]:
    """Depth of the nearest triangle in each pixel, metres; infinite where there is none."""
    pixels, depths = project(vertices, camera)
    result = np.full((camera.height, camera.width), np.inf, np.float32)
    corners = np.round((pixels[faces] - 0.5) * 2**FINEST).astype(np.int32)
    middle = depths[faces].mean(1)
    for triangle in np.argsort(-middle):
        cv2.fillConvexPoly(result, corners[triangle], float(middle[triangle]), cv2.LINE_8, FINEST)
    return result
