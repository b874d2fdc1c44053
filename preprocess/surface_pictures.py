"""Vertex offsets by what pictures show within the outline: a point of skin looks the same wherever the head turns.

Where the surface lies too far out or in, its points slide across the skin's texture as the head turns. Brightness at
points of the surface, in frames of all turns, is linearised in the offsets (a direct method: Irani and Anandan, "About
direct methods", 1999). Solved along with them, and thrown away, is what else makes a point look different: its own
albedo, a light that the clip shares (spherical harmonics of second order: Ramamoorthi and Hanrahan, "An efficient
representation for irradiance environment maps", 2001), each frame's exposure, and what is wrong with its head's pose.
Brightness is logarithmic, in which they all add.

Highlights and shadows follow no such model, so that single points are not to be believed: the correction is far
smoother than an outline's, only the face is looked at, and outlines stay where they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from avatar.heads.subject import subject_head
from avatar.preprocess._looks import Looks, Picture, Samples, looks_at
from avatar.preprocess._threads import map_ordered, one_thread
from avatar.preprocess.detail_config import DetailConfig, PictureConfig
from avatar.preprocess.identity_detail import (
    Pulls,
    Surface,
    chosen_frames,
    factored,
    frame_pulls,
    outline_equations,
    small_camera,
    with_offsets,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.cameras import Camera
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

# Unknowns of a frame: a turn of the head about its middle (three), a shift of it (three), and the exposure.
NUISANCES = 7
# Standard deviations of a head's turn (radians) and shift (metres), what they weigh, and what keeps the rest solvable.
TURN, SHIFT, POSE_WEIGHT, WEAKEST = 0.02, 0.003, 6e-4, 1e-6
REWEIGHTINGS, CAUCHY, LEAST_SPREAD = 4, 2.0, 1.0
TINY = 1e-30


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
    start = np.asarray(everywhere, np.float64)[surface.rows]
    samples = Samples.of(surface, subject_head(head, motion).v_template.numpy(), config.spacing)
    pictures = list(map_ordered(lambda index: Picture.of(take, int(index), camera, config.blur), chosen))
    change = np.zeros(start.shape)
    for _ in range(config.sweeps):
        present = with_offsets(motion, head, surface, start + change)
        looks = looks_at(head, present, chosen, samples=samples, pictures=pictures, camera=camera)
        matrix = _outlines(head, present, chosen, surface=surface, pictures=pictures, camera=camera, detail=detail)
        # Outlines stay where they have been found.
        change += _correction(surface, samples, looks, (matrix, -matrix @ change.ravel()), config)
    return with_offsets(motion, head, surface, start + change)


def _outlines(
    head: Head,
    motion: Motion,
    chosen: Int[np.ndarray, " f"],
    *,
    surface: Surface,
    pictures: list[Picture],
    camera: Camera,
    detail: DetailConfig,
) -> sparse.csr_matrix:
    """What moves of the surface cost at the outlines of the chosen frames: a quadratic form (3 V, 3 V)."""

    def pulls(pair: tuple[int, Picture]) -> Pulls:
        return frame_pulls(head, motion, int(pair[0]), surface, edge=pair[1].edge, camera=camera)

    with one_thread():
        every = list(map_ordered(pulls, zip(chosen, pictures, strict=True)))
    assert motion.vertex_offsets is not None
    return outline_equations(surface, every, motion.vertex_offsets[surface.rows], detail)[0]


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
    beside = sparse.diags(np.repeat(surface.areas * (1 - surface.face), 3))
    solver = factored(surface, matrix + photo + surface.stiffness + beside)
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
