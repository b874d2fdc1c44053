"""How well the outline of the tracked head is that of the head in the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.fields.sampling import densities
from avatar.fields.survey import posed_vertices, project, survey, take_camera
from avatar.io.parts import HEAD, TORSO
from avatar.preprocess._outline import mesh_mask

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion


def faces_above_collar(take: Take, head: Head, motion: Motion) -> Int[np.ndarray, "F 3"]:
    """The skin's triangles that are not of the bust, by what the training frames show.

    Raises:
        InputError: The take shows no bare skin.
    """
    weight, _ = densities(head, survey(take, head, motion, take.split()["train"]), 1.0)
    start, stop = head.parts["skin"]
    faces = head.faces.numpy()
    return faces[((faces >= start) & (faces < stop)).all(axis=1) & (weight > 0)]


def silhouette_iou(
    take: Take, head: Head, motion: Motion, rows: Int[np.ndarray, " n"], *, faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, " n"]:
    """Intersection over union of the posed mesh and the head as labelled; what the clothes cover is left out.

    Args:
        take: The take.
        head: Its head model.
        motion: Where the head is.
        rows: Frames to look at.
        faces: The triangles that can be seen, from `faces_above_collar`.
    """
    camera = take_camera(take)
    found = []
    for index in rows:
        pixels, _ = project(posed_vertices(head, motion, int(index)), camera)
        mesh = mesh_mask(pixels, faces, width=camera.width, height=camera.height, finer=3) > 0
        parts = take.parts(int(index))
        person = (parts == HEAD) & (np.asarray(take.mask(int(index))) > 0.5)
        bare = parts != TORSO
        found.append((mesh & person).sum() / max(((mesh | person) & bare).sum(), 1))
    return np.array(found)
