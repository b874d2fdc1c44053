"""What is wrong with a view: holes, an outline that the bust does not reach, and Gaussians that float outside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from avatar.render.playback import render_pose
from avatar.render.trajectories import around

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float, Int

    from avatar.cameras import Camera
    from avatar.fields.gaussian_head import GaussianHead, Pose

OPAQUE = 0.5
# The outline of the meshes is held to this, metres: soft edges of the picture lie within the one, hair in the other.
INNER_MARGIN, OUTER_MARGIN = 0.006, 0.03
# Where a head model's triangles are carried by the root more than this, and no further in than the neck is wide, the
# clothes stand for them; the neck's width is read where it is carried by so much.
SHOULDERS, NECK = 0.75, (0.3, 0.6)
# A gap narrower than this many metres is one that head and clothes should not leave; what is left of a plain corner
# when it is closed so far is thinner than the second, or where a cheek nears a shoulder no more than a few such discs.
GAP, CORNER, FEW = 0.04, 0.012, 2.5
FINEST = 4  # Fractional bits of the drawing coordinates.


class ViewFlaws(NamedTuple):
    """Flaws of one view, as shares of the pixels within the bust's outline.

    Attributes:
        holes: Pixels in which the background shows through the person: enclosed, or in a narrow gap.
        shortfall: Other pixels well within the outline in which it shows: the bust ends earlier than its meshes.
        floaters: Opaque pixels far outside the outline.
    """

    holes: float
    shortfall: float
    floaters: float


def view_flaws(gaussians: GaussianHead, pose: Pose, camera: Camera, *, threads: int | None = None) -> ViewFlaws:
    """Counts the flaws of one view of a bust.

    The outline is that of the posed meshes, clothes and head without the model's own shoulders, with what they enclose
    and the narrow gaps between them: a collar that stands off the neck is a flaw although no mesh lies in between.

    Args:
        gaussians: The avatar.
        pose: The moment.
        camera: The view; 200 pixels a side tell enough.
        threads: Threads of the rasteriser; all processors when None.
    """
    opaque = render_pose(gaussians, pose, camera, threads=threads).alpha[..., 0].cpu().numpy() > OPAQUE
    seen = _seen(gaussians, pose, camera)
    outline = _outline(gaussians, seen, camera)
    holes, bust = _holes(outline, opaque, seen, camera)
    faces, outer = np.concatenate(_faces(gaussians)), _disc(OUTER_MARGIN, seen, camera)
    surroundings = cv2.dilate(_drawn(seen, faces, camera), outer) > 0
    area = max(int(outline.sum()), 1)
    marked = holes, bust & ~opaque & ~holes, opaque & ~surroundings
    return ViewFlaws(*(float(flaw.sum() / area) for flaw in marked))


def find_holes(
    gaussians: GaussianHead, pose: Pose, camera: Camera, opaque: Bool[np.ndarray, "H W"]
) -> Bool[np.ndarray, "H W"]:
    """The pixels of a view that `view_flaws` calls holes.

    Args:
        gaussians: The avatar.
        pose: The moment.
        camera: The view.
        opaque: (H, W) where the avatar's picture covers the background.
    """
    seen = _seen(gaussians, pose, camera)
    return _holes(_outline(gaussians, seen, camera), opaque, seen, camera)[0]


def orbit_flaws(
    gaussians: GaussianHead,
    pose: Pose,
    camera: Camera,
    center: Float[np.ndarray, " 3"],
    *,
    yaws: Sequence[float],
    pitches: Sequence[float],
    threads: int | None = None,
) -> Iterator[tuple[float, float, ViewFlaws]]:
    """Yaw, pitch and flaws of every view of a grid around the head.

    Args:
        gaussians: The avatar.
        pose: The moment.
        camera: Any view of it; the others keep its distance and lens.
        center: (3,) what they look at, metres.
        yaws: Degrees to the camera's right of the front.
        pitches: Degrees above it.
        threads: Threads of the rasteriser; all processors when None.
    """
    for pitch in pitches:
        for yaw in yaws:
            view = around(camera, center, yaw=yaw, pitch=pitch)
            yield yaw, pitch, view_flaws(gaussians, pose, view, threads=threads)


def large_pieces(marked: Bool[np.ndarray, "H W"], least: float) -> Bool[np.ndarray, "H W"]:
    """The connected pieces of at least so many pixels."""
    pieces = np.asarray(cv2.connectedComponents(marked.astype(np.uint8))[1], np.int64)
    sizes = np.bincount(pieces.reshape(-1))
    return marked & (sizes >= least)[pieces]


def _seen(gaussians: GaussianHead, pose: Pose, camera: Camera) -> Float[np.ndarray, "V 3"]:
    """The posed meshes in the camera's axes, metres."""
    vertices = gaussians.vertices(pose).cpu().numpy().astype(np.float64)
    return vertices @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]


