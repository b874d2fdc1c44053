"""Identity detail: per-vertex offsets of the subject's head for what the model's identities miss, hair included.

The outline of the posed head, in training frames of all turns, is moved to where masks and labels have the head's edge:
a linear least-squares problem over all frames at once, solved anew a few times. Between and behind the outlines the
surface is carried along smoothly: bending and stretching of the swelling cost (a thin plate under tension on the
subject's own mesh, after Botsch and Kobbelt, "An intuitive framework for real-time freeform modeling", 2004), so that
hair seen above and beside the skull goes on behind it. Lids, lips and all that is no skin stay where the model has
them.
"""

from __future__ import annotations

import time as clock
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu
from scipy.spatial import KDTree

from avatar.cameras import Camera
from avatar.fields.survey import posed_vertices, take_camera
from avatar.heads.lbs import joint_transforms, rotation_matrices
from avatar.heads.subject import subject_head
from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess._outline import HeadEdge, find_outline
from avatar.preprocess._surface import laplacian, swelling_directions
from avatar.preprocess._threads import one_thread
from avatar.preprocess._windows import evenly
from avatar.preprocess.detail_config import DetailConfig
from avatar.preprocess.silhouette import faces_above_collar, silhouette_iou

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

STAGE = "detail"
SIDE = 512
# Held-out frames that the result is judged by.
JUDGED = 8
# Ears and hairline do not turn the direction in which a skull swells.
SMOOTH_NORMALS = 0.03
# Rims of eyes and mouth stay where they are, and what lies around them follows from there on, metres.
RIM = 0.006
FACE_NEAR = 0.012
SKULL_FADE = 0.03
# A vertex seen in so many frames is believed in full.
FULL_SAY = 3
PAINTED = ("lips", "eyelids", "inside_mouth")


@dataclass(frozen=True)
class Surface:
    """The subject's skin as the solver sees it, without offsets.

    Attributes:
        rows: (V,) the head's vertices that are skin.
        faces: (F, 3) the skin's triangles, indices of the head.
        areas: (V,) square metres.
        face: (V,) how much a vertex is of the face within its oval, 1 to 0.
        reach: (V,) how far from the model the outline is believed, metres.
        stiffness: (3 V, 3 V) cost of offsets, with the outline's own at one times a vertex's area.
        free: (n,) coordinates of offsets that may be other than zero.
    """

    rows: Int[np.ndarray, " V"]
    faces: Int[np.ndarray, "F 3"]
    areas: Float[np.ndarray, " V"]
    face: Float[np.ndarray, " V"]
    reach: Float[np.ndarray, " V"]
    stiffness: sparse.csr_matrix
    free: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, head: Head, motion: Motion, config: DetailConfig) -> Surface:
        """The skin of a motion's subject."""
        rest = subject_head(head, replace(motion, vertex_offsets=None)).v_template.numpy().astype(np.float64)
        start, stop = head.parts["skin"]
        faces = head.faces.numpy()
        faces = faces[((faces >= start) & (faces < stop)).all(axis=1)]
        rows, local = np.unique(faces, return_inverse=True)
        local, skin = local.reshape(-1, 3), rest[rows]
        marks = head.landmark_positions(torch.as_tensor(rest, dtype=torch.float32)[None])[0].numpy()
        to_face = KDTree(marks[regions.interior()]).query(skin)[0]
        to_rims = KDTree(marks[[*regions.LIPS, *regions.EYES]]).query(skin)[0]
        painted = [head.regions[name].numpy()[rows] > 0.1 for name in PAINTED if name in head.regions]
        still = np.any([*painted, to_rims < RIM], axis=0)
        above = np.clip((skin[:, 1] - marks[list(regions.LIPS), 1].min()) / SKULL_FADE, 0, 1)
        face = np.exp(-((to_face / FACE_NEAR) ** 2))
        held = config.rest + config.neck * (1 - above) + config.face * face
        skull = above * np.clip((to_face - FACE_NEAR) / SKULL_FADE, 0, 1)
        plain = head.v_template.numpy()[rows]
        mirror = np.asarray(KDTree(plain).query(plain * [-1, 1, 1])[1])
        return cls(
            rows=rows,
            faces=faces,
            areas=laplacian(skin, local)[1],
            face=face,
            reach=config.face_reach + (config.hair_reach - config.face_reach) * skull,
            stiffness=_stiffness(skin, local, held, mirror, config),
            free=(3 * np.flatnonzero(~still)[:, None] + np.arange(3)).ravel(),
        )


