"""One person's motion on another: the face by what it does beyond its neutral, the head as it turns or as it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.motion import PER_FRAME, ROTATIONS, Motion

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.editing.face import FaceMap

TransferPose = Literal["absolute", "relative", "still"]

# Seconds over which a face must be calm to count as such, and the shares of the moments that are taken for calm, and
# for those with closed lips.
CALM_SECONDS, CALM_SHARE, CLOSED_SHARE = 0.12, 0.5, 0.1
# Lids that are closed further than this are not open, even if they hardly ever are.
OPEN = 0.3
# Lids closed further than usual by this are a blink.
BLINK = 0.25
SHUT = 1.0


def neutral_of(motion: Motion, face: FaceMap, *, seen: Bool[np.ndarray, " T"] | None = None) -> Motion:
    """One moment with a person's neutral face and usual pose, from a motion in which that person does anything.

    Brows, cheeks and eyes are the median over the calmest half of the moments with open eyes: expressions move, rest
    does not. The mouth is the median over the calmest half of those with the lips nearest to each other: somebody who
    talks without a pause has the mouth open most of the time. Lids are open, those of somebody who keeps them shut too.
    The head's pose is the median over all moments.

    Args:
        motion: At least one moment.
        face: The map of its head model.
        seen: Moments that were observed; all when None.
    """
    known = np.ones(len(motion), bool) if seen is None or not seen.any() else seen
    awake = known & (motion.eyelids < np.median(motion.eyelids[known], axis=0) + BLINK).all(axis=1)
    awake = awake if awake.any() else known
    opening = face.mouth.opening(motion.expression, motion.jaw_pose)
    closed = awake & (opening <= np.quantile(opening[awake], CLOSED_SHARE))
    calm, shut, usual = motion[_calm(motion, face, awake)], motion[_calm(motion, face, closed)], motion[known]
    mouth = face.share(("mouth",))
    above = np.median(calm.expression, axis=0) @ (np.eye(len(mouth)) - mouth).T
    rows = {"expression": (above + np.median(shut.expression, axis=0) @ mouth.T)[None]}
    lids = np.minimum(np.median(calm.eyelids, axis=0), OPEN)
    rows |= {"eyelids": lids[None], "jaw_pose": _middle(shut.jaw_pose)}
    rows |= {name: _middle(getattr(calm, name)) for name in ("leye_pose", "reye_pose")}
    rows |= {name: _middle(getattr(usual, name)) for name in ("global_orient", "neck_pose")}
    rows |= {name: np.median(getattr(usual, name), axis=0)[None] for name in ("transl", "torso")}
    changed = {name: value.astype(np.float32) for name, value in rows.items()}
    return replace(motion, time=np.zeros(1), sound=None, **changed)


def transfer(motion: Motion, neutral: Motion, rest: Motion, *, pose: TransferPose = "relative") -> Motion:
    """A driver's motion on a subject of the same head model.

    What the driver's face, jaw, lids and eyes do beyond the driver's neutral is added to the subject at ease. Lids keep
    their ends: shut stays shut, however wide the two people's eyes are.

    Args:
        motion: The driver's.
        neutral: One moment, the driver's neutral.
        rest: One moment, the subject at ease; identity is the subject's.
        pose: ``relative`` adds the head's turns and way from the driver's usual pose to the subject's pose at ease,
            ``absolute`` takes the driver's pose as it is, ``still`` keeps the subject's.
    """
    count = len(motion)
    rows = {name: np.repeat(getattr(rest, name), count, axis=0) for name in PER_FRAME}
    rows["expression"] = rest.expression + motion.expression - neutral.expression
    for name in ("jaw_pose", "leye_pose", "reye_pose"):
        turned = _turns(rest, name) * _turns(neutral, name).inv() * _turns(motion, name)
        rows[name] = turned.as_rotvec()
    closing = (motion.eyelids - neutral.eyelids) / np.maximum(SHUT - neutral.eyelids, 0.1)
    opening = motion.eyelids - neutral.eyelids
    rows["eyelids"] = rest.eyelids + np.where(closing > 0, closing * (SHUT - rest.eyelids), opening)
    if pose == "absolute":
        rows |= {name: getattr(motion, name) for name in ("global_orient", "neck_pose", "transl", "torso")}
    elif pose == "relative":
        before, after = (_turns(one, "global_orient") * _turns(one, "neck_pose") for one in (neutral, motion))
        rows["neck_pose"] = (_turns(rest, "neck_pose") * before.inv() * after).as_rotvec()
        for name in ("transl", "torso"):
            rows[name] = getattr(rest, name) + getattr(motion, name) - getattr(neutral, name)
    changed = {name: value.astype(np.float32) for name, value in rows.items()}
    return replace(rest, time=motion.time, **changed)


def _calm(motion: Motion, face: FaceMap, among: Bool[np.ndarray, " T"]) -> np.ndarray:
    """Those moments in which the face moves least."""
    places = np.flatnonzero(among)
    jaw = motion.jaw_pose[:, :1] / face.head.jaw_open_angle
    signals = np.concatenate([motion.expression @ face.to_actions.T, jaw], axis=1).astype(np.float64)
    speed = np.zeros(len(motion))
    if len(motion) > 2:
        speed = np.linalg.norm(np.gradient(signals, motion.time, axis=0), axis=1)
        speed = gaussian_filter1d(speed, CALM_SECONDS / float(np.median(np.diff(motion.time))), mode="nearest")
    wanted = max(1, round(CALM_SHARE * len(places)))
    return np.sort(places[np.argsort(speed[places], kind="stable")[:wanted]])


def _middle(rotations: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "1 3"]:
    """A rotation in the middle of many, whatever a few of them do: the median of their turns about their mean."""
    turned = Rotation.from_rotvec(rotations)
    mean = turned.mean()
    away = np.median((mean.inv() * turned).as_rotvec(), axis=0)
    return (mean * Rotation.from_rotvec(away)).as_rotvec()[None]


def _turns(motion: Motion, name: str) -> Rotation:
    assert name in ROTATIONS
    return Rotation.from_rotvec(getattr(motion, name).astype(np.float64))
