"""Looks and key-frames: what they set, when, and from which files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatar.editing import FaceMap, GazeKey, Key, look, override, read_keys
from avatar.editing.gaze import REACH, eyes_place
from avatar.errors import FormatError, InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.motion import Motion

Subject = tuple[Motion, FaceMap]


def column(motion: Motion, face: FaceMap, name: str) -> np.ndarray:
    return face.weights(motion)[:, ARKIT_NAMES.index(name)]


def irises(motion: Motion, face: FaceMap) -> tuple[np.ndarray, np.ndarray]:
    """Middle of both eyeballs and of both irises on the posed head, metres."""
    pose = torch.as_tensor(motion.pose)
    vertices = face.head(betas=torch.as_tensor(face.betas)[None], pose=pose, transl=torch.as_tensor(motion.transl))
    balls = np.concatenate([np.arange(*face.head.parts[name]) for name in ("eye_l", "eye_r")])
    points = face.head.landmark_positions(vertices).numpy()
    return vertices[:, balls].mean(1).numpy(), points[:, [468, 473]].mean(1)


def test_the_eyes_place_is_the_posed_heads(subject: Subject) -> None:
    motion, face = subject
    middle, turned = eyes_place(motion, face)
    joints = face.head.joints(torch.as_tensor(face.betas)[None])[0, 3:].mean(0).numpy()
    balls, _ = irises(replace(motion, leye_pose=0 * motion.leye_pose, reye_pose=0 * motion.reye_pose), face)
    rest, _ = irises(replace(motion[:1], **{n: 0 * getattr(motion[:1], n) for n in motion_rows()}), face)
    assert np.allclose(middle + turned.apply(rest[0] - joints), balls, atol=1e-4)


def motion_rows() -> tuple[str, ...]:
    return ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose", "transl")


@pytest.mark.parametrize("target", [(0.0, 0.0, 0.0), (0.12, -0.05, 0.1)])
def test_eyes_look_at_a_point_within_their_reach(subject: Subject, target: tuple[float, float, float]) -> None:
    motion, face = subject
    seen = look(motion, face, [GazeKey(0.0, target)])
    assert np.array_equal(seen.leye_pose, seen.reye_pose) and not seen.leye_pose[:, 2].any()
    middle, turned = eyes_place(motion, face)
    eye = Rotation.from_rotvec(seen.leye_pose)
    ahead = (turned * Rotation.from_euler("yx", seen.leye_pose[:, [1, 0]])).apply([0.0, 0.0, 1.0])
    wanted = np.array(target) - middle
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    reached = (np.abs(seen.leye_pose[:, 0]) < REACH[1] - 1e-3) & (np.abs(seen.leye_pose[:, 1]) < REACH[0] - 1e-3)
    assert reached.sum() > 10
    assert np.degrees(np.arccos((ahead * wanted).sum(1).clip(-1, 1)))[reached].max() < 0.5
    assert np.degrees(eye.magnitude()).max() < 20.0


def test_a_look_lasts_as_long_as_it_is_asked_for(subject: Subject) -> None:
    motion, face = subject
    keys = [GazeKey(1.0, "camera"), GazeKey(2.0, (0.3, 0.0, 0.0)), GazeKey(3.0, "own")]
    seen, always = look(motion, face, keys), look(motion, face, [GazeKey(0.0, "camera")])
    assert np.array_equal(seen.leye_pose[:25], motion.leye_pose[:25])
    assert np.allclose(seen.leye_pose[28:50], always.leye_pose[28:50], atol=1e-6)
    assert seen.reye_pose[55:74, 1].min() > always.reye_pose[55:74, 1].max() - 0.05
    assert np.allclose(seen.leye_pose[78:, :2], motion.leye_pose[78:, :2], atol=1e-6)
    # The camera of a film may move, and a subject's eyes may be off.
    camera = np.tile([0.3, 0.0, 0.0], (len(motion), 1))
    moved = look(motion, face, [GazeKey(0.0, "camera")], camera=camera, straight=np.array([0.05, 0.0]))
    same = look(motion, face, [GazeKey(0.0, (0.3, 0, 0))])
    assert np.allclose(moved.leye_pose - same.leye_pose, [0.05, 0, 0], atol=1e-6)


def test_looks_that_cannot_be(subject: Subject) -> None:
    for times in ((1.0, 1.0), (float("nan"), 0.0)):
        with pytest.raises(InputError, match="The gaze cannot be used"):
            look(*subject, [GazeKey(time, "camera") for time in times])
    assert look(*subject, []) is subject[0]


def test_keys_are_held_and_joined_as_they_say(subject: Subject) -> None:
    motion, face = subject
    keys = [Key(1.0, "jawOpen", 0.2), Key(2.0, "jawOpen", 0.8, "smooth"), Key(3.0, "jawOpen", 0.0, "step")]
    keyed = column(override(motion, face, keys[::-1]), face, "jawOpen")
    seconds = motion.time - motion.time[0]
    assert np.allclose(keyed[seconds < 1], 0.2, atol=1e-5) and np.allclose(keyed[seconds >= 3], 0.0, atol=1e-5)
    line = (seconds >= 1) & (seconds < 2)
    assert np.allclose(keyed[line], 0.2 + 0.6 * (seconds[line] - 1), atol=1e-5)
    curve, part = (seconds >= 2) & (seconds < 3), seconds - 2
    assert np.allclose(keyed[curve], 0.8 * (1 - 3 * part**2 + 2 * part**3)[curve], atol=1e-5)


def test_own_is_what_the_motion_does(subject: Subject) -> None:
    motion, face = subject
    keys = [Key(1.0, "eyeBlinkLeft", "own"), Key(1.2, "eyeBlinkLeft", 1.0), Key(2.0, "eyeBlinkLeft", 1.0)]
    keyed = override(motion, face, [*keys, Key(2.2, "eyeBlinkLeft", "own")])
    seconds = motion.time - motion.time[0]
    outside = (seconds <= 1.0) | (seconds >= 2.2)
    assert np.allclose(keyed.eyelids[outside], motion.eyelids[outside], atol=1e-6)
    assert np.allclose(keyed.eyelids[(seconds >= 1.2) & (seconds <= 2.0), 0], 1.0, atol=1e-6)
    assert np.array_equal(keyed.eyelids[:, 1], motion.eyelids[:, 1])


def test_heads_turn_to_the_angles_about_their_mean(subject: Subject) -> None:
    motion, face = subject
    keyed = override(motion, face, [Key(0.0, "headYaw", 20.0), Key(0.0, "headPitch", 10.0), Key(0.0, "headRoll", 0.0)])
    turns = [Rotation.from_rotvec(m.global_orient) * Rotation.from_rotvec(m.neck_pose) for m in (motion, keyed)]
    away = turns[0].mean().inv() * turns[1]
    assert np.ptp(away.as_rotvec(), axis=0).max() < 1e-5
    nose = away[0].apply([0.0, 0.0, 1.0])
    assert nose[0] > 0.3 and nose[1] > 0.15


def test_an_eye_told_to_look_up_does_not_look_down(subject: Subject) -> None:
    motion, face = subject
    down = replace(motion, leye_pose=motion.leye_pose * 0 + np.array([0.1, 0.05, 0], np.float32))
    keyed = override(down, face, [Key(0.0, "eyeLookUpLeft", 0.5)])
    assert np.allclose(keyed.leye_pose[:, 0], -0.5 * face.head.eye_look_angles[0], atol=1e-5)
    assert np.allclose(keyed.leye_pose[:, 1], 0.05, atol=1e-6)


def test_keys_from_both_kinds_of_file(tmp_path: Path) -> None:
    table = tmp_path / "keys.csv"
    table.write_text("\ufefftime, channel, value, interpolation\n0.5, jawOpen, 0.25, smooth\n\n1,headYaw,own,\n")
    rows = [{"time": 0.5, "channel": "jawOpen", "value": 0.25, "interpolation": "smooth"}]
    rows.append({"time": 1, "channel": "headYaw", "value": "own"})
    expected = [Key(0.5, "jawOpen", 0.25, "smooth"), Key(1.0, "headYaw", "own")]
    assert read_keys(table) == expected
    for content in (rows, {"keys": rows}):
        (tmp_path / "keys.json").write_text(json.dumps(content))
        assert read_keys(tmp_path / "keys.json") == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "the columns of an empty file"),
        ("a.csv", "time,value\n0,1\n", "the columns time, value"),
        ("a.csv", "time,channel,value\n", "no keys"),
        ("a.csv", "time,channel,value\nsoon,jawOpen,1\n", "time"),
        ("a.csv", "time,channel,value\n0,jawopen,1\n", "'jawopen'"),
        ("a.csv", "time,channel,value\n0,jawOpen,2\n", "0 to 1, or own"),
        ("a.csv", "time,channel,value\n0,jawOpen,nan\n", "0 to 1, or own"),
        ("a.csv", "time,channel,value\n0,headYaw,120\n", "-90 to 90"),
        ("a.csv", "time,channel,value\n0,jawOpen,1,linear,more\n", "more cells than columns in line 2"),
        ("a.csv", "time,channel,value,interpolation\n0,jawOpen,1,curly\n", "interpolation"),
        ("a.csv", "time,channel,value\n0,jawOpen\n", "value"),
        ("a.csv", b"\xff\xfe\x00", "no text"),
        ("a.json", "{", "truncated"),
        ("a.json", "7", "array"),
        ("a.json", '[{"time": 0, "channel": "jawOpen", "value": 1, "ease": 2}]', "ease"),
    ],
)
def test_files_that_hold_no_keys(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FormatError, match="keys: a CSV with the columns") as error:
        read_keys(path)
    assert said in error.value.found
    with pytest.raises(InputError, match="There is no file"):
        read_keys(tmp_path / "none.csv")


def test_keys_that_cannot_be(subject: Subject) -> None:
    with pytest.raises(InputError, match="one key a time"):
        override(*subject, [Key(0.0, "jawOpen", 0.1), Key(0.0, "jawOpen", 0.2)])
    with pytest.raises(InputError, match="an ARKit action such as jawOpen"):
        override(*subject, [Key(0.0, "jaw", 0.1)])
