"""``avatar motion``, and the options of `avatar render` that edit: what they do, and what they refuse."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar import cli
from avatar.commands._edits import straight_gaze
from avatar.editing import FaceMap, GazeKey, look
from avatar.editing.gaze import eyes_place
from avatar.heads import ARKIT_NAMES, Head
from avatar.io.arkit_track import read_arkit_json
from avatar.io.avatar import load_avatar
from avatar.io.livelink import read_livelink
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.render.motions import ease_motion

Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; gives what it prints with --json, or the error text where it fails with a code of 2."""

    def call(*arguments: object, fails: bool = False) -> Any:
        capsys.readouterr()
        command = [str(argument) for argument in arguments]
        if not fails:
            cli.main([*command, "--json"])
            return json.loads(capsys.readouterr().out)
        with pytest.raises(SystemExit) as stop:
            cli.main(command)
        said = capsys.readouterr()
        assert stop.value.code == 2 and said.out == "" and "Traceback" not in said.err, said.err
        return said.err

    return call


@pytest.fixture
def source(tiny_take: Take) -> Path:
    return tiny_take.path / "motion.npz"


def test_everything_at_once_in_the_order_it_says(run: Run, source: Path, tmp_path: Path, open_head: Head) -> None:
    (tmp_path / "felt.json").write_text('{"happy": [[0, 0], [1, 1]]}')
    (tmp_path / "fade.json").write_text("[[0, 1], [5, 0]]")
    (tmp_path / "gaze.json").write_text('[{"time": 0, "at": "camera"}, {"time": 1, "at": [0.3, 0, 0]}]')
    (tmp_path / "keys.csv").write_text("time,channel,value\n0,jawOpen,0.5\n")
    output = tmp_path / "out.npz"
    said = run(
        *("motion", source, source, "-o", output, "--mix", tmp_path / "fade.json", 0.5, "--start", 1, "--end", 5),
        *("--speed", 2, "--fps", 10, "--smooth", 0.1, "--offset", 0.1, "--channels", "pose", "gaze"),
        *("--gain", "pose=0.5", "blinks=0", "--emotion", tmp_path / "felt.json", "calm:0.2"),
        *("--gaze", tmp_path / "gaze.json", "--keys", tmp_path / "keys.csv"),
    )
    assert said == {"output": str(output), "moments": 21, "seconds": 2.0, "head": "open-1"}
    motion = Motion.load(output)
    assert motion.time[0] == 0 and np.allclose(np.diff(motion.time), 0.1)
    face = FaceMap(open_head, motion.betas)
    weights = face.weights(motion)
    assert np.allclose(weights[:, ARKIT_NAMES.index("jawOpen")], 0.5, atol=1e-5)
    assert weights[-1, ARKIT_NAMES.index("mouthSmileLeft")] > weights[0, ARKIT_NAMES.index("mouthSmileLeft")] + 0.2
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_nothing_that_is_read_is_written_over(run: Run, source: Path, tiny_avatar: Path, tmp_path: Path) -> None:
    shutil.copy(source, tmp_path / "a.npz")
    shutil.copytree(tiny_avatar, tmp_path / "me")
    (tmp_path / "me" / "take").mkdir()
    shutil.copy(source, tmp_path / "me" / "take" / "motion.npz")
    for name in ("keys", "gaze", "felt", "fade"):
        (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / "link.npz").symlink_to(tmp_path / "a.npz")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command, film = ("motion", source, tmp_path / "a.npz"), ("-o", tmp_path / "a.mp4")
    says = {
        "INPUTS": (*command, "-o", tmp_path / "link.npz", "--smooth", 0.1),
        "--keys": (*command, "-o", tmp_path / "keys.json", "--keys", tmp_path / "keys.json"),
        "--gaze": (*command, "-o", tmp_path / "gaze.json", "--gaze", tmp_path / "gaze.json"),
        "--emotion": (*command, "-o", tmp_path / "felt.json", "--emotion", tmp_path / "felt.json"),
        "--mix": (*command, "-o", tmp_path / "fade.json", "--mix", 1, tmp_path / "fade.json"),
        "--avatar": (*command, "-o", tmp_path / "me" / "take" / "motion.npz", "--avatar", tmp_path / "me"),
        "AVATAR": (
            "render",
            tmp_path / "me",
            "--motion",
            source,
            *film,
            "--camera-out",
            tmp_path / "me" / "avatar.json",
        ),
    }
    for name, arguments in says.items():
        text = run(*arguments, fails=True)
        assert "would be written over.\n  Expected: another file than " + name in text, name
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_formats_there_and_back(run: Run, source: Path, tiny_avatar: Path, tmp_path: Path) -> None:
    own = Motion.load(source)
    for name in ("a.csv", "a.json"):
        run("motion", source, "-o", tmp_path / name)
        run("motion", tmp_path / name, "--avatar", tiny_avatar, "-o", tmp_path / "back.npz")
        back = Motion.load(tmp_path / "back.npz")
        assert np.allclose(back.time, own.time - own.time[0], atol=1e-4)
        assert np.allclose(back.jaw_pose[:, 0], own.jaw_pose[:, 0], atol=2e-3)
        assert np.allclose(back.eyelids, own.eyelids.clip(0, 1), atol=1e-4)
        run("motion", tmp_path / name, "-o", tmp_path / "other.json")
        again = read_arkit_json(tmp_path / "other.json")
        first = read_livelink(tmp_path / name) if name.endswith("csv") else read_arkit_json(tmp_path / name)
        assert np.allclose(again.weights, first.weights, atol=5e-3)
    # Nobody's face stands before the camera.
    run("motion", tmp_path / "a.csv", "-o", tmp_path / "nobody.npz")
    assert Motion.load(tmp_path / "nobody.npz").transl[0, 2] < -0.5


