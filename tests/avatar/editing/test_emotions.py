"""Emotions: what they show, how they grow, and that speech under them stays legible."""

from dataclasses import replace

import numpy as np
import pytest

from avatar.editing import FaceMap, emotions, with_emotions
from avatar.errors import InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.motion import PER_FRAME, Motion

Subject = tuple[Motion, FaceMap]
STRONG = ("happy", "sad", "angry", "surprised", "emphatic")
COLUMN = {name: index for index, name in enumerate(ARKIT_NAMES)}


def at_rest(subject: Subject) -> Motion:
    """One moment without any expression."""
    moment = subject[0][:1]
    rest = {name: 0 * getattr(moment, name) for name in ("expression", "jaw_pose", "eyelids", "leye_pose", "reye_pose")}
    return replace(moment, **rest)


def gaps(motion: Motion, face: FaceMap) -> np.ndarray:
    """The inner lips' gap on the posed head itself, metres."""
    import torch

    given = {"expression": motion.expression, "pose": 0 * motion.pose}
    given["pose"][:, 2] = motion.jaw_pose
    points = face.head.landmark_positions(
        face.head(betas=torch.as_tensor(face.betas)[None], **{k: torch.as_tensor(v) for k, v in given.items()})
    ).numpy()
    return (points[:, 13] - points[:, 14])[:, 1]


def test_presets_speak_of_the_expression_alone() -> None:
    assert list(emotions()) == ["neutral", "happy", "sad", "angry", "surprised", "emphatic", "calm"]
    for preset in emotions().values():
        actions = preset.actions()
        assert set(actions) <= set(ARKIT_NAMES) and all(-1 <= value <= 1 for value in actions.values())
        # Jaw, lids and eyes are other channels.
        assert not [name for name in actions if name.startswith(("jaw", "eyeBlink", "eyeLook"))]
        assert preset.text and preset.hint


@pytest.mark.parametrize(
    ("name", "action", "least"),
    [
        *(("happy", "mouthSmileLeft", 0.4), ("sad", "browInnerUp", 0.5), ("angry", "browDownRight", 0.5)),
        *(("surprised", "browOuterUpLeft", 0.5), ("surprised", "eyeWideRight", 0.4)),
        ("emphatic", "browOuterUpRight", 0.3),
    ],
)
def test_a_resting_face_shows_them_in_proportion(subject: Subject, name: str, action: str, least: float) -> None:
    rest, face = at_rest(subject), subject[1]
    full, half = (
        face.weights(with_emotions(rest, face, {name: strength}))[0, COLUMN[action]] for strength in (1.0, 0.5)
    )
    assert full > least and half == pytest.approx(full / 2, abs=1e-4)
    assert with_emotions(rest, face, {name: 0.0}) is rest


def test_neutral_takes_away_what_the_face_shows_beside_speech(subject: Subject) -> None:
    motion, face = subject
    before, after = (face.weights(m) for m in (motion, with_emotions(motion, face, {"neutral": 1.0})))
    brows = [COLUMN[name] for name in ARKIT_NAMES if name.startswith("brow")]
    assert np.allclose(after[:, brows], 0.2 * before[:, brows], atol=1e-4)
    assert np.allclose(after[:, COLUMN["jawOpen"]], before[:, COLUMN["jawOpen"]])


@pytest.mark.parametrize("name", STRONG)
def test_nothing_grows_beyond_its_full_weight(subject: Subject, name: str) -> None:
    motion, face = subject
    full = face.moved(motion, np.where(np.arange(52) == COLUMN["mouthSmileLeft"], 0.9, 0.0) * np.ones((len(motion), 1)))
    before, after = (face.weights(m) for m in (full, with_emotions(full, face, {name: 1.0, "happy": 1.0})))
    assert (after <= np.maximum(before, 1.0) * max(1.5 if name == "emphatic" else 1.0, 1.0) + 1e-3).all()


@pytest.mark.parametrize("name", [*STRONG, "calm", "neutral"])
def test_lips_that_close_stay_closed(subject: Subject, name: str) -> None:
    """On the posed head: where speech brings the lips together, an emotion parts them by less than 0.4 mm."""
    motion, face = subject
    own, felt = gaps(motion, face), gaps(with_emotions(motion, face, {name: 1.0}), face)
    closed = own < face.mouth.gap_base + 0.001
    assert closed.sum() >= 5
    assert (felt - own)[closed].max() < 0.0004
    # And vowels stay as open as they were, within a fifth.
    wide = own > np.quantile(own, 0.9)
    assert (felt[wide] > 0.8 * own[wide]).all()


@pytest.mark.parametrize("name", [*STRONG, "calm"])
def test_rounded_lips_are_left_round(subject: Subject, name: str) -> None:
    rest, face = at_rest(subject), subject[1]
    pout = np.zeros((1, 52))
    pout[0, COLUMN["mouthPucker"]] = 1.0
    rounded = face.moved(rest, pout)
    mouth = [COLUMN[name] for name in ARKIT_NAMES if name.startswith("mouth")]

    def moved(of: Motion) -> float:
        return float(np.abs(face.weights(with_emotions(of, face, {name: 1.0})) - face.weights(of))[0, mouth].sum())

    assert moved(rounded) <= 0.35 * moved(rest) + 0.05


def test_lids_that_close_are_not_held_open(subject: Subject) -> None:
    rest, face = at_rest(subject), subject[1]
    shut = replace(rest, eyelids=np.array([[1.0, 0.0]], np.float32))
    wide = face.weights(with_emotions(shut, face, {"surprised": 1.0}))[0]
    assert wide[COLUMN["eyeWideLeft"]] == pytest.approx(0, abs=1e-5) and wide[COLUMN["eyeWideRight"]] > 0.4


def test_an_intensity_follows_its_curve(subject: Subject) -> None:
    motion, face = subject
    felt = with_emotions(motion, face, {"angry": [[1.0, 0.0], [2.0, 1.0]], "calm": 0.0})
    whole = with_emotions(motion, face, {"angry": 1.0})
    assert np.array_equal(felt.expression[:26], motion.expression[:26])
    assert np.allclose(felt.expression[50:], whole.expression[50:], atol=1e-6)
    assert np.abs(felt.expression - motion.expression)[38].max() > 0.01


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"joy": 1.0}, r"no such emotion(.|\n)*neutral, happy(.|\n)*joy"),
        *(({"sad": value}, "The intensity of sad cannot be used") for value in (-0.1, 1.5, [[0, 0], [1, 2]])),
        ({"sad": "much"}, "A curve cannot be used"),
    ],
)
def test_emotions_that_cannot_be(subject: Subject, asked: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_emotions(*subject, asked)


def test_an_empty_motion_has_none(subject: Subject) -> None:
    motion, face = subject
    nothing = with_emotions(motion[:0], face, {"happy": 1.0})
    assert len(nothing) == 0 and all(len(getattr(nothing, name)) == 0 for name in PER_FRAME)
