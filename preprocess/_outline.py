"""Where the outline of a posed head lies, and how far from it the pictures have the head's edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.fields.survey import project
from avatar.io.parts import HEAD, TORSO

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from avatar.cameras import Camera
    from avatar.io.take import Take

FINEST = 4  # Fractional bits of the drawing coordinates.
MIDDLE = 128
# A vertex is of the outline when it lies so near to it, pixels: half a small triangle's side.
NEAR = 1.5
BLUR = 1.5
# Clothes and the picture's border, so far grown, hide where the head ends, pixels.
MARGIN = 3
STEP = 0.5


@dataclass(frozen=True)
class HeadEdge:
    """The head in one frame, at working size.

    Attributes:
        distance: (h, w) pixels from the head's edge, positive inside.
        unknown: (h, w) where clothes or the picture's border hide whether the head goes on.
    """

    distance: Float[np.ndarray, "h w"]
    unknown: Bool[np.ndarray, "h w"]

    @classmethod
    def of(cls, take: Take, index: int, width: int, height: int) -> HeadEdge:
        """The edge that mask and labels of a frame show."""
        labels = cv2.resize(take.parts(index), (width, height), interpolation=cv2.INTER_NEAREST)
        mask = cv2.resize(np.asarray(take.mask(index), np.float32), (width, height), interpolation=cv2.INTER_AREA)
        unknown = cv2.dilate((labels == TORSO).astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
        unknown[[0, -1]] = unknown[:, [0, -1]] = True
        return cls(signed_distance((labels == HEAD) & (mask > 0.5)), unknown)


@dataclass(frozen=True)
class Outline:
    """The vertices on a posed mesh's outline whose place in the picture is told.

    Attributes:
        vertices: (n,) their indices.
        normals: (n, 2) outward, in the picture.
        gaps: (n,) pixels that the head's edge lies outside of the mesh's there, along the normal.
    """

    vertices: Int[np.ndarray, " n"]
    normals: Float[np.ndarray, "n 2"]
    gaps: Float[np.ndarray, " n"]


def signed_distance(inside: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance of pixel centres from the edge of a set, positive inside, pixels; the edge runs between pixels."""
    if not inside.any():
        return np.full(inside.shape, -float(sum(inside.shape)), np.float32)
    within, beyond = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (inside, ~inside))
    return np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)


def mesh_mask(
    pixels: Float[np.ndarray, "V 2"], faces: Int[np.ndarray, "F 3"], *, width: int, height: int, finer: int = 1
) -> UInt8[np.ndarray, "h w"]:
    """The pixels that a mesh's counter-clockwise triangles cover, 1 or 0.

    OpenCV also fills the pixels that a triangle's sides only touch; drawn `finer` times finer, that many times less.
    """
    mask = np.zeros((height * finer, width * finer), np.uint8)
    corners = np.round((pixels[faces] * finer - 0.5) * 2**FINEST).astype(np.int32)
    right, below = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # Of a closed surface, what faces the camera covers all.
    towards = right[:, 0] * below[:, 1] < right[:, 1] * below[:, 0]
    for corner in corners[towards]:
        cv2.fillConvexPoly(mask, corner, 255, cv2.LINE_8, FINEST)
    return (cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) >= MIDDLE).astype(np.uint8)


def find_outline(
    points: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    edge: HeadEdge,
    *,
    camera: Camera,
    reach: Float[np.ndarray, " V"],
) -> Outline:
    """Looks for the head's edge from each vertex on the mesh's outline, along the outline's normal.

    Args:
        points: (V, 3) posed vertices, metres.
        faces: (F, 3) the triangles that can make the outline.
        edge: The head in the picture.
        camera: The camera, at the edge's size.
        reach: (V,) how far to look, metres; a vertex whose edge lies further away is left out.
    """
    pixels, depth = project(points, camera)
    mesh = signed_distance(mesh_mask(pixels, faces, width=camera.width, height=camera.height, finer=2) > 0)
    candidates = np.unique(faces)
    place = pixels[candidates]
    inside = ((place > 1) & (place < np.array([camera.width, camera.height]) - 1)).all(1)
    candidates = candidates[inside]
    candidates = candidates[np.abs(sampled(mesh, pixels[candidates])) < NEAR]
    smooth = cv2.GaussianBlur(mesh, (0, 0), BLUR)
    slope = np.stack([sampled(-np.gradient(smooth, axis=axis), pixels[candidates]) for axis in (1, 0)], 1)
    normals = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-6)

    here = sampled(edge.distance, pixels[candidates])
    ways = np.where(here > 0, 1.0, -1.0)
    limits = reach[candidates] * camera.K[0, 0] / depth[candidates]
    steps = np.arange(0, limits.max(initial=0) + STEP, STEP)
    path = pixels[candidates][:, None] + (ways[:, None] * steps)[..., None] * normals[:, None]
    along = sampled(edge.distance, path) * ways[:, None]
    crossed = along <= 0
    found = crossed.any(1)
    first = np.where(found, crossed.argmax(1), len(steps) - 1)
    rows = np.arange(len(candidates))
    before = along[rows, np.maximum(first - 1, 0)]
    share = np.where(first > 0, before / np.maximum(before - along[rows, first], 1e-6), 0.0)
    gaps = np.where(first > 0, first - 1 + share, 0.0) * STEP
    passed = np.arange(len(steps)) <= first[:, None]
    hidden = (sampled(edge.unknown.astype(np.float32), path) > 0) & passed
    kept = found & (gaps <= limits) & ~hidden.any(1)
    # A vertex just inside the outline moves as far as the outline does.
    away = ways * gaps - sampled(mesh, pixels[candidates])
    return Outline(candidates[kept], normals[kept], away[kept])


def sampled(field: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A picture's values at (..., 2) places, bilinear; beyond the border, those of the border."""
    places = (pixels.reshape(len(pixels), -1, 2) - 0.5).astype(np.float32)
    across, down = np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
    field = np.asarray(field, np.float32)
    if not places.size:
        return np.zeros(pixels.shape[:-1], np.float32)
    values = cv2.remap(field, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(pixels.shape[:-1])
