"""Pictures with a posed mesh in them: what each shows of its rigid parts, and where the mesh takes one into another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.cameras import Camera
from avatar.fields.sampling import IRISES, landmark_points
from avatar.fields.survey import project, triangle_normals
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.io.parts import HEAD

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from avatar.heads import Head

# Metres that vertices of the rigid regions move at most under an ARKit weight of 1; how much they hang on the neck.
STILL, ON_NECK = 9e-3, 0.8
EYE_BOX, EYE_DEPTH = np.array([0.018, 0.011]), 0.03
FACING_KEY, FACING = 0.35, 0.3
DEPTH_SCALE, DEPTH_TOLERANCE = 2, 4e-3
UNSEEN = -1e3
MARGIN = 24


@dataclass(frozen=True)
class View:
    """A picture with the mesh in it.

    Attributes:
        grey: (H, W) brightness.
        skin: (H, W) whether the picture shows the head there.
        pixels: (V, 2) where the mesh's vertices appear.
        depths: (V,) their distances along the view, metres.
        facing: (F,) cosine between each triangle's normal and the way to the camera.
        scene: What a picture of `1 / DEPTH_SCALE` of the size shows.
        rotation: (3, 3) of the head.
    """

    grey: Float[np.ndarray, "H W"]
    skin: Bool[np.ndarray, "H W"]
    pixels: Float[np.ndarray, "V 2"]
    depths: Float[np.ndarray, " V"]
    facing: Float[np.ndarray, " F"]
    scene: CameraScene
    rotation: Float[np.ndarray, "3 3"]


@dataclass(frozen=True)
class Key:
    """The rigid part of a key picture, cut out: where it starts, its pixels' triangles (-1: none) and weights."""

    index: int
    corner: tuple[int, int]
    faces: Int[np.ndarray, "h w"]
    barycentric: Float[np.ndarray, "h w 3"]
    rigid: Bool[np.ndarray, "h w"]


def view_of(
    image: UInt8[np.ndarray, "H W 3"],
    parts: UInt8[np.ndarray, "H W"],
    vertices: Float[np.ndarray, "V 3"],
    *,
    faces: Int[np.ndarray, "F 3"],
    focal: float,
    rotation: Float[np.ndarray, "3 3"],
) -> View:
    """A picture and its labels with the posed mesh (metres, world of the front camera) in it."""
    height, width = parts.shape
    vertices = np.asarray(vertices, np.float64)
    pixels, depths = project(vertices, Camera.front(focal, width, height))
    normals, sights = triangle_normals(vertices, faces), vertices[faces].mean(axis=1)
    sizes = np.linalg.norm(normals, axis=1) * np.linalg.norm(sights, axis=1)
    small = Camera.front(focal / DEPTH_SCALE, width // DEPTH_SCALE, height // DEPTH_SCALE)
    return View(
        grey=cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32),
        skin=parts == HEAD,
        pixels=pixels,
        depths=depths,
        facing=-(normals * sights).sum(axis=1) / np.maximum(sizes, 1e-12),
        scene=CameraScene(vertices, faces, small),
        rotation=rotation,
    )


def largest_motion(head: Head) -> Float[np.ndarray, " V"]:
    """Metres that each vertex moves at most under an ARKit weight (or expression coefficient) of 1."""
    moves = head.exprdirs @ head.arkit_to_psi if head.arkit_to_psi.numel() else head.exprdirs
    return moves.norm(dim=1).amax(dim=1).numpy()


def rigid_faces(head: Head) -> Bool[np.ndarray, " F"]:
    """Triangles of the skin that neither an expression nor jaw, eyes or shoulders move much."""
    start, stop = head.parts["skin"]
    rest = head.v_template.numpy()
    still = np.zeros(len(rest), bool)
    still[start:stop] = True
    still &= (head.weights[:, 1].numpy() > ON_NECK) & (largest_motion(head) < STILL)
    marks = landmark_points(head, rest)
    for iris in IRISES:
        beside = np.abs(rest[:, :2] - marks[iris, :2]) < EYE_BOX
        still &= ~(beside.all(axis=1) & (rest[:, 2] > marks[iris, 2] - EYE_DEPTH))
    return np.all(still[head.faces.numpy()], axis=1)


def key_of(view: View, index: int, *, faces: np.ndarray, rigid: Bool[np.ndarray, " F"], focal: float) -> Key | None:
    """The rigid part of a picture; None where it shows too little of it."""
    height, width = view.grey.shape
    hits = CameraScene(view.scene.vertices, faces, Camera.front(focal, width, height)).image
    shown = hits.faces.reshape(height, width)
    allowed = (shown >= 0) & view.skin & (rigid & (view.facing > FACING_KEY))[np.maximum(shown, 0)]
    allowed = cv2.erode(allowed.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    rows, columns = np.flatnonzero(allowed.any(axis=1)), np.flatnonzero(allowed.any(axis=0))
    if not len(rows):
        return None
    top, left = max(0, rows[0] - MARGIN), max(0, columns[0] - MARGIN)
    box = slice(top, rows[-1] + 1 + MARGIN), slice(left, columns[-1] + 1 + MARGIN)
    on_skin = np.where(view.skin, shown, -1)[box]
    return Key(index, (int(left), int(top)), on_skin, hits.barycentric.reshape(height, width, 3)[box], allowed[box])


def cut_out(picture: np.ndarray, key: Key) -> np.ndarray:
    left, top = key.corner
    height, width = key.faces.shape
    return picture[top : top + height, left : left + width]


def warp_to(key: Key, view: View, *, faces: np.ndarray) -> tuple[Float[np.ndarray, "h w 2"], Float[np.ndarray, "h w"]]:
    """Where the mesh takes a key's pixels in another picture (OpenCV's pixels), and which are seen there."""
    inside = key.faces >= 0
    shown = key.faces[inside]
    corners, shares = faces[shown], key.barycentric[inside]
    goal = np.einsum("pkc,pk->pc", view.pixels[corners], shares)
    warp = np.full((*inside.shape, 2), UNSEEN, np.float32)
    warp[inside] = goal - 0.5
    spot = np.floor(goal).astype(int)
    height, width = view.grey.shape
    within = ((spot >= 0) & (spot < [width, height])).all(axis=1)
    column, row = spot.clip(0, [width - 1, height - 1]).T
    surface = view.scene.depth
    low = (row // DEPTH_SCALE).clip(0, surface.shape[0] - 1), (column // DEPTH_SCALE).clip(0, surface.shape[1] - 1)
    front = np.einsum("pk,pk->p", view.depths[corners], shares) < surface[low] + DEPTH_TOLERANCE
    seen = np.zeros(inside.shape, np.float32)
    seen[inside] = within & front & (view.facing[shown] > FACING) & view.skin[row, column]
    return warp, seen
