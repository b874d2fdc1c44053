"""Each part of a motion is changed alone: what one edit moves, and that it moves nothing else."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from avatar.editing import (
    CHANNELS,
    Channel,
    FaceMap,
    GazeKey,
    Key,
    gain,
    look,
    mix,
    override,
    shift,
    smooth,
    take_channels,
    with_emotions,
)
from avatar.editing.face import ROWS, action_channel
from avatar.errors import InputError
from avatar.motion import PER_FRAME, Motion

Subject = tuple[Motion, FaceMap]
# Rows are stored in single precision.
CLOSE = 2e-5
EDITS = (lambda m: smooth(m, 0.1), lambda m: shift(m, 0.2), lambda m: mix([m, shift(m, 0.3)]))


def state(motion: Motion, face: FaceMap) -> dict[str, np.ndarray]:
    """What each channel does: its own rows, and its actions of the expression."""
    actions = motion.expression @ face.to_actions.T
    of = np.array([action_channel(name) for name in face.head.arkit_names])
    return {
        channel: np.concatenate([actions[:, of == channel], *(getattr(motion, name) for name in ROWS[channel])], axis=1)
        for channel in CHANNELS
    }


def changed(before: Motion, after: Motion, face: FaceMap) -> set[str]:
    """The channels that differ."""
    assert np.array_equal(before.time, after.time) and before.betas is after.betas
    first, second = state(before, face), state(after, face)
    return {channel for channel in CHANNELS if np.abs(first[channel] - second[channel]).max() > CLOSE}


def test_every_row_and_action_belongs_to_one_channel(subject: Subject) -> None:
    rows = [name for channel in CHANNELS for name in ROWS[channel]]
    assert sorted((*rows, "expression")) == sorted(PER_FRAME)
    face = subject[1]
    shares = [face.share((channel,)) for channel in ("mouth", "brows", "cheeks")]
    assert np.allclose(sum(shares), np.eye(len(shares[0])), atol=1e-6)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("factor", [0.0, 1.5, [[0.0, 1.0], [2.0, 0.3]]])
def test_a_gain_moves_its_own_channel_alone(subject: Subject, channel: Channel, factor: object) -> None:
    motion, face = subject
    assert changed(motion, gain(motion, face, {channel: factor}), face) == {channel}  # type: ignore[dict-item]


def test_gains_of_one_change_nothing(subject: Subject) -> None:
    motion, face = subject
    assert not changed(motion, gain(motion, face, dict.fromkeys(CHANNELS, 1.0)), face)


def test_a_gain_of_none_stills_its_channel(subject: Subject) -> None:
    motion, face = subject
    still = gain(motion, face, {"mouth": 0, "brows": 0, "cheeks": 0, "pose": 0, "gaze": 0, "blinks": 0})
    assert np.abs(still.expression).max() < CLOSE and not still.jaw_pose.any()
    for name in (*ROWS["pose"], *ROWS["gaze"]):
        assert np.ptp(getattr(still, name), axis=0).max() < CLOSE, name
    assert motion.eyelids.max() > 0.8
    # The lids stay where they usually are.
    assert np.allclose(still.eyelids.max(0), np.median(motion.eyelids, axis=0), atol=CLOSE)


def test_gains_scale_the_way_from_rest_and_mean(subject: Subject) -> None:
    motion, face = subject
    wide = gain(motion, face, {"mouth": 1.5, "pose": 2.0})
    assert np.allclose(wide.jaw_pose, 1.5 * motion.jaw_pose, atol=1e-6)
    mean = motion.transl.mean(0)
    assert np.allclose(wide.transl - mean, 2 * (motion.transl - mean), atol=1e-5)
    half = gain(motion, face, {"mouth": [[0.0, 1.0], [4.0, 0.0]]})
    seconds = motion.time - motion.time[0]
    assert np.allclose(half.jaw_pose[:, 0], (1 - seconds / 4) * motion.jaw_pose[:, 0], atol=1e-5)
    assert gain(motion, face, {"blinks": 9.0}).eyelids.max() <= 1.0 + CLOSE


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("edit", EDITS)
def test_any_edit_can_be_kept_to_a_channel(
    subject: Subject, channel: Channel, edit: Callable[[Motion], Motion]
) -> None:
    motion, face = subject
    part = take_channels(motion, edit(motion), face, (channel,))
    assert changed(motion, part, face) == {channel}


def test_all_channels_of_another_motion_are_that_motion(subject: Subject) -> None:
    motion, face = subject
    other = shift(motion, 0.5)
    both = take_channels(motion, other, face, CHANNELS)
    for name in PER_FRAME:
        assert np.array_equal(getattr(both, name), getattr(other, name)), name
    parts = motion
    for channel in CHANNELS:
        parts = take_channels(parts, other, face, (channel,))
    assert np.allclose(parts.expression, other.expression, atol=CLOSE)


@pytest.mark.parametrize("name", ["neutral", "happy", "sad", "angry", "surprised", "emphatic", "calm"])
def test_emotions_leave_all_but_the_expression(subject: Subject, name: str) -> None:
    motion, face = subject
    felt = with_emotions(motion, face, {name: 1.0})
    assert changed(motion, felt, face) <= {"mouth", "brows", "cheeks"} and changed(motion, felt, face)
    for row in set(PER_FRAME) - {"expression"}:
        assert getattr(felt, row) is getattr(motion, row), row


def test_a_look_moves_the_eyes_alone(subject: Subject) -> None:
    motion, face = subject
    seen = look(motion, face, [GazeKey(0.0, (0.4, 0.2, 0.0))])
    assert changed(motion, seen, face) == {"gaze"}
    for row in set(PER_FRAME) - {"leye_pose", "reye_pose"}:
        assert getattr(seen, row) is getattr(motion, row), row


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        *(("jawOpen", "mouth"), ("mouthSmileLeft", "mouth"), ("browInnerUp", "brows"), ("eyeSquintRight", "cheeks")),
        *(("eyeBlinkLeft", "blinks"), ("eyeLookUpLeft", "gaze"), ("headYaw", "pose"), ("headRoll", "pose")),
    ],
)
def test_a_key_moves_its_own_action_alone(subject: Subject, name: str, channel: str) -> None:
    motion, face = subject
    keyed = override(motion, face, [Key(0.0, name, 0.7)])
    assert changed(motion, keyed, face) == {channel}
    if channel != "pose":
        before, after = face.weights(motion), face.weights(keyed)
        moved = np.flatnonzero(np.abs(before - after).max(0) > 1e-4)
        assert 1 <= len(moved) <= (2 if channel == "gaze" else 1)


def test_names_that_are_no_channels(subject: Subject) -> None:
    motion, face = subject
    for call in (lambda: gain(motion, face, {"nose": 1.0}), lambda: take_channels(motion, motion, face, ("nose",))):  # type: ignore
        with pytest.raises(InputError, match=r"no such channel(.|\n)*mouth, brows(.|\n)*nose"):
            call()
    with pytest.raises(InputError, match="The gain of mouth cannot be used"):
        gain(motion, face, {"mouth": -1.0})
    with pytest.raises(InputError, match="cannot be put into another"):
        take_channels(motion, motion[:5], face, ("pose",))


def test_a_head_without_actions_is_refused(subject: Subject) -> None:
    silent = subject[1].head._copy()
    silent.arkit_names = ()
    with pytest.raises(InputError, match="ARKit actions in its expression basis"):
        replace(subject[1], head=silent)
