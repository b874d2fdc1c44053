"""The parts of a picture that figures are stated for, and where its error sits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.face_mesh import EYE_CORNERS, EYES_AND_BROWS, OUTER_LIPS
from avatar.io.parts import HEAD, TORSO

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

REGIONS = ("whole", "head", "face", "mouth")
MESH_POINTS = 468
# Of MediaPipe's face mesh: what tells ears from hair and neck.
BROW, LIP = (9, 151), (61, 291)
# How far around the lips the mouth reaches, of the distance of the eye corners.
MOUTH_MARGIN, EYE_MARGIN = 0.12, 0.05
BAND = 4.0
PRECISION = 4  # Fractional bits of the drawing coordinates.


def inter_ocular(landmarks: Float[np.ndarray, "*T 478 3"]) -> Float[np.ndarray, "*T"]:
    """Distance of the outer eye corners in the picture, in the landmarks' unit."""
    left, right = (landmarks[..., corner, :2] for corner in EYE_CORNERS)
    return np.linalg.norm(left - right, axis=-1)


def picture_regions(
    head: Bool[np.ndarray, "H W"], landmarks: Float[np.ndarray, "478 3"]
) -> dict[str, Bool[np.ndarray, "H W"]]:
    """The regions of a frame that have pixels, by the names of `REGIONS`.

    Args:
        head: The head above the collar.
        landmarks: Of the recording, pixels; without them (NaN) there is neither a face nor a mouth.
    """
    found = {"whole": np.ones_like(head), "head": head}
    if np.isfinite(landmarks).all():
        found["face"] = hull(landmarks[:MESH_POINTS], head.shape) & head
        found["mouth"] = hull(landmarks[list(OUTER_LIPS)], head.shape, grown=_margin(landmarks, MOUTH_MARGIN)) & head
    return {name: region for name, region in found.items() if region.any()}


def error_parts(
    parts: UInt8[np.ndarray, "H W"], head: Bool[np.ndarray, "H W"], landmarks: Float[np.ndarray, "478 3"]
) -> dict[str, Bool[np.ndarray, "H W"]]:
    """The head cut into parts without overlap, none of them named where it is empty.

    ``collar`` and ``silhouette`` are bands of 4 pixels inside the head's border, along the clothes and along the
    background; then ``mouth``, ``eyes`` with brows, the rest of the ``face``, and outside it, from the level of the
    brows upwards ``hair``, down to that of the lips ``ears`` (with the hair around them), and below ``neck``.
    """
    if not np.isfinite(landmarks).all():
        return {"head": head}
    to_clothes, to_background = (_distance(~other) for other in (parts == TORSO, (parts != TORSO) & ~head))
    eyes = np.zeros_like(head)
    for points in EYES_AND_BROWS:
        eyes |= hull(landmarks[list(points)], head.shape, grown=_margin(landmarks, EYE_MARGIN))
    height = _height(landmarks, head.shape)
    candidates = {
        "collar": (to_clothes <= BAND) & (parts == HEAD),
        "silhouette": to_background <= BAND,
        "mouth": hull(landmarks[list(OUTER_LIPS)], head.shape, grown=_margin(landmarks, MOUTH_MARGIN)),
        "eyes": eyes,
        "face": hull(landmarks[:MESH_POINTS], head.shape),
        "hair": height > 1,
        "ears": height > 0,
        "neck": np.ones_like(head),
    }
    left, found = head.copy(), {}
    for name, region in candidates.items():
        found[name] = region & left
        left &= ~region
    return {name: region for name, region in found.items() if region.any()}


def hull(points: Float[np.ndarray, "N D"], shape: tuple[int, ...], *, grown: float = 0.0) -> Bool[np.ndarray, "H W"]:
    """Pixels inside the convex hull of points, widened by `grown` pixels."""
    drawn = np.zeros(shape, np.uint8)
    corners = np.round((cv2.convexHull(points[:, :2].astype(np.float32))[:, 0] - 0.5) * 2**PRECISION)
    cv2.fillConvexPoly(drawn, corners.astype(np.int32), 1, cv2.LINE_8, PRECISION)
    reach = round(grown)
    if reach:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        drawn = cv2.dilate(drawn, disc)
    return drawn > 0


def edge_band(person: Bool[np.ndarray, "H W"], head: Bool[np.ndarray, "H W"], width: float) -> Bool[np.ndarray, "H W"]:
    """Pixels of the head within `width` pixels inside the person's silhouette; the picture's border is none."""
    return head & (_distance(person) <= width)


def _distance(region: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Pixels to the nearest one outside the region; large where there is none."""
    if region.all():
        return np.full(region.shape, np.inf, np.float32)
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _margin(landmarks: Float[np.ndarray, "478 3"], share: float) -> float:
    return share * float(inter_ocular(landmarks))


def _height(landmarks: Float[np.ndarray, "478 3"], shape: tuple[int, ...]) -> Float[np.ndarray, "H W"]:
    """How far up the face each pixel lies: 0 at the level of the lips, 1 at that of the brows."""
    brow, lip = (landmarks[list(points), :2].mean(0) for points in (BROW, LIP))
    rows, columns = np.indices(shape) + 0.5
    up = brow - lip
    return ((columns - lip[0]) * up[0] + (rows - lip[1]) * up[1]) / max(float(up @ up), 1e-9)
