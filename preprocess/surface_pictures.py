"""Vertex offsets by what pictures show within the outline: a point of skin looks the same wherever the head turns.

Where the surface lies too far out or in, its points slide across the skin's texture as the head turns. Brightness at
points of the surface, in frames of all turns, is linearised in the offsets (a direct method: Irani and Anandan, "About
direct methods", 1999). Solved along with them, and thrown away, is what else makes a point look different: its own
albedo, a light that the clip shares (spherical harmonics of second order: Ramamoorthi and Hanrahan, "An efficient
representation for irradiance environment maps", 2001), each frame's exposure, and what is wrong with its head's pose.
Brightness is logarithmic, in which they all add.

Highlights and shadows follow no such model, so that single points are not to be believed: the correction is far
smoother than an outline's, and outlines keep their say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import sparse

from avatar.cameras import Camera
from avatar.fields.survey import posed_vertices, project
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.heads.subject import subject_head
from avatar.preprocess._outline import HeadEdge, sampled
from avatar.preprocess._surface import triangle_samples
from avatar.preprocess._threads import map_ordered, one_thread
from avatar.preprocess.detail_config import DetailConfig, PictureConfig
from avatar.preprocess.identity_detail import (
    Surface,
    blended_turns,
    chosen_frames,
    factored,
    frame_pulls,
    outline_equations,
    small_camera,
    with_offsets,
)  # fmt: skip
from avatar.synthetic.raycast import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

# Unknowns of a frame: a turn of the head about its middle (three), a shift of it (three), and the exposure.
NUISANCES = 7
# Standard deviations of a head's turn (radians) and shift (metres), what they weigh, and what keeps the rest solvable.
TURN, SHIFT, POSE_WEIGHT, WEAKEST = 0.02, 0.003, 6e-4, 1e-6
# Added to brightness (of 255) before its logarithm, of which hundredths are counted.
DARK, HUNDRED = 16.0, 100.0
# Pixels along the head's rim that are not read, and the cosine of the view from which a surface is.
RIM, FACING = 3, 0.3
# How much smaller the depth map is, and what may lie before a point that is seen, metres.
DEPTH_SCALE, DEPTH_TOLERANCE = 2, 4e-3
REWEIGHTINGS, CAUCHY, LEAST_SPREAD = 4, 2.0, 1.0
TINY = 1e-30


@dataclass(frozen=True)
class Samples:
    """Points of the surface that are looked at.

    Attributes:
        faces: (s, 3) corners of their triangles, vertices of the head.
        rows: (s, 3) the same as rows of the surface.
        barycentric: (s, 3) weights of the corners.
        areas: (s,) square metres that each stands for.
    """

    faces: Int[np.ndarray, "s 3"]
    rows: Int[np.ndarray, "s 3"]
    barycentric: Float[np.ndarray, "s 3"]
    areas: Float[np.ndarray, " s"]

    @classmethod
    def of(cls, surface: Surface, points: Float[np.ndarray, "V 3"], spacing: float) -> Samples:
        """About one in each square of side `spacing` metres, wherever the surface may move."""
        local = np.searchsorted(surface.rows, surface.faces)
        movable = np.flatnonzero(np.isin(local, surface.free[::3] // 3).any(axis=1))
        triangles, barycentric, areas = triangle_samples(points, surface.faces[movable], spacing)
        which = movable[triangles]
        return cls(surface.faces[which], local[which], barycentric, areas)


@dataclass(frozen=True)
class Picture:
    """A frame to look at.

    Attributes:
        brightness: (h, w) logarithmic, in hundredths.
        slopes: (2, h, w) its change a pixel, across and down.
        skin: (h, w) whether the head is there, away from its rim.
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
        return cls(bright, np.stack([across, down]), (edge.distance > RIM) & ~edge.unknown, edge)


@dataclass(frozen=True)
class Looks:
    """What f frames show of s samples.

    Attributes:
        brightness: (f, s) logarithmic, in hundredths.
        slopes: (f, s, 3) its change for an offset of the sample in the neutral pose, a metre.
        nuisances: (f, s, 7) its change with the frame's own unknowns: turn (radian), shift (metre), exposure.
        light: (f, s, 8) spherical harmonics of the normal but for the constant one.
        seen: (f, s) cosine of the view; 0 where the sample is not seen.
    """

    brightness: Float[np.ndarray, "f s"]
    slopes: Float[np.ndarray, "f s 3"]
    nuisances: Float[np.ndarray, "f s 7"]
    light: Float[np.ndarray, "f s 8"]
    seen: Float[np.ndarray, "f s"]


