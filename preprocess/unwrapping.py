"""The face unwrapped: the same places of the skin in every frame, as a small grid around the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.face_mesh import EYE_CORNERS, EYES_AND_BROWS, OUTER_LIPS, OVAL
from avatar.fields.survey import project, take_camera
from avatar.heads.subject import subject_head

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

# Cells to the distance of the outer eye corners, on a cylinder that lies so many of these behind the nose's tip.
CELLS, BEHIND = 20, 1.1
# A place is seen from this cosine between surface and view on.
FACING = 0.25
# Mouth and lids move over what is beneath: so much around them is no firm skin, in distances of the eye corners.
MARGIN = 0.08
# Half a hand's breadth, in the same: what covers the face at its outline goes on beside it.
REACH = 0.5
# Where nobody is and a colour differs by less than this from the background's, 8-bit, nothing is before that; so many
# cells from there the face's own rim is not judged.
BARE, RIM = 24, 1.5
PRECISION = 4  # Fractional bits of the drawing coordinates.


@dataclass(frozen=True)
class UnwrappedFace:
    """A grid of places on the skin of one person's face.

    Attributes:
        take: The take.
        head: The vertices of its subject that carry the places.
        motion: The tracked motion.
        face: (h, w) cells that lie on the face.
        firm: (h, w) those away from mouth and eyes.
        corners: (n, 3) vertices of the triangle of each of the face's cells, in the order of `face`.
        weights: (n, 3) barycentric weights of these.
        plate: (H, W, 3) what is behind the person, sRGB.
    """

    take: Take
    head: Head
    motion: Motion
    face: Bool[np.ndarray, "h w"]
    firm: Bool[np.ndarray, "h w"]
    corners: Int[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n 3"]
    plate: UInt8[np.ndarray, "H W 3"]

    @classmethod
    def of(cls, take: Take, head: Head) -> UnwrappedFace:
        """The grid of a tracked take; worked out on the CPU."""
        motion, head = take.motion(), head.on(torch.device("cpu"))
        subject = subject_head(head, motion)
        rest = subject.v_template.numpy()
        marks = subject.landmark_positions(subject.v_template[None])[0].numpy()
        unit = float(np.linalg.norm(marks[EYE_CORNERS[0]] - marks[EYE_CORNERS[1]]))
        axis = marks[1] - (0, 0, BEHIND * unit)

        def unrolled(points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
            across = np.arctan2(points[..., 0] - axis[0], points[..., 2] - axis[2]) * BEHIND * unit
            return np.stack([across, axis[1] - points[..., 1]], -1) * (CELLS / unit)

        outline = unrolled(marks[list(OVAL)])
        origin = np.floor(outline.min(0)) - 1
        width, height = (np.ceil(outline.max(0)) + 1 - origin).astype(int)
        places = unrolled(rest) - origin
        triangles = _outer_skin(head)
        flat = places[triangles]
        radius = np.hypot(*(rest - axis)[:, [0, 2]].T)[triangles].mean(1)
        shown = np.full((height, width), -1, np.int32)
        outward = _crossed(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]) < 0
        narrow = np.ptp(flat[..., 0], axis=1) < width / 2
        for triangle in np.argsort(radius, kind="stable"):
            if outward[triangle] and narrow[triangle]:
                corners = np.round((flat[triangle] - 0.5) * 2**PRECISION).astype(np.int32)
                cv2.fillConvexPoly(shown, corners, int(triangle), cv2.LINE_8, PRECISION)
        face = _filled((height, width), outline - origin) & (shown >= 0)
        firm = face.copy()
        for part in (OUTER_LIPS, *EYES_AND_BROWS):
            hull = cv2.convexHull((unrolled(marks[list(part)]) - origin).astype(np.float32))[:, 0]
            grown = cv2.dilate(_filled((height, width), hull).astype(np.uint8), _disc(MARGIN * CELLS))
            firm &= grown == 0
        rows, columns = np.nonzero(face)
        chosen = triangles[shown[face]]
        weights = _barycentric(places[chosen], np.stack([columns + 0.5, rows + 0.5], -1))
        vertices, corners = np.unique(chosen, return_inverse=True)
        carried = subject.subset(torch.as_tensor(vertices))
        return cls(take, carried, motion, face, firm, corners.reshape(-1, 3), weights, take.background())

    def places(self, index: int) -> Float[np.ndarray, "n 2"]:
        """Pixels of the face's cells in one frame; NaN where they are turned away or out of the picture."""
        row = self.motion[index : index + 1]
        parts = (row.expression, row.pose, row.eyelids, row.transl)
        expression, pose, eyelids, transl = (torch.as_tensor(part, dtype=torch.float32) for part in parts)
        with torch.no_grad():
            vertices = self.head(expression=expression, pose=pose, eyelids=eyelids, transl=transl)[0].numpy()
        corners = vertices[self.corners]
        points = (corners * self.weights[..., None]).sum(1)
        camera = take_camera(self.take)
        pixels = project(points, camera)[0]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(points, axis=1)
        facing = -(normals * points).sum(1) / np.maximum(lengths, 1e-12)
        inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(1)
        return np.where((inside & (facing > FACING))[:, None], pixels, np.nan)

    def colors(self, index: int) -> Float[np.ndarray, "h w 3"]:
        """What one frame shows at each cell, 8-bit sRGB, as means over about a cell; NaN where the face is not seen.

        At the rim of a head that has turned away the mesh may lie beside the face, and what a cell shows there is a
        mixture: beside the bare background nothing is looked at.
        """
        pixels = self.places(index)
        found = np.full((*self.face.shape, 3), np.nan, np.float32)
        seen = np.isfinite(pixels[:, 0])
        if not seen.any():
            return found
        pitch = _pitch(pixels[seen])
        places = np.floor(pixels[seen]).astype(int)
        left, top = (places.min(0) - round(2 * pitch)).clip(0)
        right, bottom = places.max(0) + round(2 * pitch) + 1
        part = slice(top, bottom), slice(left, right)
        columns, rows = (places - (left, top)).T
        image = self.take.image(index)[part]
        bare = (self.take.mask(index)[part] < 0.5) & (cv2.absdiff(image, self.plate[part]) < BARE).all(-1)
        beside = cv2.distanceTransform((~bare).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= RIM * pitch
        shown = ~beside[rows, columns]
        smooth = cv2.GaussianBlur(image, (0, 0), max(0.5 * pitch, 0.3))
        cells = np.argwhere(self.face)[seen][shown].T
        found[tuple(cells)] = smooth[rows[shown], columns[shown]]
        return found

    def nearer(
        self, index: int, marked: Bool[np.ndarray, "h w"], among: Bool[np.ndarray, "h w"]
    ) -> Bool[np.ndarray, "H W"]:
        """The pixels of a frame whose nearest cell is a marked one; beside the face also those within `REACH` of that.

        Args:
            index: Row of the take.
            marked: The marked cells.
            among: Those that are asked, as far as they are seen.
        """
        pixels = self.places(index)
        seen = np.isfinite(pixels[:, 0]) & among[self.face]
        columns, rows = np.floor(pixels[seen]).astype(int).T
        chosen = marked[self.face][seen]
        apart = []
        for which in (chosen, ~chosen):
            empty = np.ones((self.take.info.height, self.take.info.width), np.uint8)
            empty[rows[which], columns[which]] = 0
            apart.append(cv2.distanceTransform(empty, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
        if not chosen.any():
            return np.zeros(apart[0].shape, bool)
        on_face = _filled(apart[0].shape, cv2.convexHull(pixels[seen].astype(np.float32))[:, 0])
        beside = apart[0] < np.where(on_face, 0, REACH * CELLS * _pitch(pixels[seen]))
        return beside | (apart[0] < apart[1])


def _pitch(pixels: Float[np.ndarray, "n 2"]) -> float:
    """About how many pixels lie between two neighbouring cells."""
    return float(np.prod(np.ptp(pixels, axis=0)) / len(pixels)) ** 0.5


def _outer_skin(head: Head) -> Int[np.ndarray, "F 3"]:
    """Triangles of the skin, without the mouth's inside."""
    faces = head.faces.numpy()
    start, stop = head.parts["skin"]
    kept = ((faces >= start) & (faces < stop)).all(1)
    if "inside_mouth" in head.regions:
        kept &= head.regions["inside_mouth"].numpy()[faces].max(1) < 0.5
    return faces[kept]


def _filled(shape: tuple[int, int], outline: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "h w"]:
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [np.round((outline - 0.5) * 2**PRECISION).astype(np.int32)], 1, cv2.LINE_8, PRECISION)
    return drawn > 0


def _disc(radius: float) -> np.ndarray:
    size = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _crossed(one: Float[np.ndarray, "n 2"], other: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]


def _barycentric(corners: Float[np.ndarray, "n 3 2"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Weights of triangles' corners at points in their plane, held within the triangles."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = points - corners[:, 0]
    area, second, third = _crossed(a, b), _crossed(p, b), _crossed(a, p)
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    second, third = second / area, third / area
    weights = np.stack([1 - second - third, second, third], 1).clip(0, 1)
    return weights / weights.sum(1, keepdims=True)
