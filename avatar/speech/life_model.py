"""How one person holds the head, looks, blinks and moves the brows, learned from a take."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError, InputError
from avatar.speech._track import BROWS, POSE_WIDTH, POSTURE, RATE, TORSO_WIDTH, track_times
from avatar.speech.blinks import blink_statistics, find_blinks
from avatar.speech.mouth import mouth_map
from avatar.speech.prosody import ProsodyModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.motion import Motion

# Slower than 2.5 Hz is head motion; faster is the tracker's noise.
SMOOTHING_SECONDS = 0.06
HEAD_JOINTS = ("global_orient", "neck_pose")
EYE_JOINTS = ("leye_pose", "reye_pose")
GAZE_WIDTH, BROW_COMPONENTS = 6, 6
GAZE_SAMPLES = 256


@dataclass(frozen=True)
class LifeModel:
    """How one person holds the head, looks and blinks, from the take.

    Attributes:
        mean: (4, 3) mean root, neck, left and right eye, axis-angle.
        transl: (3,) mean translation, metres.
        torso: (3,) mean of the shoulders' own motion, metres.
        track: (N, 12 + P) at 25 Hz: root and neck as rotation vectors from their means, translation and shoulders
            from theirs, and P components of the brows. N is at most 1500.
        brow_mean: (E,) mean expression of the upper face.
        brow_basis: (P, E) its components.
        gaze_follow: (9, 6) how both eyes turn against the head, per unit of the track's pose.
        gaze: (G, 6) turns of both eyes that the head does not explain.
        eyelids: (2,) closure of the open lids.
        blink: (3,) rate a minute, width at half height in seconds, depth of closure.
        prosody: How brows, head and lids follow the voice; None for models made before there was one.
    """

    mean: Float[np.ndarray, "4 3"]
    transl: Float[np.ndarray, " 3"]
    torso: Float[np.ndarray, " 3"]
    track: Float[np.ndarray, "N D"]
    brow_mean: Float[np.ndarray, " E"]
    brow_basis: Float[np.ndarray, "P E"]
    gaze_follow: Float[np.ndarray, "9 6"]
    gaze: Float[np.ndarray, "G 6"]
    eyelids: Float[np.ndarray, " 2"]
    blink: Float[np.ndarray, " 3"]
    prosody: ProsodyModel | None = None

    @classmethod
    def from_motion(cls, motion: Motion, *, head: Head, used: Bool[np.ndarray, " T"] | None = None) -> LifeModel:
        """Learns from a take.

        Args:
            motion: The take's tracked motion.
            head: Its head model; it tells brows from mouth.
            used: (T,) which moments were tracked well; all when left out.

        Raises:
            InputError: No moment was tracked well.
        """
        kept = motion if used is None else motion[np.asarray(used, bool)]
        if not len(kept):
            raise InputError("The take's motion cannot be used", expected="at least one tracked frame", found="none")
        blink = np.array(blink_statistics(kept.time, kept.eyelids))
        eyelids = np.median(kept.eyelids, axis=0).astype(np.float64)
        time = track_times(kept.time)
        even = kept.resample(time)
        rotations = [Rotation.from_rotvec(getattr(even, name)) for name in (*HEAD_JOINTS, *EYE_JOINTS)]
        means = [rotation.mean() for rotation in rotations]
        turns = [(mean.inv() * r).as_rotvec() for mean, r in zip(means, rotations, strict=True)]
        transl, torso = (rows.astype(np.float64).mean(axis=0) for rows in (even.transl, even.torso))

        speech_part = mouth_map(head, betas=motion.betas).speech_part
        upper = even.expression @ (np.eye(len(speech_part)) - speech_part).T
        upper = _without_blinks(upper, time, kept)
        brow_mean = upper.mean(axis=0)
        _, strength, directions = np.linalg.svd(upper - brow_mean, full_matrices=False)
        brow_basis = directions[: min(BROW_COMPONENTS, int((strength > 1e-6).sum()))]
        brows = (upper - brow_mean) @ brow_basis.T
        track = np.column_stack([*turns[:2], even.transl - transl, even.torso - torso, brows])
        track = gaussian_filter1d(track, SMOOTHING_SECONDS * RATE, axis=0, mode="nearest")

        gaze = np.column_stack(turns[2:])
        pose = track[:, :POSE_WIDTH]
        # A ridge in units of the pose's own spread: a head that hardly moves explains nothing.
        unit = np.maximum(pose.std(axis=0), 1e-3)
        gram = (pose / unit).T @ (pose / unit) / len(pose) + 0.1 * np.eye(POSE_WIDTH)
        follow = np.linalg.solve(gram, (pose / unit).T @ gaze / len(pose)) / unit[:, None]
        residual = gaze - pose @ follow
        residual = np.clip(residual, *np.percentile(residual, [5, 95], axis=0))
        return cls(
            mean=np.stack([mean.as_rotvec() for mean in means]),
            transl=transl,
            torso=torso,
            track=track,
            brow_mean=brow_mean,
            brow_basis=brow_basis,
            gaze_follow=follow,
            gaze=residual[np.linspace(0, len(residual) - 1, min(GAZE_SAMPLES, len(residual))).astype(int)],
            eyelids=eyelids,
            blink=blink,
        ).rounded()

    @property
    def highest(self) -> float:
        """Height of the place and the shoulders together at their highest in the take, metres."""
        risen = self.track[:, POSTURE.start + 1] + self.track[:, POSE_WIDTH + 1]
        return float(self.transl[1] + self.torso[1] + risen.max())

    def rounded(self) -> LifeModel:
        """This model as it is stored, so that a loaded one gives the same motion to the last bit."""
        return LifeModel.from_tensors(self.to_tensors())

    def to_tensors(self) -> dict[str, Tensor]:
        """The model as tensors: the track in half precision, which resolves a hundredth of a degree."""
        import torch

        tensors = {name: torch.tensor(np.asarray(getattr(self, name)), dtype=torch.float32) for name in _arrays()}
        tensors |= self.prosody.to_tensors() if self.prosody else {}
        return tensors | {"track": tensors["track"].half(), "gaze": tensors["gaze"].half()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LifeModel:
        """The model of `to_tensors`; raises FormatError when something is missing or does not fit."""
        names = _arrays()
        missing = sorted(set(names) - set(tensors))
        if not missing:
            model = cls(**{name: tensors[name].double().numpy() for name in names})  # pyright: ignore[reportArgumentType]
            width = (BROWS + len(model.brow_basis),)
            shapes = {
                "track": model.track.shape[1:] == width and len(model.track) > 0,
                "gaze": model.gaze.shape[1:] == (GAZE_WIDTH,) and len(model.gaze) > 0,
                "gaze_follow": model.gaze_follow.shape == (POSE_WIDTH, GAZE_WIDTH),
                "mean": model.mean.shape == (4, 3),
                "torso": model.torso.shape == (TORSO_WIDTH,),
                "blink": model.blink.shape == (3,),
            }
            missing = [name for name, fits in shapes.items() if not fits]
            if not missing:
                return replace(model, prosody=ProsodyModel.from_tensors(tensors, width=width[0]))
        raise FormatError(
            "The model of head motion cannot be read",
            expected=", ".join(names),
            found=f"{', '.join(missing)} missing or of another shape",
        )


def _arrays() -> list[str]:
    """Names of the model's own tensors."""
    return [each.name for each in fields(LifeModel) if each.name != "prosody"]


def _without_blinks(
    upper: Float[np.ndarray, "N E"], time: Float[np.ndarray, " N"], motion: Motion
) -> Float[np.ndarray, "N E"]:
    """The upper face bridged over the take's blinks, so that brows do not replay squints where no blink is."""
    moments, _ = find_blinks(motion.time, motion.eyelids.mean(axis=1))
    if not len(moments):
        return upper
    clear = np.abs(time[:, None] - moments).min(axis=1) > 0.2
    if clear.sum() < 2:
        return upper
    return np.stack([np.interp(time, time[clear], column[clear]) for column in upper.T], axis=1)