def photometric_offsets(
    take: Take,
    head: Head,
    motion: Motion,
    *,
    learnt: Int[np.ndarray, " n"],
    config: PictureConfig | None = None,
    detail: DetailConfig | None = None,
) -> Motion:
    """The motion with its subject's vertex offsets corrected by the pictures.

    Args:
        take: The take.
        head: Its head model.
        motion: Its motion, the head's turns as right as can be; with the offsets that the outlines gave.
        learnt: Rows whose pictures may be looked at.
        config: How pictures are believed.
        detail: How outlines are.
    """
    config, detail, head = config or PictureConfig(), detail or DetailConfig(), head.on("cpu")
    camera, chosen = small_camera(take), chosen_frames(motion, learnt, detail.frames)
    smooth = replace(detail, bending=config.bending, stretching=config.stretching, sliding=config.sliding)
    surface = Surface.of(head, motion, smooth)
    everywhere = np.zeros(head.v_template.shape) if motion.vertex_offsets is None else motion.vertex_offsets
    offsets = np.asarray(everywhere, np.float64)[surface.rows]
    samples = Samples.of(surface, subject_head(head, motion).v_template.numpy(), config.spacing)
    pictures = list(map_ordered(lambda index: Picture.of(take, int(index), camera, config.blur), chosen))
    for _ in range(config.sweeps):
        present = with_offsets(motion, head, surface, offsets)
        looks = _looks(head, present, chosen, samples=samples, pictures=pictures, camera=camera)
        pulls = [
            frame_pulls(head, present, int(index), surface, edge=picture.edge, camera=camera)
            for index, picture in zip(chosen, pictures, strict=True)
        ]
        offsets = offsets + _correction(
            surface, samples, looks, outline_equations(surface, pulls, offsets, detail), config
        )
    return with_offsets(motion, head, surface, offsets)


