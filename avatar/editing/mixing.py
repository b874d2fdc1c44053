"""Several motions as one, and how strongly each part of one acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.editing.curves import Curve, curve_values, seconds_of
from avatar.editing.face import Channel, FaceMap, check_channels
from avatar.errors import InputError
from avatar.motion import PER_FRAME, ROTATIONS, Motion

if TYPE_CHECKING:
    from jaxtyping import Float

GAINS = (0.0, 10.0)


def mix(motions: Sequence[Motion], weights: Sequence[Curve] | None = None) -> Motion:
    """A weighted mean of motions of one head model, at the times of the first.

    The others are taken at the same seconds from their first moments, and held at their ends. Identity is the first's.

    Args:
        motions: At least one.
        weights: One for each, constant or over time; they need not sum to one. All the same when None.

    Raises:
        InputError: The motions are of several head models, or the weights do not fit.
    """
    first = motions[0]
    if len({motion.head_hash for motion in motions}) > 1:
        found = ", ".join(f"{motion.head_id} ({motion.head_hash[:12]})" for motion in motions)
        raise InputError("The motions cannot be mixed", expected="one head model", found=found)
    weights = [1.0] * len(motions) if weights is None else weights
    if len(weights) != len(motions):
        raise InputError(
            "The motions cannot be mixed", expected=f"{len(motions)} weights, one a motion", found=str(len(weights))
        )
    seconds = seconds_of(first)
    shares = np.stack([curve_values(curve, seconds) for curve in weights])
    total = shares.sum(0)
    if (shares < 0).any() or (total <= 0).any():
        raise InputError(
            "The motions cannot be mixed",
            expected="weights of 0 or more, and at every moment one that is more",
            found="a negative weight" if (shares < 0).any() else f"none at {seconds[total <= 0][0]:.2f} s",
        )
    aligned = [first, *(motion.resample(motion.time[0] + seconds) for motion in motions[1:])]
    rows = {name: _mean([getattr(m, name) for m in aligned], shares / total, name) for name in PER_FRAME}
    return replace(first, **rows)


def gain(motion: Motion, face: FaceMap, gains: Mapping[Channel, Curve]) -> Motion:
    """The motion with some channels stronger or weaker, and the others as they are.

    Mouth, brows and cheeks are scaled from the neutral face, pose and gaze about their means. Of the lids what closes
    them further than they usually are is scaled, so that 0 leaves the eyes open without a blink.

    Args:
        motion: Any motion.
        face: The map of its head model.
        gains: 1 leaves a channel as it is; constant or over time.

    Raises:
        InputError: There is no such channel, or a gain is out of range.
    """
    check_channels(tuple(gains))
    seconds, rows = seconds_of(motion), {}
    expression = motion.expression.astype(np.float64)
    for channel, curve in gains.items():
        factor = curve_values(curve, seconds)[:, None]
        if not ((factor >= GAINS[0]) & (factor <= GAINS[1])).all():
            raise InputError(
                f"The gain of {channel} cannot be used",
                expected=f"{GAINS[0]:g} to {GAINS[1]:g}; 1 leaves it as it is",
                found=f"{factor.min():g}" if factor.min() < GAINS[0] else f"{factor.max():g}",
            )
        if channel in ("mouth", "brows", "cheeks"):
            expression = expression + (factor - 1) * (motion.expression @ face.share((channel,)).T)
            rows["expression"] = expression.astype(np.float32)
        if channel == "mouth":
            rows["jaw_pose"] = (factor * motion.jaw_pose).astype(np.float32)
        elif channel == "blinks":
            rows["eyelids"] = _lids(motion.eyelids, factor)
        elif channel == "gaze":
            rows |= {name: _about_mean(motion, name, factor) for name in ("leye_pose", "reye_pose")}
        elif channel == "pose":
            names = ("global_orient", "neck_pose", "transl", "torso")
            rows |= {name: _about_mean(motion, name, factor) for name in names}
    return replace(motion, **rows)


def _mean(values: list[np.ndarray], shares: Float[np.ndarray, "N T"], name: str) -> np.ndarray:
    """The weighted mean of a row over N motions."""
    if name not in ROTATIONS:
        return np.einsum("nt,ntc->tc", shares, np.stack(values)).astype(np.float32)
    # Normalised sums of quaternions on one side of the sphere: for turns as near as a head's, their mean.
    quats = np.stack([Rotation.from_rotvec(value).as_quat() for value in values])
    quats = quats * np.where((quats * quats[:1]).sum(-1, keepdims=True) < 0, -1, 1)
    return Rotation.from_quat(np.einsum("nt,ntc->tc", shares, quats)).as_rotvec().astype(np.float32)


def _about_mean(motion: Motion, name: str, factor: Float[np.ndarray, "T 1"]) -> np.ndarray:
    value = getattr(motion, name).astype(np.float64)
    if name not in ROTATIONS:
        return (value.mean(0) + factor * (value - value.mean(0))).astype(np.float32)
    turned = Rotation.from_rotvec(value)
    mean = turned.mean()
    scaled = Rotation.from_rotvec(factor * (mean.inv() * turned).as_rotvec())
    return (mean * scaled).as_rotvec().astype(np.float32)


def _lids(lids: Float[np.ndarray, "T 2"], factor: Float[np.ndarray, "T 1"]) -> np.ndarray:
    """Lids whose closing beyond where they usually are is scaled; no further shut than shut."""
    usual = np.median(lids, axis=0)
    closing = np.maximum(lids - usual, 0)
    return np.minimum(lids + (factor - 1) * closing, np.maximum(lids, 1)).astype(np.float32)
