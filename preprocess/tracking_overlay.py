"""The tracked mesh drawn over the pictures it was tracked in, for the eye to judge."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.errors import InputError
from avatar.face_mesh import OUTER_LIPS
from avatar.heads.subject import subject_head
from avatar.io.video import VideoWriter
from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess._threads import map_ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jaxtyping import Float, Int, UInt8

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

MESH, CONTOUR, IRIS = (235, 235, 245), (80, 220, 255), (255, 170, 60)
MESH_OPACITY = 0.22
FINEST = 4  # Fractional bits of the drawing coordinates.
BATCH = 64


def tracking_overlay(
    take: Take, path: Path, *, head: Head, scale: int | None = None, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes a video of the take's pictures with the tracked head's visible edges, lips, lids and irises.

    The contours are the landmarks of the mesh itself, without the corrections that the tracker allows the embedding:
    where they miss the picture, so will an avatar.

    Args:
        take: A tracked take.
        path: Video to write.
        head: The head model that the take was tracked with.
        scale: Enlargement of the pictures; chosen for about 600 pixels when None.
        progress: Called with (frames done, all frames).

    Raises:
        InputError: The take is not tracked, or with another head model.
    """
    motion = take.motion()
    if motion.head_hash != head.hash:
        raise InputError(
            "The overlay cannot be drawn",
            expected=f"the head model {motion.head_id} that the take was tracked with",
            found=head.id,
            fix="load that head, or track the take again",
        )
    info = take.info
    scale = scale or max(1, round(600 / info.width))
    edges = mesh_edges(head)
    fps = Fraction(*info.fps)

    def drawn(moment: tuple[int, Float[np.ndarray, "V 3"]]) -> UInt8[np.ndarray, "H2 W2 3"]:
        index, vertices = moment
        return draw_overlay(take.image(index), vertices, head=head, edges=edges, focal=info.focal, scale=scale)

    with VideoWriter(path, fps=fps, width=info.width * scale, height=info.height * scale, audio=_sound(take)) as video:
        for index, picture in enumerate(map_ordered(drawn, _in_turn(head, motion))):
            video.write(picture)
            if progress is not None:
                progress(index + 1, len(motion))


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"],
    vertices: Float[np.ndarray, "V 3"],
    *,
    head: Head,
    edges: tuple[Int[np.ndarray, "E 2"], Int[np.ndarray, "E 2"]],
    focal: float,
    scale: int = 1,
) -> UInt8[np.ndarray, "H2 W2 3"]:
    """One picture with the mesh over it.

    Args:
        image: The picture, sRGB.
        vertices: (V, 3) the posed head in the world of the front camera, metres.
        head: The head model.
        edges: From `mesh_edges`.
        focal: Focal length in pixels of `image`.
        scale: Enlargement.
    """
    height, width = image.shape[:2]
    canvas = cv2.resize(image, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    factor = scale * focal / -vertices[:, 2]
    pixels = np.stack([vertices[:, 0] * factor + scale * width / 2, scale * height / 2 - vertices[:, 1] * factor], 1)

    faces = head.faces.cpu().numpy()
    corner, right, below = (pixels[faces[:, place]] for place in range(3))
    # Counter-clockwise triangles turn clockwise in a picture whose y points down.
    first, second = right - corner, below - corner
    toward = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    pairs, owners = edges
    visible = pairs[toward[owners].any(axis=1)]
    layer = canvas.copy()
    cv2.polylines(layer, list(_fixed(pixels)[visible]), False, MESH, 1, cv2.LINE_AA, FINEST)
    canvas = cv2.addWeighted(layer, MESH_OPACITY, canvas, 1 - MESH_OPACITY, 0)

    embedding = head.landmarks
    triangles, shares = embedding.faces.cpu().numpy(), embedding.barycentric.cpu().numpy()
    points = (pixels[faces[triangles]] * shares[..., None]).sum(axis=1)
    for contour in (OUTER_LIPS, regions.INNER_LIPS, regions.RIGHT_EYE, regions.LEFT_EYE):
        cv2.polylines(canvas, [_fixed(points[list(contour)])], True, CONTOUR, 1, cv2.LINE_AA, FINEST)
    for centre, *ring in (regions.RIGHT_IRIS, regions.LEFT_IRIS):
        radius = float(np.linalg.norm(points[ring] - points[centre], axis=1).mean())
        x, y = _fixed(points[centre])
        cv2.circle(canvas, (int(x), int(y)), round(radius * 2**FINEST), IRIS, 1, cv2.LINE_AA, FINEST)
    return canvas


def mesh_edges(head: Head) -> tuple[Int[np.ndarray, "E 2"], Int[np.ndarray, "E 2"]]:
    """The skin's edges (E, 2) as vertex pairs, and the one or two triangles (E, 2) beside each."""
    start, stop = head.parts["skin"]
    faces = head.faces.cpu().numpy()
    skin = np.flatnonzero(((faces >= start) & (faces < stop)).all(axis=1))
    sides = np.sort(np.concatenate([faces[skin][:, [0, 1]], faces[skin][:, [1, 2]], faces[skin][:, [2, 0]]]), axis=1)
    pairs, inverse = np.unique(sides, axis=0, return_inverse=True)
    owners = np.full((len(pairs), 2), -1)
    triangles = np.tile(skin, 3)
    order = np.argsort(inverse.ravel(), kind="stable")
    first = np.searchsorted(inverse.ravel()[order], np.arange(len(pairs)))
    last = np.searchsorted(inverse.ravel()[order], np.arange(len(pairs)), side="right") - 1
    owners[:, 0], owners[:, 1] = triangles[order[first]], triangles[order[last]]
    return pairs, owners


def _in_turn(head: Head, motion: Motion) -> Iterator[tuple[int, Float[np.ndarray, "V 3"]]]:
    """Every moment's number and vertices, posed many at a time."""
    for start in range(0, len(motion), BATCH):
        yield from enumerate(posed(head, motion[start : start + BATCH]), start)


def posed(head: Head, motion: Motion) -> Float[np.ndarray, "T V 3"]:
    """Vertices of a head in every moment of a motion, metres."""
    parts = {name: getattr(motion, name) for name in ("expression", "pose", "eyelids", "transl")}
    with torch.no_grad():
        moved = {name: torch.from_numpy(value).to(head.device) for name, value in parts.items()}
        return subject_head(head, motion)(**moved).cpu().numpy()


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """OpenCV's fixed-point coordinates, in which a pixel's centre is a whole number."""
    return np.round((pixels - 0.5) * 2**FINEST).astype(np.int32)


def _sound(take: Take) -> tuple[np.ndarray, int] | None:
    samples = take.speech()
    return None if samples is None else (samples, 16000)