def test_parts_of_two_motions_are_put_together(run: Run, source: Path, tmp_path: Path) -> None:
    run("motion", source, "-o", tmp_path / "late.npz", "--offset", 0.5)
    run("motion", source, tmp_path / "late.npz", "--mix", 0, 1, "--channels", "pose", "-o", tmp_path / "both.npz")
    own, late, both = (Motion.load(path) for path in (source, tmp_path / "late.npz", tmp_path / "both.npz"))
    assert np.allclose(both.neck_pose, late.neck_pose, atol=1e-6) and np.array_equal(both.expression, own.expression)


def test_render_edits_what_it_shows(
    run: Run, source: Path, tiny_avatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Motion] = []

    def keep(stored: object, motion: Motion, *_: object, **__: object) -> dict[str, int]:
        shown.append(motion)
        return {"frames": len(motion)}

    monkeypatch.setattr("avatar.commands.render.render_shot", keep)
    (tmp_path / "keys.json").write_text('[{"time": 0, "channel": "eyeBlinkLeft", "value": 1}]')
    run("motion", source, "-o", tmp_path / "a.csv")
    common = ("render", tiny_avatar, "-o", tmp_path / "a.mp4", "--motion")
    run(*common, source)
    run(*common, source, "--emotion", "happy:0.8", "--gain", "mouth=1.2", "blinks=0", "--keys", tmp_path / "keys.json")
    run(*common, source, "--gaze", "camera")
    run(*common, source, "--gaze", "camera", "--camera", "orbit")
    run(*common, tmp_path / "a.csv")
    own, felt, front, orbit, live = shown
    assert np.allclose(felt.jaw_pose, 1.2 * own.jaw_pose, atol=1e-6) and np.allclose(felt.eyelids[:, 0], 1.0)
    assert felt.eyelids[:, 1].max() <= np.median(own.eyelids[:, 1]) + 1e-5
    assert np.abs(felt.expression - own.expression).max() > 0.1 and np.array_equal(felt.transl, own.transl)
    assert np.abs(front.leye_pose - orbit.leye_pose).max() > 0.05
    assert np.allclose(live.jaw_pose[:, 0], own.jaw_pose[:, 0], atol=2e-3)