def _stiffness(
    points: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    held: Float[np.ndarray, " V"],
    mirror: Int[np.ndarray, " V"],
    config: DetailConfig,
) -> sparse.csr_matrix:
    """What offsets cost: bending and stretching of the swelling and of the rest, sliding, asymmetry, and their length.

    Args:
        points: (V, 3) the skin at rest, metres.
        faces: (F, 3) its triangles, indices of `points`.
        held: (V,) cost of an offset's square.
        mirror: (V,) each vertex's counterpart in the other half.
        config: Weights.
    """
    count = len(points)
    slopes, areas = laplacian(points, faces)
    smooth = config.bending**4 * (slopes @ sparse.diags(1 / areas) @ slopes) + config.stretching**2 * slopes
    every, space = np.arange(count), sparse.identity(3, format="csr")
    area = sparse.diags(areas)
    swelling = swelling_directions(points, faces, SMOOTH_NORMALS)
    along = sparse.csr_matrix((swelling.ravel(), (np.repeat(every, 3), np.arange(3 * count))), (count, 3 * count))
    across = sparse.identity(3 * count, format="csr") - along.T @ along
    swap = sparse.csr_matrix((np.ones(count), (every, mirror)), (count, count))
    uneven = sparse.identity(3 * count) - sparse.kron(swap, sparse.diags([-1.0, 1.0, 1.0]))
    return (
        along.T @ smooth @ along
        + across.T @ sparse.kron(smooth + config.sliding * area, space) @ across
        + config.symmetry * uneven.T @ sparse.kron(area, space) @ uneven
        + sparse.kron(sparse.diags(areas * held), space)
    ).tocsr()