def _faces(gaussians: GaussianHead) -> tuple[Int[np.ndarray, "F 3"], Int[np.ndarray, "G 3"]]:
    """Triangles of the head and of the clothes."""
    return gaussians.head.faces.cpu().numpy(), gaussians.torso_faces.cpu().numpy()


def _outline(gaussians: GaussianHead, seen: Float[np.ndarray, "V 3"], camera: Camera) -> Bool[np.ndarray, "H W"]:
    """What the meshes of the bust cover for certain."""
    faces, sheet = _faces(gaussians)
    dressed = len(sheet) and bool((gaussians.triangles >= len(faces)).any())
    bare = faces[_bare(gaussians)]
    drawn = _drawn(seen, np.concatenate([bare, sheet]) if dressed else bare, camera)
    return cv2.erode(drawn, _disc(INNER_MARGIN, seen, camera)) > 0


def _holes(
    outline: Bool[np.ndarray, "H W"], opaque: Bool[np.ndarray, "H W"], seen: Float[np.ndarray, "V 3"], camera: Camera
) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Pixels of holes, and of the whole bust with what it encloses."""
    gap, corner = (_disc(x, seen, camera) for x in (GAP / 2, CORNER / 2))
    bust, enclosed = (np.asarray(ndimage.binary_fill_holes(shape)) for shape in (outline | opaque, opaque))
    # Beyond the picture's edge nothing may be closed with.
    edge = len(gap)
    closed = cv2.morphologyEx(np.pad(bust, edge).astype(np.uint8), cv2.MORPH_CLOSE, gap)[edge:-edge, edge:-edge]
    between = large_pieces(cv2.morphologyEx(closed * ~bust, cv2.MORPH_OPEN, corner) > 0, FEW * float(corner.sum()))
    return (enclosed | between) & ~opaque, bust


def _bare(gaussians: GaussianHead) -> Bool[np.ndarray, " F"]:
    """Triangles of the head and of the neck as far down as a collar may open, without the model's own shoulders."""
    head = gaussians.head
    faces, carried = head.faces.cpu().numpy(), head.weights[:, 0].cpu().numpy()
    aside = np.abs(head.v_template[:, 0].cpu().numpy())
    neck = aside[(carried > NECK[0]) & (carried < NECK[1])]
    width = float(np.percentile(neck, 95)) if len(neck) else 0.0
    return (carried[faces].max(1) < SHOULDERS) | (aside[faces].max(1) < width)


def _disc(length: float, seen: Float[np.ndarray, "V 3"], camera: Camera) -> np.ndarray:
    """A disc with a radius of `length` metres at the distance of the meshes."""
    radius = max(1, round(length * float(camera.K[0, 0]) / float(np.median(seen[:, 2]))))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)


def _drawn(seen: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], camera: Camera) -> np.ndarray:
    """The triangles in white on black, gaps between them closed; those behind the camera are left out."""
    result = np.zeros((camera.height, camera.width), np.uint8)
    pixels = seen @ camera.K.T
    pixels = pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6)
    limit = 2.0 ** (30 - FINEST)
    corners = np.round((pixels.clip(-limit, limit)[faces] - 0.5) * 2**FINEST).astype(np.int32)
    for triangle in corners[(seen[faces, 2] > 1e-3).all(1)]:
        cv2.fillConvexPoly(result, triangle, 255, cv2.LINE_8, FINEST)
    return result
