"""Emotions and styles of a face: what `emotions.json` beside this file says, laid over a motion.

They change the expression alone. Speech stays legible, since a mouth that speaks is changed less:

- An action adds to what there is left of it, so that nothing grows beyond its full weight; a negative one takes that
  share away of what there is.
- What parts the lips fades as they come together; where they touch, to what the rest of the change brings together.
- What shapes the mouth fades where the lips are rounded, as in "o" and "u".
- Lids that close have no part in widening and squinting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from avatar.editing.curves import Curve, curve_values, seconds_of
from avatar.editing.face import Channel, FaceMap, action_channel
from avatar.errors import InputError
from avatar.heads.arkit import ARKIT_NAMES

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.motion import Motion

# Shares of the gap that jawOpen makes: what still counts as touching, and from where on the mouth is open.
TOUCHING, OPEN = 0.02, 0.15
ROUNDED = ("mouthPucker", "mouthFunnel")
KEPT_WHEN_ROUNDED = 0.3
LID_ACTIONS = ("eyeWide", "eyeSquint")
SIDES = ("Left", "Right")


class Emotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A preset.

    Attributes:
        name: What it is called in options and files.
        text: What it is called in front of people.
        hint: What it does, to them.
        deltas: What it adds to ARKit's actions at full intensity, -1 to 1; a name without its side is both sides.
        gains: How much it strengthens or weakens what the motion has of a channel.
    """

    name: str
    text: str
    hint: str
    deltas: dict[str, float]
    gains: dict[Channel, float] = {}

    def actions(self) -> dict[str, float]:
        """The deltas by the names of `ARKIT_NAMES`."""
        both = {name: (name,) if name in ARKIT_NAMES else tuple(name + side for side in SIDES) for name in self.deltas}
        return {action: self.deltas[name] for name, actions in both.items() for action in actions}


@cache
def emotions() -> dict[str, Emotion]:
    """All presets by name, in the order they are shown."""
    content = (files("avatar.editing") / "emotions.json").read_bytes()
    return {preset.name: preset for preset in msgspec.json.decode(content, type=tuple[Emotion, ...])}


def with_emotions(motion: Motion, face: FaceMap, intensities: Mapping[str, Curve]) -> Motion:
    """The motion with emotions laid over its expression; every other row is left as it is.

    Args:
        motion: Any motion.
        face: The map of its head model.
        intensities: How strong each preset is, 0 to 1; constant or over time. Several add up.

    Raises:
        InputError: There is no such preset, or an intensity is out of range.
    """
    seconds = seconds_of(motion)
    values = {name: _intensity(name, curve, seconds) for name, curve in intensities.items()}
    expression = emotional_expression(motion, face, values)
    return motion if expression is None else replace(motion, expression=expression)


def emotional_expression(
    motion: Motion, face: FaceMap, intensities: Mapping[str, Float[np.ndarray, " T"]]
) -> Float[np.ndarray, "T E"] | None:
    """The motion's expression with emotions of known intensity at each moment; None where there are none."""
    if not any(np.any(value) for value in intensities.values()):
        return None
    deltas, gains = _tables(face.head.arkit_names)
    order = list(emotions())
    strength = np.stack([intensities.get(name, np.zeros(len(motion))) for name in order], axis=1)
    own = motion.expression @ face.to_actions.T
    factor = np.prod(1 + strength[:, :, None] * (gains - 1), axis=1)
    wanted = (strength @ deltas).clip(-1, 1) * _lids_open(motion, face)
    room = np.where(wanted > 0, 1 - (factor * own).clip(0, 1), factor * own)
    change = (factor - 1) * own + wanted * room
    change = _legible(change, own, motion, face)
    return (motion.expression + change @ face.to_expression.T).astype(np.float32)


def _intensity(name: str, curve: Curve, seconds: np.ndarray) -> np.ndarray:
    if name not in emotions():
        raise InputError("There is no such emotion", expected=", ".join(emotions()), found=name)
    values = curve_values(curve, seconds)
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        worst = values.min() if values.min() < 0 else values.max()
        raise InputError(f"The intensity of {name} cannot be used", expected="0 to 1", found=f"{worst:g}")
    return values


@cache
def _tables(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(P, A) deltas and gains of the presets over the actions of a basis."""
    deltas, gains = np.zeros((len(emotions()), len(names))), np.ones((len(emotions()), len(names)))
    for row, preset in enumerate(emotions().values()):
        actions = preset.actions()
        deltas[row] = [actions.get(name, 0.0) for name in names]
        gains[row] = [preset.gains.get(action_channel(name), 1.0) for name in names]
    return deltas, gains


def _lids_open(motion: Motion, face: FaceMap) -> np.ndarray:
    """(T, A) what closing lids leave of each action."""
    left = np.ones((len(motion), len(face.head.arkit_names)))
    for column, name in enumerate(face.head.arkit_names):
        if name.startswith(LID_ACTIONS):
            left[:, column] = 1 - motion.eyelids[:, SIDES.index("Left" if name.endswith("Left") else "Right")].clip(
                0, 1
            )
    return left


def _legible(change: np.ndarray, own: np.ndarray, motion: Motion, face: FaceMap) -> np.ndarray:
    """A change of the actions (T, A) of which speech stays legible."""
    names, widest = face.head.arkit_names, face.widest
    shapes = np.array([action_channel(name) == "mouth" for name in names])
    rounded = own[:, [names.index(name) for name in ROUNDED if name in names]].clip(0, 1).max(axis=1, initial=0)
    change = np.where(shapes, change * (1 - (1 - KEPT_WHEN_ROUNDED) * rounded)[:, None], change)
    gap = (face.mouth.opening(motion.expression, motion.jaw_pose) - face.mouth.gap_base) / widest
    openness = ((gap - TOUCHING) / (OPEN - TOUCHING)).clip(0, 1)
    openness = openness * openness * (3 - 2 * openness)
    parting = change * np.where(shapes, face.parting, 0.0) / widest
    apart, together = parting.clip(min=0).sum(1), parting.clip(max=0).sum(1)
    kept = (-together / np.maximum(apart, 1e-9)).clip(0, 1)
    kept = kept + openness * (1 - kept)
    return np.where(parting > 0, change * kept[:, None], change)
