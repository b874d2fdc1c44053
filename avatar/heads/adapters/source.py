"""What an adapter reads from a user's head model: its geometry and bases, before anything is added."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from avatar.errors import FormatError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Distance between the eyes' centres that a head in metres can have.
EYE_DISTANCES = (0.045, 0.085)
# A separate piece of the mesh is an eyeball when it lies this close around the eye's joint, metres.
BALL_OFFSET, BALL_EXTENT = 0.012, 0.045


@dataclass(frozen=True)
class HeadSource:
    """A head model as its publisher made it, in our units and joint order.

    Attributes:
        name: Name to keep it under, where the user gives none.
        recognised: What it was taken for, and by what.
        v_template: (V, 3) mean head, metres, +y up, +z out of the face.
        f: (F, 3) triangles.
        uv: (F, 3, 2) texture coordinates of their corners.
        shapedirs: (V, 3, S) identity directions.
        exprdirs: (V, 3, E) expression directions.
        posedirs: (V, 3, 36) pose correctives.
        J_regressor: (5, V) joints from vertices.
        weights: (V, 5) skinning weights.
        parts: Vertex range of every part; ``skin`` at least.
        licence: Licence of the data.
        source: Where it comes from.
        actions: (E, A) coefficients of ARKit actions by name, where the model's own basis says so.
        eyelids: (V, 3, 2) closing lids, where the model has them.
        jaw_open_angle: Jaw rotation at jawOpen = 1, where the model says so.
        eye_look_angles: (4,) eye rotation at the four looks, where the model says so.
    """

    name: str
    recognised: str
    v_template: Float[np.ndarray, "V 3"]
    f: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "F 3 2"]
    shapedirs: Float[np.ndarray, "V 3 S"]
    exprdirs: Float[np.ndarray, "V 3 E"]
    posedirs: Float[np.ndarray, "V 3 36"]
    J_regressor: Float[np.ndarray, "5 V"]
    weights: Float[np.ndarray, "V 5"]
    parts: dict[str, tuple[int, int]]
    licence: str
    source: str
    actions: dict[str, Float[np.ndarray, " E"]] = field(default_factory=dict)
    eyelids: Float[np.ndarray, "V 3 2"] | None = None
    jaw_open_angle: float | None = None
    eye_look_angles: Float[np.ndarray, " 4"] | None = None


def check_pose(joints: Float[np.ndarray, "5 3"], v_template: Float[np.ndarray, "V 3"], *, name: str) -> None:
    """Holds a model to metres and to our axes.

    Raises:
        FormatError: The eyes' joints are not where the eyes of a head in metres, upright, facing +z, are.
    """
    left, right = joints[3], joints[4]
    distance = float(np.linalg.norm(left - right))
    if not EYE_DISTANCES[0] < distance < EYE_DISTANCES[1]:
        raise FormatError(
            f"{name} is not a head in metres",
            expected=f"eyes {EYE_DISTANCES[0]} to {EYE_DISTANCES[1]} apart",
            found=f"{distance:.4g}",
            fix="import the model as its publisher distributes it",
        )
    middle = (left + right) / 2
    low, high = v_template[:, 2].min(), v_template[:, 2].max()
    upright = left[0] - right[0] > 0.9 * distance and middle[2] > (low + high) / 2
    if not upright or v_template[:, 1].max() < middle[1] + 0.5 * distance:
        raise FormatError(
            f"{name} does not face us",
            expected="+y up, +z out of the face, the subject's left eye at +x",
            found=f"left eye at {np.round(left, 3).tolist()}, right eye at {np.round(right, 3).tolist()}",
            fix="import the model as its publisher distributes it",
        )


def eyeball_parts(
    v_template: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], joints: Float[np.ndarray, "5 3"]
) -> tuple[Int[np.ndarray, " V"], dict[str, tuple[int, int]]]:
    """Finds the eyeballs among the mesh's separate pieces.

    Returns:
        The order (V,) of the vertices that makes every part a range, which is the given order where it can be, and the
        ranges in it: ``skin`` for all that is no eyeball, and ``eye_l`` and ``eye_r`` where there are such pieces.
    """
    count = len(v_template)
    links = sparse.coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), (count, count))
    pieces, label = connected_components(links, directed=False)
    group = np.zeros(count, np.int64)
    largest = np.bincount(label).argmax()
    for piece in range(pieces):
        member = label == piece
        if piece == largest or member.sum() < 12:
            continue
        points = v_template[member]
        middle, extent = (points.min(0) + points.max(0)) / 2, np.ptp(points, axis=0).max()
        offset = np.linalg.norm(joints[3:] - middle, axis=1)
        if extent < BALL_EXTENT and offset.min() < BALL_OFFSET:
            group[member] = 1 + int(offset.argmin())
    order = np.argsort(group, kind="stable")
    parts, start = {}, 0
    for index, name in enumerate(("skin", "eye_l", "eye_r")):
        stop = start + int((group == index).sum())
        if stop > start:
            parts[name] = (start, stop)
        start = stop
    return order, parts


def around_uv(v_template: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3 2"]:
    """Texture coordinates (F, 3, 2) around the vertical axis, for models without any; the seam is at the back."""
    low, high = v_template[:, 1].min(), v_template[:, 1].max()
    centre = (v_template.min(axis=0) + v_template.max(axis=0)) / 2
    turn = np.arctan2(v_template[:, 0] - centre[0], v_template[:, 2] - centre[2]) / (2 * np.pi) + 0.5
    uv = np.stack([turn, (v_template[:, 1] - low) / (high - low)], axis=1)[faces]
    across = np.ptp(uv[..., 0], axis=1) > 0.5
    uv[across, :, 0] += uv[across, :, 0] < 0.5
    return uv