def detail_take(
    take: Take,
    head: Head,
    *,
    config: DetailConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Adds the subject's vertex offsets to a take's tracked motion, learnt from its training frames alone.

    Args:
        take: The take, tracked.
        head: Its head model.
        config: Settings; the defaults suit any talking-head clip.
        progress: Called with (frames looked at, all of them).

    Returns:
        ``silhouette_iou_before`` and ``silhouette_iou``: medians over a few held-out frames, of the head above the
        collar. ``offset_mm``: mean length of an offset. ``seconds``.

    Raises:
        InputError: The take has not been tracked, or shows no bare skin.
    """
    # All of it is geometry in numpy.
    config, head = config or DetailConfig(), head.on("cpu")
    started = clock.perf_counter()
    motion, camera, split = replace(take.motion(), vertex_offsets=None), small_camera(take), take.split()
    chosen = chosen_frames(motion, split["train"], config.frames)
    with one_thread(), ThreadPoolExecutor(max_workers=2) as workers:
        edges = list(workers.map(lambda i: HeadEdge.of(take, int(i), camera.width, camera.height), chosen))
        surface = Surface.of(head, motion, config)
        offsets, done = np.zeros((len(surface.rows), 3)), 0
        for _ in range(config.sweeps):
            present = with_offsets(motion, head, surface, offsets)
            looks = [
                workers.submit(frame_pulls, head, present, int(index), surface, edge=edge, camera=camera)
                for index, edge in zip(chosen, edges, strict=True)
            ]
            pulls = []
            for look in looks:
                pulls.append(look.result())
                done += 1
                if progress:
                    progress(done, config.sweeps * len(chosen))
            offsets = solve(surface, pulls, offsets, config)
        detailed = with_offsets(motion, head, surface, offsets)
        report: dict[str, Any] = {"offset_mm": 1e3 * float(np.linalg.norm(offsets, axis=1).mean())}
        held_out = split["test"][evenly(len(split["test"]), JUDGED)] if len(split["test"]) else split["train"][-JUDGED:]
        faces = faces_above_collar(take, head, detailed)
        for name, which in (("silhouette_iou_before", motion), ("silhouette_iou", detailed)):
            report[name] = float(np.median(silhouette_iou(take, head, which, held_out, faces=faces)))
    take.write_motion(detailed, focal=take.info.focal)
    report["seconds"] = clock.perf_counter() - started
    take.record(STAGE, **report)
    return report


def chosen_frames(motion: Motion, indices: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
    """Up to `count` frames whose head turns are spread as widely as the clip has them."""
    turns = (motion.neck_pose + motion.global_orient)[indices]
    chosen = [int(np.argmin(np.linalg.norm(turns - np.median(turns, axis=0), axis=1)))]
    away = np.linalg.norm(turns - turns[chosen[0]], axis=1)
    while len(chosen) < min(count, len(indices)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(turns - turns[chosen[-1]], axis=1))
        away[chosen] = -1
    return np.sort(indices[chosen])


def with_offsets(motion: Motion, head: Head, surface: Surface, offsets: Float[np.ndarray, "V 3"]) -> Motion:
    """The motion of a subject with these offsets of the skin."""
    everywhere = np.zeros(head.v_template.shape, np.float32)
    everywhere[surface.rows] = offsets
    return replace(motion, vertex_offsets=everywhere)


@dataclass(frozen=True)
class Pulls:
    """What one frame's outline asks for: ``directions . (offset - present) = gaps`` for n of the skin's vertices.

    Attributes:
        vertices: (n,) rows of the surface.
        directions: (n, 3) in the neutral pose, so long as the move in the picture is foreshortened.
        gaps: (n,) metres.
    """

    vertices: Int[np.ndarray, " n"]
    directions: Float[np.ndarray, "n 3"]
    gaps: Float[np.ndarray, " n"]


def frame_pulls(head: Head, motion: Motion, index: int, surface: Surface, *, edge: HeadEdge, camera: Camera) -> Pulls:
    """The pulls of one frame on the mesh as `motion` has it."""
    points = posed_vertices(head, motion, index).astype(np.float64)
    reach = np.zeros(len(points))
    reach[surface.rows] = surface.reach
    seen = find_outline(points, surface.faces, edge, camera=camera, reach=reach)
    places = np.searchsorted(surface.rows, seen.vertices)
    blended = blended_turns(head, motion, index, seen.vertices)
    # Pixels along the normal for a metre in the camera's axes; the head's own motion in depth is neglected.
    depth = -points[seen.vertices, 2]
    sideways = np.stack([seen.normals[:, 0], -seen.normals[:, 1], np.zeros(len(depth))], 1)
    return Pulls(places, np.einsum("na,nab->nb", sideways, blended), seen.gaps * depth / camera.K[0, 0])


def blended_turns(
    head: Head, motion: Motion, index: int, vertices: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3 3"]:
    """What skinning does to directions of the neutral pose at some vertices in one frame."""
    posed = torch.as_tensor(motion.pose[index : index + 1], dtype=torch.float32)
    joints = head.joints(torch.as_tensor(motion.betas, dtype=torch.float32)[None])
    turns, _ = joint_transforms(rotation_matrices(posed), joints)
    return torch.einsum("vj,jab->vab", head.weights[vertices], turns[0]).numpy()


def outline_equations(
    surface: Surface, pulls: list[Pulls], offsets: Float[np.ndarray, "V 3"], config: DetailConfig
) -> tuple[sparse.csr_matrix, Float[np.ndarray, " n"]]:
    """Normal equations (3 V, 3 V) and (3 V,) of all pulls, for what is to be added to the offsets."""
    count = len(surface.rows)
    vertices, directions, gaps = (
        np.concatenate([getattr(pull, name) for pull in pulls]) for name in ("vertices", "directions", "gaps")
    )
    # An edge that a long lock or a turned collar makes must not lead away by a step in every sweep.
    moved = np.linalg.norm(offsets, axis=1)[vertices]
    near = (gaps <= 0) | (gaps + moved <= surface.reach[vertices])
    vertices, directions, gaps = vertices[near], directions[near], gaps[near]
    # Each vertex has one say, however often it is seen, but for those seen once or twice, which have less.
    sightings = np.bincount(vertices, minlength=count)
    weight = surface.areas[vertices] / np.maximum(sightings[vertices], FULL_SAY)
    weight *= config.outlier / np.maximum(np.abs(gaps), config.outlier)
    rows = np.repeat(np.arange(len(gaps)), 3)
    columns = (3 * vertices[:, None] + np.arange(3)).ravel()
    data = sparse.csr_matrix((directions.ravel(), (rows, columns)), (len(gaps), 3 * count))
    weighted = sparse.diags(weight) @ data
    return (data.T @ weighted).tocsr(), weighted.T @ gaps


def factored(surface: Surface, matrix: sparse.csr_matrix) -> SuperLU:
    """A symmetric positive definite (3 V, 3 V) matrix, factored where offsets are free."""
    free = surface.free
    # It needs no pivoting, and an ordering for its own pattern is far sparser.
    options = {"SymmetricMode": True}
    return splu(matrix[free][:, free].tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def solve(
    surface: Surface, pulls: list[Pulls], offsets: Float[np.ndarray, "V 3"], config: DetailConfig
) -> Float[np.ndarray, "V 3"]:
    """The smooth offsets that come nearest to all pulls, by one linear least-squares problem."""
    matrix, gaps = outline_equations(surface, pulls, offsets, config)
    result = np.zeros(3 * len(surface.rows))
    wanted = gaps + matrix @ offsets.ravel()
    result[surface.free] = factored(surface, matrix + surface.stiffness).solve(wanted[surface.free])
    return result.reshape(-1, 3)


def small_camera(take: Take) -> Camera:
    """The take's camera at working size."""
    camera = take_camera(take)
    scale = min(1.0, SIDE / max(camera.width, camera.height))
    return Camera(
        camera.viewmat,
        np.diag([scale, scale, 1.0]) @ camera.K,
        round(camera.width * scale),
        round(camera.height * scale),
    )