def test_at_ease_the_subject_looks_at_the_lens(tiny_avatar: Path) -> None:
    stored = load_avatar(tiny_avatar)
    ease, face = ease_motion(stored), FaceMap(stored.gaussians.head, stored.gaussians.betas.numpy())
    seen = look(ease, face, [GazeKey(0.0, "camera")], straight=straight_gaze(stored))
    both = (ease.leye_pose[0, :2] + ease.reye_pose[0, :2]) / 2
    assert np.allclose(seen.leye_pose[0, :2], both, atol=1e-6) and eyes_place(ease, face)[0][0, 2] < -0.3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "a.fbx"), "Expected: --output with one of .npz, .csv, .json"),
        (("--start", "9"), "within 0 to 7.250 s"),
        (("--speed", "0"), "The speed cannot be used"),
        (("--channels", "nose"), "Expected: mouth, brows, cheeks, blinks, gaze, pose"),
        (("--gain", "mouth"), "NAME=NUMBER, such as mouth=1.2"),
        (("--gain", "mouth=much"), "Found: mouth=much"),
        (("--gain", "nose=1"), "There is no such channel"),
        (("--emotion", "joy"), "Expected: neutral, happy, sad, angry, surprised, emphatic, calm"),
        (("--emotion", "happy:2"), "The intensity of happy cannot be used"),
        (("--emotion", "happy:much"), "NAME or NAME:0.5"),
        (("--emotion", "none.json"), "There is no file none.json"),
        (("--gaze", "up"), "camera, a point x,y,z in metres, or a .json file"),
        (("--gaze", "1,2"), "Found: 1,2"),
        (("--gaze", "1,2,nan"), "Found: 1,2,nan"),
        (("--keys", "none.csv"), "There is no file none.csv"),
        (("--mix", "0.5"), "at least two inputs"),
        (("--mix", "1", "2"), "at least two inputs"),
    ],
)
def test_options_that_cannot_be(
    run: Run, source: Path, tmp_path: Path, options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = run("motion", source, *(() if "-o" in options else ("-o", "out.npz")), *options, fails=True)
    assert said in text
    assert not list(tmp_path.iterdir())


def test_each_motion_of_a_mix_needs_its_weight(run: Run, source: Path, tmp_path: Path) -> None:
    text = run("motion", source, source, "--mix", "1", "-o", tmp_path / "out.npz", fails=True)
    assert "2 weights, one an input" in text
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be(run: Run, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    for name, content, said in (
        ("a.csv", "a,b\n1,2\n", "a CSV of Live Link Face"),
        ("a.json", "{}", "Expected: JSON such as"),
        ("a.npz", "hello", "is not a motion file"),
        ("a.wav", "", "ends in one of .npz, .csv, .json"),
    ):
        (tmp_path / name).write_text(content)
        assert said in run("motion", tmp_path / name, "-o", output, fails=True)
    missing = {"no.csv": "no such CSV", "no.json": "There is no file", "no.npz": "There is no motion file"}
    for name, said in missing.items():
        assert said in run("motion", tmp_path / name, "-o", output, fails=True)
    for content in ("{", "[]", '[{"time": 0, "at": "left"}]', '[{"time": 0}]'):
        (tmp_path / "gaze.json").write_text(content)
        text = run("motion", source, "-o", output, "--gaze", tmp_path / "gaze.json", fails=True)
        assert "gaze.json cannot be read" in text
    for content in ("[1, 2]", '{"happy": "much"}', '{"happy": [[1, 0], [0, 1]]}'):
        (tmp_path / "felt.json").write_text(content)
        text = run("motion", source, "-o", output, "--emotion", tmp_path / "felt.json", fails=True)
        assert "felt.json cannot be read" in text
    assert "cannot be written" in run("motion", source, "-o", tmp_path / "no" / "a.npz", fails=True)
    assert not output.exists()


def test_no_motion_at_all(run: Run, tmp_path: Path) -> None:
    said = run("motion", "-o", tmp_path / "out.npz", fails=True)
    assert "There is no motion to edit.\n  Expected: one or more files that end in .npz, .csv, .json.\n" in said
