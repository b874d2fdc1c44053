"""Learns the landmark detector's habits from renders: ``python -m avatar.preprocess.habits_build OUT.npz``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import tyro
from scipy.spatial.transform import Rotation

from avatar.face_mesh import EYE_CORNERS
from avatar.heads import load_head
from avatar.preprocess._mesh_regions import COUNT
from avatar.preprocess.landmark_habits import JAW_ENTRIES, LandmarkHabits
from avatar.preprocess.landmarks import FaceLandmarker
from avatar.synthetic.clip import clip_camera, posed_vertices, render_motion, synthetic_motion
from avatar.synthetic.variety import random_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.motion import Motion

logger = logging.getLogger(__name__)

SECONDS = 6.0
# Weight of the zero that every displacement is drawn to, for each row of the regression.
HELD, HELD_CONSTANT = 5e-5, 1e-5


@dataclass(frozen=True)
class Sightings:
    """Landmarks detected in n pictures of a person against where they are.

    Attributes:
        errors: (n, 2, 478) metres to the right and upwards, at the distance of the eyes.
        slopes: (n, 2, 3, 478) how these depend on displacements of a landmark in the head's axes.
        features: (n, 14) what the errors depend on: one, lids, the head's rotation less the identity, the jaw's sines.
    """

    errors: Float[np.ndarray, "n 2 478"]
    slopes: Float[np.ndarray, "n 2 3 478"]
    features: Float[np.ndarray, "n 14"]


def main(out: tyro.conf.Positional[Path], /, *, seed: int = 1000, people: int = 207, pictures: int = 14) -> None:
    """Renders people, looks at them, and writes what the detector does to all of them; about half an hour.

    Args:
        out: The file to write.
        seed: Seed of the first person; benchmarks use seeds below 1000.
        people: Number of people.
        pictures: Of each.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    head, landmarker, seen = load_head(), FaceLandmarker(), []
    for person in range(seed, seed + people):
        seen.append(sightings(head, person, pictures=pictures, landmarker=landmarker))
        logger.info("person %d: %d pictures with a face", person, len(seen[-1].errors))
    fitted_habits(seen, head_id=head.id).save(out)


def sightings(head: Head, seed: int, *, pictures: int, landmarker: FaceLandmarker) -> Sightings:
    """Renders sharp stills out of the clip of a seed and looks at them."""
    settings = replace(random_settings(seed), shutter=0.0, exposures=1)
    motion = synthetic_motion(head, seconds=SECONDS, settings=settings)
    motion = motion[np.unique(np.linspace(3, len(motion) - 4, pictures).round().astype(int))]
    points = head.landmark_positions(torch.from_numpy(posed_vertices(head, motion))).numpy().astype(np.float64)
    focal, half = float(clip_camera(settings).K[0, 0]), settings.size / 2
    exact = points[..., :2] / -points[..., 2:] * focal * [1, -1] + half
    landmarks = np.full((len(motion), COUNT, 2), np.nan)
    for index, image in enumerate(render_motion(head, motion, settings=settings)):
        landmarker.reset()
        # The second look is from the mesh's own region, as in a clip.
        first = landmarker.track(image)
        second = None if first is None else landmarker.track(image)
        if second is not None:
            landmarks[index] = second.landmarks[:, :2]
    found = np.flatnonzero(np.isfinite(landmarks).all((1, 2)))
    return compared(landmarks[found], exact[found], motion[found], points[found], focal=focal)


def compared(
    landmarks: Float[np.ndarray, "n 478 2"],
    exact: Float[np.ndarray, "n 478 2"],
    motion: Motion,
    points: Float[np.ndarray, "n 478 3"],
    *,
    focal: float,
) -> Sightings:
    """Detected and exact landmarks in pixels, with the motion and the points in metres that they belong to."""
    count, depth = len(motion), -points[..., 2]
    eyes = depth[:, list(EYE_CORNERS)].mean(1)
    errors = (landmarks - exact) * (eyes / focal)[:, None, None] * [1, -1]
    turns = (Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)).as_matrix()
    rays = points[..., :2] / depth[..., None]
    slopes = turns[:, None, :2] + rays[..., None] * turns[:, None, 2:]
    slopes = slopes * (eyes[:, None] / depth)[..., None, None]
    jaws = Rotation.from_rotvec(motion.jaw_pose).as_matrix().reshape(count, 9)[:, JAW_ENTRIES]
    turned = (turns - np.eye(3)).reshape(count, 9)
    features = np.concatenate([np.ones((count, 1)), motion.eyelids, turned, jaws], axis=1)
    return Sightings(errors.transpose(0, 2, 1), slopes.transpose(0, 2, 3, 1), features)


def fitted_habits(seen: Sequence[Sightings], *, head_id: str) -> LandmarkHabits:
    """Ridge regression of the errors on displacements in the head's axes, for each landmark by itself."""
    size = 3 * seen[0].features.shape[1]
    normal, pull, rows = np.zeros((COUNT, size, size)), np.zeros((COUNT, size)), 0
    for one in seen:
        slopes = np.einsum("nk,nicl->lnikc", one.features, one.slopes).reshape(COUNT, -1, size)
        normal += slopes.transpose(0, 2, 1) @ slopes
        pull += np.einsum("lrk,lr->lk", slopes, one.errors.transpose(2, 0, 1).reshape(COUNT, -1))
        rows += slopes.shape[1]
    held = np.full(size, HELD)
    held[:3] = HELD_CONSTANT
    solution = np.linalg.solve(normal + np.diag(held * rows), pull[..., None])[..., 0]
    moved = solution.reshape(COUNT, -1, 3).transpose(1, 2, 0).astype(np.float32)
    # How lids are seen is left to the tracker, which knows of a closing eye by the gap between its lids.
    constant, _, neck, jaw = np.split(moved, [1, 3, 12])
    return LandmarkHabits(head_id=head_id, constant=constant, neck=neck, jaw=jaw)


if __name__ == "__main__":
    tyro.cli(main)
