"""Colours learned at the outline alone give way to those of the surface beside it.

A Gaussian that every frame shows edge-on, in the outline's own pixels, has learned what the mask, the lens and the
video's coarse colour mix into those pixels: a pale line along the hair, blue from a blue wall. From the front it is
less than a pixel wide, from the side a stripe. What is beside it, and was seen well, says what colour it has: skin
for skin, hair for hair, and an ear for an ear, since a pale line along the hair is more like an ear than like hair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.fields.gaussian_head import REGIONS
from avatar.fields.rig import triangle_frames
from avatar.fields.sampling import ears
from avatar.fields.survey import project, take_camera
from avatar.io.parts import HEAD
from avatar.spread import evenly_spread
from avatar.train.palette import FRAMES, MARGIN, draw_nearer

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.io.take import Take

# From this cosine between surface and view on, a Gaussian within the outline shows its own colour.
FACING = 0.3
# Of so many neighbours that were seen well, the mean of so many with the most similar colours: hair keeps its strands.
NEIGHBOURS, SIMILAR = 48, 4
# What differs by no more, in sRGB from 0 to 1, is the surface's own variety.
VARIETY = 0.05


@torch.no_grad()
def seen_at_outline_only(gaussians: GaussianHead, take: Take, indices: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " N"]:
    """Which Gaussians some of the frames show at the head's outline, and none within it at a fair angle."""
    camera, motion = take_camera(take), take.motion()
    at_outline, well = np.zeros(len(gaussians), bool), np.zeros(len(gaussians), bool)
    for index in evenly_spread(indices, FRAMES):
        pose = gaussians.poses(motion[index : index + 1])[0]
        corners = gaussians.carriers(pose)[gaussians.rigged().corners]
        normals = triangle_frames(corners).rotations[..., 1].cpu().numpy()
        places = gaussians(pose).means.cpu().numpy()
        facing = -(normals * places).sum(1) / np.maximum(np.linalg.norm(places, axis=1), 1e-12)
        columns, rows = np.floor(project(places, camera)[0]).astype(int).T
        inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
        pixels = rows.clip(0, camera.height - 1), columns.clip(0, camera.width - 1)
        person = (np.asarray(take.mask(int(index))) > 0.5).astype(np.uint8)
        margin = MARGIN * max(person.shape)
        within, beyond = (
            cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (person, 1 - person)
        )
        at_outline |= inside & ((within <= margin) & (beyond <= margin))[pixels]
        well |= inside & (facing > FACING) & ((within > margin) & (take.parts(int(index)) == HEAD))[pixels]
    return at_outline & ~well


@torch.no_grad()
def take_neighbours_colors(gaussians: GaussianHead, unsure: Bool[np.ndarray, " N"], pose: Pose) -> int:
    """Moves the unsure colours of skin, hair and ears to within `VARIETY` of their neighbours', in place.

    Args:
        gaussians: The trained head.
        unsure: (N,) whose colours are in doubt, from `seen_at_outline_only`.
        pose: A moment, at which the neighbours are beside one another.

    Returns:
        How many Gaussians were changed.
    """
    colors = gaussians.color_logits.sigmoid().double().cpu().numpy()
    places = gaussians(pose).means.cpu().numpy()
    changed = 0
    for surface in _surfaces(gaussians):
        rows, sure = np.flatnonzero(surface & unsure), np.flatnonzero(surface & ~unsure)
        if not len(rows) or len(sure) < NEIGHBOURS:
            continue
        beside = colors[sure[KDTree(places[sure]).query(places[rows], NEIGHBOURS)[1]]]
        unlike = np.linalg.norm(beside - colors[rows, None], axis=2)
        similar = np.argsort(unlike, axis=1)[:, :SIMILAR, None]
        changed += draw_nearer(gaussians, rows, np.take_along_axis(beside, similar, 1).mean(1), tolerance=VARIETY)
    return changed


def _surfaces(gaussians: GaussianHead) -> list[Bool[np.ndarray, " N"]]:
    """Which Gaussians are skin, which hair, and which an ear."""
    faces, triangles = len(gaussians.head.faces), gaussians.triangles.cpu().numpy()
    regions, on_head = gaussians.regions.cpu().numpy(), triangles < faces
    ear = on_head & ears(gaussians.head)[np.minimum(triangles, faces - 1)]
    skin, hair = (on_head & (regions == REGIONS.index(name)) for name in ("skin", "scalp"))
    return [skin & ~ear, hair & ~ear, (skin | hair) & ear]
