"""Faces over time in files: ARKit JSON, Live Link CSV, and to motions and back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.editing import motion_of, track_of
from avatar.errors import FormatError, InputError
from avatar.heads import Head
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.arkit_track import ArkitTrack, read_arkit_json, write_arkit_json
from avatar.io.livelink import read_livelink, write_livelink
from avatar.motion import Motion

JAW = ARKIT_NAMES.index("jawOpen")
WRITERS = {".json": (write_arkit_json, read_arkit_json), ".csv": (write_livelink, read_livelink)}


@pytest.fixture
def track() -> ArkitTrack:
    rng = np.random.default_rng(0)
    return ArkitTrack(np.arange(7) / 25, rng.uniform(size=(7, 52)), rng.normal(size=(7, 3)) * 0.2)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_track_comes_back(kind: str, track: ArkitTrack, tmp_path: Path) -> None:
    write, read = WRITERS[kind]
    write(tmp_path / f"face{kind}", track)
    back = read(tmp_path / f"face{kind}")
    assert np.allclose(back.time, track.time, atol=2e-5) and np.allclose(back.weights, track.weights, atol=1e-6)
    assert np.allclose(back.turns, track.turns, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [f"face{kind}"]


@pytest.mark.parametrize("rate", [24, 25, 29.97, 30, 59.94, 60, 120])
@pytest.mark.parametrize("count", [1, 2, 5, 400])
def test_live_link_s_clock_is_found_at_any_rate_and_length(rate: float, count: int, tmp_path: Path) -> None:
    track = ArkitTrack(5.0 + np.arange(count) / rate, np.zeros((count, 52)), np.zeros((count, 3)))
    write_livelink(tmp_path / "a.csv", track)
    assert np.allclose(read_livelink(tmp_path / "a.csv").time, np.arange(count) / rate, atol=2e-5)


def test_live_link_s_columns_are_the_app_s(track: ArkitTrack, tmp_path: Path) -> None:
    write_livelink(tmp_path / "a.csv", track)
    head, first = (tmp_path / "a.csv").read_text().splitlines()[:2]
    names, cells = head.split(","), first.split(",")
    assert names[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"] and names[53:55] == ["TongueOut", "HeadYaw"]
    assert len(names) == len(cells) == 63 and cells[:2] == ["00:00:00:59.000", "61"] and names[-1] == "RightEyeRoll"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_motion_comes_back_with_its_face_and_its_turns(
    kind: str, open_head: Head, tiny_motion: Motion, tmp_path: Path
) -> None:
    """What ARKit can say: weights within 0 and 1; the head's place is the rest's."""
    write, read = WRITERS[kind]
    few = tiny_motion[::3]
    few = replace(few, jaw_pose=few.jaw_pose * [1, 0, 0], eyelids=few.eyelids.clip(0, 1))
    write(tmp_path / f"a{kind}", track_of(few, open_head))
    back = motion_of(read(tmp_path / f"a{kind}"), open_head, few)
    assert np.allclose(back.time, few.time - few.time[0], atol=2e-5)
    for name in ("jaw_pose", "eyelids"):
        assert np.allclose(getattr(back, name), getattr(few, name), atol=1e-4), name
    assert np.abs(back.expression - few.expression).max() < 0.05
    for name in ("leye_pose", "reye_pose"):
        assert np.allclose(getattr(back, name), getattr(few, name), atol=1e-4), name
    for one, other in zip(turned(few), turned(back), strict=True):
        assert (one.inv() * other).magnitude() < 5e-3
    assert np.allclose(back.transl, few.transl.mean(0), atol=1e-6)


def turned(motion: Motion) -> Rotation:
    """How the head is turned about its mean."""
    turns = Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)
    return turns.mean().inv() * turns


def test_json_in_the_forms_that_others_write(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    row = [0.0] * 52
    row[JAW] = 0.5
    forms = [
        {"fps": 10, "frames": [{"weights": {"jawOpen": 0.5, "_neutral": 0.2}}, {"weights": row, "head": None}]},
        {"frames": [{"time": 0, "weights": row}, {"time": 0.1, "weights": {"JawOpen": 0.5}}]},
        {"fps": 10, "names": ["jawOpen", "tongueOut"], "frames": [{"weights": [0.5, 0]}, {"weights": [0.5, 0]}]},
        {"exportFps": 10, "numFrames": 2, "facsNames": ["JawOpen", "CheekPuff"], "weightMat": [[0.5, 0], [0.5, 0]]},
    ]
    for form in forms:
        path.write_text(json.dumps(form))
        track = read_arkit_json(path)
        assert np.allclose(track.time, [0, 0.1]) and not track.turns.any()
        assert np.allclose(track.weights[:, JAW], 0.5) and track.weights.sum() == 1.0


@pytest.mark.parametrize(
    ("content", "found"),
    [
        *(("", "truncated"), ("{", "truncated"), ("[]", "a list"), ("7", "an int"), ("{}", "no 'frames'")),
        ('{"frames": []}', "no frames"),
        ('{"frames": [{"weights": []}]}', "without a time"),
        ('{"fps": 30, "frames": [{"weights": [1, 2]}]}', "2 weights for 52 names"),
        ('{"fps": 30, "frames": [{"weights": {"jaw": 1}}]}', "'jaw', which is no name of ARKit's"),
        ('{"fps": 30, "frames": [{"weights": {"jawOpen": "wide"}}]}', "wide"),
        ('{"fps": 30, "frames": [{"weights": {}, "head": [1, 2]}]}', "not three numbers"),
        ('{"frames": [{"time": 1, "weights": {}}, {"time": 1, "weights": {}}]}', "do not increase"),
        ('{"fps": 30, "frames": [{"weights": {"jawOpen": 1e999}}]}', ""),
        ('{"fps": 30, "frames": [1]}', ""),
    ],
)
def test_json_that_is_no_face(content: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(FormatError, match="cannot be read") as error:
        read_arkit_json(path)
    assert found.replace("an int", "a int") in error.value.found
    with pytest.raises(InputError, match="There is no file"):
        read_arkit_json(tmp_path / "none.json")


def test_a_place_that_cannot_be_written(track: ArkitTrack, tmp_path: Path) -> None:
    for kind, (write, _) in WRITERS.items():
        with pytest.raises(InputError, match="cannot be written"):
            write(tmp_path / "no" / f"a{kind}", track)
