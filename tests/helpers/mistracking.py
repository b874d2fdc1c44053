"""A take whose landmarks lie in a few frames, and how far its motion is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.fields.survey import posed_vertices, project, take_camera
from avatar.heads import Head
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess.tracking import track

# Some of the frames are held out.
LIES = [4, 9, 15, 21, 27, 28]
TURN, OPEN = (0.02, -0.05, 0.01), (0.06, 0, 0)


def mistracked(take: Take, head: Head, truth: Motion) -> Motion:
    """Tracks landmarks that lie in a few frames: there the head is turned further and the mouth wider open."""
    turned, opened = np.zeros_like(truth.neck_pose), np.zeros_like(truth.jaw_pose)
    turned[LIES], opened[LIES] = TURN, OPEN
    told = replace(truth, neck_pose=truth.neck_pose + turned, jaw_pose=truth.jaw_pose + opened)
    camera, seen = take_camera(take), take.perception()
    for index in range(len(truth)):
        points = head.landmark_positions(torch.as_tensor(posed_vertices(head, told, index))[None])[0].numpy()
        seen["landmarks"][index, :, :2] = project(points, camera)[0]
    take.write_perception(seen)
    track(take, head)
    return take.motion()


def turn_error(motion: Motion, truth: Motion, rows: np.ndarray) -> float:
    """Mean angle between the heads, a constant turn between them removed, degrees."""
    ours, theirs = (Rotation.from_rotvec(m.global_orient) * Rotation.from_rotvec(m.neck_pose) for m in (motion, truth))
    between = ours.inv() * theirs
    return float(np.degrees((between.mean().inv() * between)[rows].magnitude()).mean())
