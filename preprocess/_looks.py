"""What frames show of points of the skin: their brightness, and how it changes as the surface or the head moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import Camera
from avatar.fields.survey import posed_vertices, project
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.preprocess._light import harmonics
from avatar.preprocess._outline import HeadEdge, sampled
from avatar.preprocess._surface import triangle_samples
from avatar.preprocess._threads import map_ordered, one_thread
from avatar.preprocess.identity_detail import Surface, blended_turns
from avatar.synthetic.raycast import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

# Added to brightness (of 255) before its logarithm, of which hundredths are counted.
DARK, HUNDRED = 16.0, 100.0
# Pixels along the head's rim that are not read, and the cosine of the view from which a surface is.
RIM, FACING = 3, 0.3
# How much smaller the depth map is, and what may lie before a point that is seen, metres.
DEPTH_SCALE, DEPTH_TOLERANCE = 2, 4e-3
# How much of a triangle is face at least for it to be looked at.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Samples:
    """Points of the surface that are looked at.

    Attributes:
        faces: (s, 3) corners of their triangles, vertices of the head.
        rows: (s, 3) the same as rows of the surface.
        barycentric: (s, 3) weights of the corners.
        areas: (s,) square metres of the face that each stands for.
    """

    faces: Int[np.ndarray, "s 3"]
    rows: Int[np.ndarray, "s 3"]
    barycentric: Float[np.ndarray, "s 3"]
    areas: Float[np.ndarray, " s"]

    @classmethod
    def of(cls, surface: Surface, points: Float[np.ndarray, "V 3"], spacing: float) -> Samples:
        """About one in each square of side `spacing` metres, wherever the face may move.

        Hair shines as skin does not, and chin and collar shade the neck, so that they are not looked at: beside the
        face samples stand for less and less.
        """
        local = np.searchsorted(surface.rows, surface.faces)
        share = surface.face[local].mean(axis=1)
        looked_at = np.flatnonzero(np.isin(local, surface.free[::3] // 3).any(axis=1) & (share > LEAST_SHARE))
        triangles, barycentric, areas = triangle_samples(points, surface.faces[looked_at], spacing)
        which = looked_at[triangles]
        return cls(surface.faces[which], local[which], barycentric, areas * share[which])


@dataclass(frozen=True)
class Picture:
    """A frame to look at.

    Attributes:
        brightness: (h, w) logarithmic, in hundredths.
        slopes: (2, h, w) its change a pixel, across and down.
        skin: (h, w) whether the head is there, away from its rim, with nothing before it.
        edge: Its outline.
    """

    brightness: Float[np.ndarray, "h w"]
    slopes: Float[np.ndarray, "2 h w"]
    skin: Bool[np.ndarray, "h w"]
    edge: HeadEdge

    @classmethod
    def of(cls, take: Take, index: int, camera: Camera, blur: float) -> Picture:
        """A frame at the camera's size, smoothed by `blur` pixels."""
        edge = HeadEdge.of(take, index, camera.width, camera.height)
        small = cv2.resize(take.image(index), (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        bright = HUNDRED * np.log(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) + DARK)
        bright = cv2.GaussianBlur(bright, (0, 0), blur)
        down, across = np.gradient(bright)
        skin = (edge.distance > RIM) & ~edge.unknown
        covered = take.covered(index)
        if covered is not None:
            skin &= cv2.resize(covered.astype(np.float32), skin.shape[::-1], interpolation=cv2.INTER_AREA) == 0
        return cls(bright, np.stack([across, down]), skin, edge)


@dataclass(frozen=True)
class Looks:
    """What f frames show of s samples.

    Attributes:
        brightness: (f, s) logarithmic, in hundredths.
        slopes: (f, s, 3) its change for an offset of the sample in the neutral pose, a metre.
        nuisances: (f, s, 7) its change with the frame's own unknowns: turn (radian), shift (metre), exposure.
        light: (f, s, 8) spherical harmonics of the normal but for the constant one.
        seen: (f, s) how well the sample is seen: the cosine of the view above `FACING`, 0 where it is hidden.
    """

    brightness: Float[np.ndarray, "f s"]
    slopes: Float[np.ndarray, "f s 3"]
    nuisances: Float[np.ndarray, "f s 7"]
    light: Float[np.ndarray, "f s 8"]
    seen: Float[np.ndarray, "f s"]


def looks_at(
    head: Head,
    motion: Motion,
    chosen: Int[np.ndarray, " f"],
    *,
    samples: Samples,
    pictures: list[Picture],
    camera: Camera,
) -> Looks:
    """What the chosen frames show of the samples on the mesh as `motion` has it."""

    def look(pair: tuple[int, Picture]) -> tuple[np.ndarray, ...]:
        return _look(head, motion, int(pair[0]), samples=samples, picture=pair[1], camera=camera)

    with one_thread():
        columns = zip(*map_ordered(look, zip(chosen, pictures, strict=True)), strict=True)
        return Looks(*(np.stack(column) for column in columns))


def _look(
    head: Head, motion: Motion, index: int, *, samples: Samples, picture: Picture, camera: Camera
) -> tuple[np.ndarray, ...]:
    """One frame's row of each of `Looks`."""
    faces = head.faces.numpy()
    vertices = posed_vertices(head, motion, index).astype(np.float64)
    points = np.einsum("sk,skc->sc", samples.barycentric, vertices[samples.faces])
    normals = np.einsum("sk,skc->sc", samples.barycentric, vertex_normals(vertices, faces)[samples.faces])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    facing = -(normals * points).sum(1) / np.linalg.norm(points, axis=1)
    pixels, depths = project(points, camera)
    seen = _visible(vertices, faces, pixels, depths, picture.skin, camera) * np.maximum(facing - FACING, 0)

    bright, across, down = (sampled(field, pixels) for field in (picture.brightness, *picture.slopes))
    turned = camera.viewmat[:3, :3]
    x, y = ((points @ turned.T + camera.viewmat[:3, 3])[:, :2] / depths[:, None]).T
    along = np.stack([across * camera.K[0, 0], down * camera.K[1, 1]], 1)
    inward = -(along[:, 0] * x + along[:, 1] * y)
    # The change of brightness for a metre's move of the point in the camera's world.
    slopes = np.column_stack([along, inward]) / depths[:, None] @ turned
    middle = vertices[np.unique(samples.faces)].mean(0)
    moves = np.column_stack([np.cross(points - middle, slopes), slopes, np.ones(len(points))])
    neutral = np.einsum("sa,sab->sb", slopes, blended_turns(head, motion, index, samples.faces[:, 0]))
    return bright, neutral, moves, harmonics(torch.from_numpy(normals)).numpy(), seen


def _visible(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    pixels: Float[np.ndarray, "s 2"],
    depths: Float[np.ndarray, " s"],
    skin: Bool[np.ndarray, "h w"],
    camera: Camera,
) -> Bool[np.ndarray, " s"]:
    """Which points lie on what the picture shows of the skin."""
    shrink = np.diag([1 / DEPTH_SCALE, 1 / DEPTH_SCALE, 1])
    small = Camera(camera.viewmat, shrink @ camera.K, camera.width // DEPTH_SCALE, camera.height // DEPTH_SCALE)
    nearest = CameraScene(vertices, faces, small).depth
    column, row = np.floor(pixels).astype(int).T
    within = (column >= 0) & (column < DEPTH_SCALE * small.width) & (row >= 0) & (row < DEPTH_SCALE * small.height)
    column, row = np.where(within, column, 0), np.where(within, row, 0)
    front = depths < nearest[row // DEPTH_SCALE, column // DEPTH_SCALE] + DEPTH_TOLERANCE
    return within & front & skin[row, column]
