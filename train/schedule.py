"""Which frame is trained on at which step: all of them in turn, and the rare ones more often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from avatar.face_mesh import EYE_CORNERS
from avatar.speech.mouth import landmark_opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int

    from avatar.io.take import Take

# Of the mesh of 478 landmarks, the corners of the lips.
LIP_CORNERS = (61, 291)
# A frame is as rare as its neighbour this share of the clip away is far; none counts more than so many typical ones.
NEIGHBOUR_SHARE, CAP = 0.05, 4.0


def rarity(take: Take, indices: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How alone the face of each frame is among those of the others: 1 for the typical frame, at most ``CAP``.

    Mouths are compared by their opening, their width and the jaw, eyes by their lids, each in units of its spread over
    the frames: those of open mouths and of blinks are far from all others.

    Args:
        take: A tracked take.
        indices: The frames' rows.
    """
    motion, marks = take.motion()[indices], take.perception()["landmarks"][indices].astype(np.float64)
    left, right = (marks[:, place, :2] for place in LIP_CORNERS)
    eyes = np.linalg.norm(marks[:, EYE_CORNERS[0], :2] - marks[:, EYE_CORNERS[1], :2], axis=1)
    width = np.linalg.norm(left - right, axis=1) / np.maximum(eyes, 1e-9)
    columns = [landmark_opening(marks), width, np.linalg.norm(motion.jaw_pose, axis=1), motion.eyelids.mean(1)]
    faces = np.nan_to_num(np.stack(columns, 1))
    faces = (faces - faces.mean(0)) / np.maximum(faces.std(0), 1e-6)
    if len(faces) < 2:
        return np.ones(len(faces))
    apart = KDTree(faces).query(faces, k=1 + max(1, round(NEIGHBOUR_SHARE * len(faces))))[0][:, -1]
    apart = np.nan_to_num(apart, posinf=0.0)
    return (apart / max(float(np.median(apart)), 1e-9)).clip(max=CAP)


def drawn(
    indices: Int[np.ndarray, " n"], rarities: Float[np.ndarray, " n"], steps: range, *, extra: float, seed: int
) -> Iterator[int]:
    """The frame of each step: rounds in which every frame comes once, and some again, the rarer the likelier.

    A round depends on the seed and its number only, so that training can resume at any step.

    Args:
        indices: The frames' rows.
        rarities: Their rarity.
        steps: The steps asked for.
        extra: How many of a round's frames are such that come again, over how many come once.
        seed: Seed of the draw.
    """
    again = round(extra * len(indices))
    shares = np.cumsum(rarities) / np.sum(rarities)
    for step in steps:
        number, position = divmod(step, len(indices) + again)
        if position == 0 or step == steps.start:
            generator = np.random.default_rng([seed, number])
            # One of each of equal shares: no frame comes again much more often than it should.
            places = (np.arange(again) + generator.random(again)) / max(again, 1)
            chosen = np.searchsorted(shares, places).clip(max=len(indices) - 1)
            order = generator.permutation(np.concatenate([indices, indices[chosen]]))
        yield int(order[position])
