"""A motion's face in ARKit's words: read off and changed linearly, so that what is not named stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from avatar.errors import InputError
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts, write_eye
from avatar.speech.mouth import MouthMap, mouth_map

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.motion import Motion

Channel = Literal["mouth", "brows", "cheeks", "blinks", "gaze", "pose"]
CHANNELS: tuple[Channel, ...] = ("mouth", "brows", "cheeks", "blinks", "gaze", "pose")
# The rows of a motion that belong to one channel alone; the expression is shared by the first three.
ROWS: dict[Channel, tuple[str, ...]] = {
    "mouth": ("jaw_pose",),
    "brows": (),
    "cheeks": (),
    "blinks": ("eyelids",),
    "gaze": ("leye_pose", "reye_pose"),
    "pose": ("global_orient", "neck_pose", "transl", "torso"),
}
_BROWS = ("brow",)
_CHEEKS = ("cheekSquint", "eyeSquint", "eyeWide", "noseSneer")
_LIDS = [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]
_JAW = ARKIT_NAMES.index("jawOpen")


def action_channel(name: str) -> Channel:
    """The channel that an ARKit action belongs to."""
    if name.startswith(_BROWS):
        return "brows"
    if name.startswith(_CHEEKS):
        return "cheeks"
    if name.startswith("eyeBlink"):
        return "blinks"
    return "gaze" if name.startswith("eyeLook") else "mouth"


@dataclass(frozen=True, eq=False)
class FaceMap:
    """The face of one head model and identity.

    Attributes:
        head: The head model, which has ARKit actions.
        betas: (S,) the subject's identity coefficients.
    """

    head: Head
    betas: Float[np.ndarray, " S"]

    def __post_init__(self) -> None:
        if not self.head.arkit_names:
            raise InputError(
                f"Motions of the head {self.head.id} cannot be edited",
                expected="a head model with ARKit actions in its expression basis",
                found="none",
                fix="import the head model again with: avatar heads import",
            )

    @cached_property
    def columns(self) -> list[int]:
        """Where in `ARKIT_NAMES` the actions of the expression basis are."""
        return [ARKIT_NAMES.index(name) for name in self.head.arkit_names]

    @cached_property
    def to_expression(self) -> Float[np.ndarray, "E A"]:
        """Expression coefficients of each action of the basis."""
        return self.head.arkit_to_psi.detach().cpu().double().numpy()

    @cached_property
    def to_actions(self) -> Float[np.ndarray, "A E"]:
        """Least-squares inverse of `to_expression`; negative weights are possible and kept."""
        return self.head.psi_to_arkit.detach().cpu().double().numpy()

    @cached_property
    def mouth(self) -> MouthMap:
        """The inner lips' gap as a linear function of expression and jaw."""
        return mouth_map(self.head, betas=self.betas)

    @cached_property
    def parting(self) -> Float[np.ndarray, " A"]:
        """Metres by which each action of the basis parts the inner lips; negative where it closes them."""
        return self.mouth.gap_expression @ self.to_expression

    @cached_property
    def widest(self) -> float:
        """Metres by which jawOpen alone parts them, to first order."""
        return float(self.mouth.gap_jaw[0] * self.head.jaw_open_angle)

    def share(self, channels: tuple[Channel, ...]) -> Float[np.ndarray, "E E"]:
        """Projector onto the part of the expression that belongs to some channels.

        What no action of ARKit's says counts as the mouth's.
        """
        of = np.array([action_channel(name) for name in self.head.arkit_names])
        named = np.isin(of, [channel for channel in channels if channel != "mouth"])
        part = (self.to_expression * named) @ self.to_actions
        if "mouth" in channels:
            part = part + np.eye(len(part)) - (self.to_expression * (of != "mouth")) @ self.to_actions
        return part

    def weights(self, motion: Motion) -> Float[np.ndarray, "T 52"]:
        """A motion's weights in the order of `ARKIT_NAMES` as they are: neither clipped nor made non-negative."""
        rows = np.zeros((len(motion), len(ARKIT_NAMES)))
        rows[:, self.columns] = motion.expression @ self.to_actions.T
        rows[:, _JAW] = motion.jaw_pose[:, 0] / self.head.jaw_open_angle
        rows[:, _LIDS] = motion.eyelids
        for side, pose in (("Left", motion.leye_pose), ("Right", motion.reye_pose)):
            write_eye(rows, side, pose, self.head)
        return rows

    def moved(self, motion: Motion, change: Float[np.ndarray, "T 52"]) -> Motion:
        """The motion with something added to its weights; rows without a change are left as they are."""
        parts = arkit_to_motion_parts(change.astype(np.float64), self.head)
        rows = {}
        for name in ("expression", "jaw_pose", "leye_pose", "reye_pose", "eyelids"):
            added = getattr(parts, name)
            if added.any():
                rows[name] = (getattr(motion, name) + added).astype(np.float32)
        return replace(motion, **rows) if rows else motion


def take_channels(motion: Motion, other: Motion, face: FaceMap, channels: tuple[Channel, ...]) -> Motion:
    """A motion with some channels of another one of the same times and head model.

    Raises:
        InputError: There is no such channel, or the motions do not fit.
    """
    check_channels(channels)
    if len(motion) != len(other) or motion.expression.shape != other.expression.shape:
        raise InputError(
            "The channels of one motion cannot be put into another",
            expected=f"{len(motion)} moments of {motion.head_id}",
            found=f"{len(other)} moments of {other.head_id}",
            fix="resample one at the other's times",
        )
    rows = {name: getattr(other, name) for channel in channels for name in ROWS[channel]}
    if {"mouth", "brows", "cheeks"} <= set(channels):
        rows["expression"] = other.expression
    elif {"mouth", "brows", "cheeks"} & set(channels):
        away = other.expression.astype(np.float64) - motion.expression
        rows["expression"] = (motion.expression + away @ face.share(channels).T).astype(np.float32)
    if "mouth" in channels:
        # The sound is that which the mouth says.
        rows |= {"sound": other.sound, "sound_id": other.sound_id}
    return replace(motion, **rows)


def check_channels(channels: tuple[str, ...]) -> None:
    """Raises InputError for a name that is no channel."""
    unknown = sorted(set(channels) - set(CHANNELS))
    if unknown:
        raise InputError("There is no such channel", expected=", ".join(CHANNELS), found=", ".join(unknown))