def _looks(
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
    seen = np.where(_visible(vertices, faces, pixels, depths, picture.skin, camera) & (facing > FACING), facing, 0)

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
    return bright, neutral, moves, _harmonics(normals), seen


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


def _harmonics(normals: Float[np.ndarray, "s 3"]) -> Float[np.ndarray, "s 8"]:
    """Real spherical harmonics of first and second order, up to factors."""
    x, y, z = normals.T
    return np.stack([x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], 1)


def _correction(
    surface: Surface,
    samples: Samples,
    looks: Looks,
    outlines: tuple[sparse.csr_matrix, Float[np.ndarray, " n"]],
    config: PictureConfig,
) -> Float[np.ndarray, "V 3"]:
    """The smooth correction of the offsets that agrees best with pictures and outlines."""
    weight = _weights(samples, looks, config)
    nuisance, own = _nuisance_equations(looks, weight)
    slopes = _centred(looks.slopes, weight)
    bright = _centred(looks.brightness[..., None], weight)[..., 0]
    light = _centred(looks.light, weight)

    # Each sample's offset is its corners' mean.
    count, number = 3 * len(surface.rows), len(samples.rows)
    places = (3 * samples.rows[:, :, None] + np.arange(3)).ravel()
    shares = np.repeat(samples.barycentric.ravel(), 3)
    spread = sparse.csr_matrix(
        (shares, (places, np.tile(np.arange(3 * number).reshape(-1, 1, 3), (1, 3, 1)).ravel())), (count, 3 * number)
    )
    blocks = np.einsum("fs,fsa,fsb->sab", weight, slopes, slopes)
    inner = sparse.bsr_matrix((blocks, np.arange(number), np.arange(number + 1)), (3 * number, 3 * number)).tocsr()
    photo = spread @ inner @ spread.T
    right = -spread @ np.einsum("fs,fsa,fs->sa", weight, slopes, bright).ravel()
    columns = [
        spread @ np.einsum("s,sa,sq->saq", weight[frame], slopes[frame], looks.nuisances[frame]).reshape(3 * number, -1)
        for frame in range(len(weight))
    ]
    columns.append(spread @ np.einsum("fs,fsa,fsl->sal", weight, slopes, light).reshape(3 * number, -1))
    mixed = np.concatenate(columns, axis=1)[surface.free]

    matrix, gaps = outlines
    solver = factored(surface, matrix + photo + surface.stiffness)
    first, rest = solver.solve((gaps + right)[surface.free]), solver.solve(mixed)
    unknowns = np.linalg.solve(nuisance - mixed.T @ rest, own - mixed.T @ first)
    result = np.zeros(count)
    result[surface.free] = first - rest @ unknowns
    return result.reshape(-1, 3)


def _weights(samples: Samples, looks: Looks, config: PictureConfig) -> Float[np.ndarray, "f s"]:
    """What each look weighs: a sample's have one say together, those that fit no light, exposure and pose have less."""
    seen = looks.seen * ((looks.seen > 0).sum(0) >= config.least_frames)
    robust, spread = np.ones_like(seen), LEAST_SPREAD
    for _ in range(REWEIGHTINGS):
        weight = seen * robust
        weight *= samples.areas * (config.strength / spread) ** 2 / np.maximum(weight.sum(0), 1e-9)
        nuisance, own = _nuisance_equations(looks, weight)
        error = _centred(_without(looks, np.linalg.solve(nuisance, own))[..., None], weight)[..., 0]
        told = np.abs(error[weight > 0])
        spread = max(LEAST_SPREAD, 1.4826 * float(np.median(told))) if told.size else LEAST_SPREAD
        robust = 1 / (1 + (error / (CAUCHY * spread)) ** 2)
    return weight


def _without(looks: Looks, unknowns: Float[np.ndarray, " n"]) -> Float[np.ndarray, "f s"]:
    """Brightness as it would be without these nuisances."""
    own, light = np.split(unknowns, [NUISANCES * len(looks.brightness)])
    change = np.einsum("fsq,fq->fs", looks.nuisances, own.reshape(-1, NUISANCES)) + looks.light @ light
    return looks.brightness + change


def _nuisance_equations(
    looks: Looks, weight: Float[np.ndarray, "f s"]
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " n"]]:
    """Normal equations of every frame's pose and exposure and of the light, the samples' albedos eliminated."""
    frames, number = weight.shape
    size, lights = frames * NUISANCES, looks.light.shape[2]
    matrix, right = np.zeros((size + lights,) * 2), np.zeros(size + lights)
    bright, light = _centred(looks.brightness[..., None], weight)[..., 0], _centred(looks.light, weight)
    weighted = weight[..., None] * looks.nuisances
    for frame in range(frames):
        part = slice(NUISANCES * frame, NUISANCES * (frame + 1))
        matrix[part, part] = weighted[frame].T @ looks.nuisances[frame]
        matrix[part, size:] = weighted[frame].T @ light[frame]
        right[part] = -weighted[frame].T @ bright[frame]
    shared = weighted / np.sqrt(np.maximum(weight.sum(0), TINY))[None, :, None]
    shared = shared.transpose(0, 2, 1).reshape(size, number)
    matrix[:size, :size] -= shared @ shared.T
    matrix[size:, :size] = matrix[:size, size:].T
    flat = (weight[..., None] * light).reshape(-1, lights)
    matrix[size:, size:] = flat.T @ light.reshape(-1, lights)
    right[size:] = -flat.T @ bright.ravel()
    usual = POSE_WEIGHT / np.square([TURN] * 3 + [SHIFT] * 3)
    prior = np.concatenate([np.tile([*usual, WEAKEST], frames), np.full(lights, WEAKEST)])
    return matrix + np.diag(prior * max(weight.sum(), TINY)), right


def _centred(values: Float[np.ndarray, "f s k"], weight: Float[np.ndarray, "f s"]) -> Float[np.ndarray, "f s k"]:
    """Without each sample's mean over the frames, which its albedo explains."""
    mean = np.einsum("fs,fsk->sk", weight, values) / np.maximum(weight.sum(0), TINY)[:, None]
    return values - mean
