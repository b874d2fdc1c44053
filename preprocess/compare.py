"""How far one motion lies from another, in angles and millimetres: a tracker against ground truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.preprocess.tracking_overlay import posed

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.motion import Motion

BATCH = 64


def compare_motion(estimate: Motion, truth: Motion, head: Head) -> dict[str, float]:
    """Mean errors of a motion, at its own times.

    A constant offset between the rotations is a matter of where a head model looks at rest, which no picture tells;
    ``head_deg`` is what is left without it, ``head_raw_deg`` has it.

    Args:
        estimate: The motion to judge.
        truth: What it should be; resampled to the estimate's times.
        head: The head model of both.

    Returns:
        ``head_deg``, ``head_raw_deg``: angle between the head's orientations (root times neck), degrees, after and
        before a constant rotation is removed. ``jaw_deg``, ``jaw_raw_deg``: the jaw's opening angle, likewise.
        ``gaze_deg``, ``gaze_raw_deg``: angle between the lines of sight relative to the head, both eyes, likewise.
        ``eyelids``: lid closure, 0 to 1. ``face_mm``: distance between the vertices of the face after a rigid alignment
        of each moment; ``face_similarity_mm``: also free of scale. ``distance_ratio``: distance over true distance from
        the camera. ``turn_acceleration_ratio``, ``place_acceleration_ratio``: mean acceleration of the head's
        orientation, and of its place across the line of sight, over the truth's; absent below three moments.

    Raises:
        InputError: The motions belong to another head model.
    """
    for motion in (estimate, truth):
        if motion.head_hash != head.hash:
            raise InputError("The motions cannot be compared", expected=f"motions of {head.id}", found=motion.head_id)
    truth = truth.resample(estimate.time)
    figures: dict[str, float] = {}
    turns = [_turn(motion.global_orient) * _turn(motion.neck_pose) for motion in (estimate, truth)]
    between = turns[0].inv() * turns[1]
    figures["head_raw_deg"] = float(np.degrees(between.magnitude()).mean())
    figures["head_deg"] = float(np.degrees((between.mean().inv() * between).magnitude()).mean())
    jaw = np.degrees(estimate.jaw_pose[:, 0] - truth.jaw_pose[:, 0])
    figures["jaw_raw_deg"] = float(np.abs(jaw).mean())
    figures["jaw_deg"] = float(np.abs(jaw - jaw.mean()).mean())
    figures["gaze_deg"], figures["gaze_raw_deg"] = _gaze_errors(estimate, truth)
    figures["eyelids"] = float(np.abs(estimate.eyelids - truth.eyelids).mean())
    figures["face_mm"], figures["face_similarity_mm"] = _face_errors(estimate, truth, head)
    figures["distance_ratio"] = float(np.median(estimate.transl[:, 2] / truth.transl[:, 2]))
    figures |= _acceleration_ratios(estimate, truth, head, turns=turns)
    return figures


def seen_in_crop(
    truth: Motion, head: Head, *, focal: float, width: int, height: int, crop: tuple[int, int, int]
) -> Motion:
    """A motion before a clip's camera, as a take of a crop of the clip has to state it.

    A take's camera looks at the middle of its crop; the clip's looks at the middle of the whole picture. The two differ
    by a turn, a degree or two for a head beside the middle (and by a keystone that is far below what a tracker sees).

    Args:
        truth: The motion before the clip's camera, `Camera.front`.
        head: Its head model.
        focal: Focal length of the clip, pixels.
        width: Width of the clip, pixels.
        height: Height of the clip, pixels.
        crop: Left, top and side of the crop, pixels; a side of 0 for no crop.
    """
    left, top, side = crop
    if side == 0:
        return truth
    across, down = left + side / 2 - width / 2, top + side / 2 - height / 2
    turn = Rotation.align_vectors([[0, 0, -1]], [[across, -down, -focal]])[0]
    # The root turns about its joint, which has to end where the turned world has it.
    pivot = head.with_identity(torch.as_tensor(truth.betas)).joints()[0, 0].double().numpy()
    return replace(
        truth,
        global_orient=(turn * _turn(truth.global_orient)).as_rotvec().astype(np.float32),
        transl=(turn.apply(pivot + truth.transl) - pivot).astype(np.float32),
    )


def aligned(
    source: Float[np.ndarray, "T V 3"], target: Float[np.ndarray, "T V 3"], *, scale: bool = False
) -> Float[np.ndarray, "T V 3"]:
    """`source` moved onto `target` in each of T frames by the best rotation and translation (Umeyama, 1991).

    Args:
        source: (T, V, 3) points.
        target: (T, V, 3) the same points elsewhere.
        scale: Whether one scale a frame may change too.
    """
    from_mean, to_mean = source.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    centred, wanted = source - from_mean, target - to_mean
    left, sizes, right = np.linalg.svd(np.swapaxes(wanted, 1, 2) @ centred)
    signs = np.ones((len(source), 3))
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * signs[:, None]) @ right
    factor = (sizes * signs).sum(1) / (centred**2).sum((1, 2)) if scale else np.ones(len(source))
    return factor[:, None, None] * centred @ np.swapaxes(rotation, 1, 2) + to_mean


def _turn(axis_angle: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(np.asarray(axis_angle, np.float64))


def _gaze_errors(estimate: Motion, truth: Motion) -> tuple[float, float]:
    """Mean angles between lines of sight, without and with a constant offset of each eye."""
    errors = []
    for name in ("leye_pose", "reye_pose"):
        # Pitch and yaw suffice: a roll about the line of sight changes nothing that looks.
        sights = [_turn(getattr(motion, name)).apply([0.0, 0.0, 1.0]) for motion in (estimate, truth)]
        angles = [np.degrees(np.stack([np.arcsin(s[:, 1]), np.arctan2(s[:, 0], s[:, 2])], 1)) for s in sights]
        away = angles[0] - angles[1]
        errors.append([np.linalg.norm(away - away.mean(axis=0), axis=1).mean(), np.linalg.norm(away, axis=1).mean()])
    steady, raw = np.mean(errors, axis=0)
    return float(steady), float(raw)


def _acceleration_ratios(estimate: Motion, truth: Motion, head: Head, *, turns: list[Rotation]) -> dict[str, float]:
    """Mean accelerations of the head over the truth's; empty for fewer than three moments or where nothing moves."""
    if len(estimate) < 3:
        return {}
    step = np.diff(estimate.time)[:, None]
    middle = (step[1:] + step[:-1]) / 2
    skull = np.flatnonzero((head.weights[:, 1] > 0.99).numpy())[::20]
    sizes: dict[str, list[float]] = {"turn": [], "place": []}
    for motion, turn in zip((estimate, truth), turns, strict=True):
        middles = [
            posed(head, motion[first : first + BATCH])[:, skull].mean(axis=1) for first in range(0, len(motion), BATCH)
        ]
        centre = np.concatenate(middles).astype(np.float64)
        speeds = {
            "turn": (turn[:-1].inv() * turn[1:]).as_rotvec(),
            "place": np.diff(centre[:, :2], axis=0),
        }
        for name, speed in speeds.items():
            sizes[name].append(float(np.linalg.norm(np.diff(speed / step, axis=0) / middle, axis=1).mean()))
    return {f"{name}_acceleration_ratio": found / true for name, (found, true) in sizes.items() if true > 0}


def _face_errors(estimate: Motion, truth: Motion, head: Head) -> tuple[float, float]:
    """Mean vertex distances in mm over the part of the skin that the landmarks cover, rigid and similarity."""
    points = head.v_template[head.faces[head.landmarks.faces]].flatten(0, 1)
    start, stop = head.parts["skin"]
    skin = head.v_template[start:stop]
    # Beyond the landmarks nothing was measured: what lies there follows from the identity basis alone.
    low, high = points.amin(0), points.amax(0)
    inside = ((skin >= low) & (skin <= high)).all(dim=1).numpy()
    rows = np.flatnonzero(inside) + start
    sums = np.zeros(2)
    for first in range(0, len(estimate), BATCH):
        part = slice(first, first + BATCH)
        found, true = (posed(head, motion[part])[:, rows].astype(np.float64) for motion in (estimate, truth))
        for place, scale in enumerate((False, True)):
            sums[place] += np.linalg.norm(aligned(found, true, scale=scale) - true, axis=2).mean(axis=1).sum()
    rigid, similar = 1e3 * sums / len(estimate)
    return float(rigid), float(similar)
