"""What `avatar render` says to what it cannot show: what drives an avatar, from where it is seen, and where it goes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import Refused

from avatar.io.take import Take
from avatar.motion import PER_FRAME, Motion


@pytest.fixture
def motion(tiny_take: Take) -> Path:
    return tiny_take.path / "motion.npz"


def test_nothing_drives_the_avatar(refused: Refused, tiny_avatar: Path, motion: Path, speech_file: Path) -> None:
    none = refused("render", tiny_avatar)
    assert none == (
        "error: What drives the avatar is not clear.\n"
        "  Expected: one of --audio FILE, --text TEXT, --text-file FILE, --motion FILE and --video FILE.\n"
        "  Found: none of them.\n"
        "  To do: give one of them; a text beside --audio is its transcript, --audio beside --motion what is heard.\n"
    )
    both = refused("render", tiny_avatar, "--motion", motion, "--video", speech_file)
    assert "Found: --motion and --video." in both


def test_a_motion_that_cannot_be_used(refused: Refused, tiny_avatar: Path, tiny_motion: Motion, tmp_path: Path) -> None:
    def drive(path: Path) -> str:
        return refused("render", tiny_avatar, "--motion", path, "-o", tmp_path / "talk.mp4")

    assert "There is no motion file" in drive(tmp_path / "none.npz")
    for content in (b"", b"hello", b"\x93NUMPY"):
        (tmp_path / "bad.npz").write_bytes(content)
        assert "bad.npz is not a motion file" in drive(tmp_path / "bad.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    assert "array.npy is not a motion file" in drive(tmp_path / "array.npy")
    replace(tiny_motion, head_hash="0123456789abcdef", head_id="other").save(tmp_path / "other.npz")
    text = drive(tmp_path / "other.npz")
    assert "belongs to another head model" in text and "Found: other (0123456789ab)" in text and "To do: " in text
    nothing = {name: getattr(tiny_motion, name)[:0] for name in (*PER_FRAME, "time")}
    replace(tiny_motion, **nothing).save(tmp_path / "empty.npz")
    assert "empty.npz is empty" in drive(tmp_path / "empty.npz")
    rows: dict[str, Any] = {f: getattr(tiny_motion, f) for f in ("time", "betas", *PER_FRAME, "head_id", "head_hash")}
    rows["jaw_pose"] = np.full((len(tiny_motion), 3), np.nan)
    np.savez(tmp_path / "nan.npz", **rows)
    assert "The motion's jaw_pose cannot be used" in drive(tmp_path / "nan.npz")
    assert not (tmp_path / "talk.mp4").exists()


def test_sound_that_cannot_be_used(refused: Refused, tiny_avatar: Path, faceless: Path, tmp_path: Path) -> None:
    text = refused("render", tiny_avatar, "--audio", faceless)
    assert "garden.mp4 has no sound" in text and "Expected: an audio or video file with speech" in text
    assert "no such file" in refused("render", tiny_avatar, "--audio", tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("la la la")
    assert "text.wav is not a media file" in refused("render", tiny_avatar, "--audio", tmp_path / "text.wav")


def test_a_transparent_mp4(refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    output = tmp_path / "talk.mp4"
    text = refused("render", tiny_avatar, "--motion", motion, "--background", "transparent", "-o", output)
    assert text == (
        "error: Only a .mov, a .webm or a folder of pictures can be transparent.\n"
        "  Expected: --output with .mov or .webm, or without a suffix.\n"
        "  Found: .mp4.\n"
        "  To do: choose another --output or another background.\n"
    )
    assert not output.exists()


@pytest.mark.parametrize("name", ["mauve", "#12", "#12345g", "123456", ""])
def test_a_background_that_is_none(
    name: str, refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    text = refused("render", tiny_avatar, "--motion", motion, "--background", name, "-o", tmp_path / "talk.mp4")
    assert "The background cannot be used" in text and "Expected: plate, transparent, black" in text
    assert f"Found: {name!r}" in text


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", "[1]", '[{"time": 0}]', '[{"time": 0, "eye": [0, 1]}]'])
def test_a_camera_file_that_cannot_be_used(
    content: str | None, refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    path = tmp_path / "camera.json"
    if content is not None:
        path.write_text(content)
    text = refused("render", tiny_avatar, "--motion", motion, "--camera", path, "-o", tmp_path / "talk.mp4")
    assert "camera.json" in text and "Expected: " in text
    assert not (tmp_path / "talk.mp4").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("fps", "0"), ("fps", "-3"), ("fps", "nan"), ("size", "0"), ("size", "100000"), ("size", "640x0")],
)
def test_rates_and_sizes_that_cannot_be(
    option: str, value: str, refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    text = refused("render", tiny_avatar, "--motion", motion, f"--{option}", value, "-o", tmp_path / "talk.mp4")
    assert f"The option --{option} cannot be used" in text and "Expected: " in text and f"Found: {value}" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", "tall"), "a number of pixels, or two such as 1280x720"),
        (("--size", "1x2x3"), "a number of pixels, or two such as 1280x720"),
        (("--fov", "180"), "Expected: 1 to 150 degrees"),
        (("--stereo", "sbs", "--size", "8192x8192", "--ipd", "-3"), "Expected: 0 to 500 mm"),
        (("--stereo", "sbs", "--convergence", "0"), "Expected: a distance in metres"),
        (("--size", "8192x8192"), "Expected: sides of up to 16384 pixels, and 36 million pixels in all"),
        (("--stereo", "180", "--size", "8192"), "Found: 16384x8192"),
        (("--convergence", "1"), "add --stereo sbs"),
        (("--stereo", "180", "--fov", "90"), "leave --fov out"),
        (("--stereo", "180", "--convergence", "1"), "leave --convergence out"),
        (("--transparent", "--background", "green"), "one of --transparent and --background"),
        (("--camera", "sideways"), "front, orbit, dolly or a JSON file"),
    ],
)
def test_views_that_cannot_be(
    options: tuple[str, ...], said: str, refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    output = tmp_path / "talk.mov"
    assert said in refused("render", tiny_avatar, "--motion", motion, *options, "-o", output)
    assert not list(tmp_path.iterdir())


def test_a_camera_inside_the_head(
    refused: Refused, tiny_avatar: Path, tiny_motion: Motion, motion: Path, tmp_path: Path
) -> None:
    outputs = ("-o", tmp_path / "talk.mp4", "--depth", "--camera-out", tmp_path / "path.json")
    replace(tiny_motion, transl=np.zeros_like(tiny_motion.transl)).save(tmp_path / "centred.npz")
    text = refused("render", tiny_avatar, "--motion", tmp_path / "centred.npz", *outputs)
    assert "The camera is inside the head at 0.00 s" in text and "check where the motion puts the head" in text
    eye = [float(value) for value in tiny_motion.transl[0]]
    keys = [{"time": 0, "eye": [0, 0, 0]}, {"time": 0.5, "eye": eye, "target": [0, 0, -5]}]
    (tmp_path / "through.json").write_text(json.dumps(keys))
    text = refused("render", tiny_avatar, "--motion", motion, "--camera", tmp_path / "through.json", *outputs)
    assert "The camera is inside the head at " in text
    assert {path.name for path in tmp_path.iterdir()} == {"centred.npz", "through.json"}


def test_pictures_are_not_written_over_others(
    refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    (tmp_path / "talk_depth").mkdir()
    (tmp_path / "talk_depth" / "mine.png").write_text("mine")
    text = refused("render", tiny_avatar, "--motion", motion, "--depth", "-o", tmp_path / "talk")
    assert "talk_depth is in the way" in text and "To do: choose another output, or remove it" in text
    assert [path.name for path in tmp_path.iterdir()] == ["talk_depth"]


def test_an_avatar_of_a_newer_schema(refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_avatar, tmp_path / "me")
    said = json.loads((folder / "avatar.json").read_text())
    (folder / "avatar.json").write_text(json.dumps(said | {"schema": said["schema"] + 1, "novelty": 7}))
    text = refused("render", folder, "--motion", motion, "-o", tmp_path / "talk.mp4")
    assert "has another layout" in text and "To do: update headsplat" in text
    assert not (tmp_path / "talk.mp4").exists()


@pytest.mark.parametrize("name", ["file/talk.mp4", "talk.gif", "file/talk", "file"])
def test_a_video_that_cannot_be_written(
    name: str, refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    text = refused("render", tiny_avatar, "--motion", motion, "-o", tmp_path / name)
    assert "Expected: " in text and "Found: " in text and "To do: " in text


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (
            ("-o", "folder.mp4"),
            "folder.mp4 cannot be written.\n  Expected: a folder that can be written to.\n  Found: a fol",
        ),
        (("-o", "file/a.mp4"), "Found: file is a file."),
        (("-o", "file/pictures"), "Found: file is a file."),
        (("-o", "a.mp4", "--motion-out", "file/m.csv"), "Found: file is a file."),
        (("-o", "a.mp4", "--motion-out", "folder.npz"), "Found: a folder of that name."),
        (("-o", "a.mp4", "--camera-out", "folder.json"), "Found: a folder of that name."),
        (("-o", "a.mp4", "--depth"), "a_depth.mp4 cannot be written"),
    ],
)
def test_outputs_are_looked_at_before_anything_long(
    output: tuple[str, ...], found: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    for name in ("folder.mp4", "folder.npz", "folder.json", "a_depth.mp4"):
        Path(name).mkdir()
    # There is not even an avatar.
    text = refused("render", "none", "--video", "none.mp4", *output)
    assert found in text and text.endswith("To do: choose another output path.\n")
    if len(output) == 2 and output[1].endswith(".mp4"):
        assert found in refused("dub", "none", "--video", "none.mp4", "--audio", "none.wav", *output)
    if output[-2] == "--motion-out":
        assert found in refused("motion", "none.npz", "-o", output[-1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("motion", "folder.npz", "-o", "o.npz"), "Found: a folder."),
        (("motion", "folder.json", "-o", "o.npz"), "Found: a folder."),
        (("motion", "none.csv", "-o", "o.npz"), "There is no file none.csv"),
        (("motion", "MOTION", "-o", "o.npz", "--keys", "folder.json"), "Found: a folder."),
        (("motion", "MOTION", "-o", "o.npz", "--gaze", "folder.json"), "Found: a folder."),
        (
            ("motion", "MOTION", "MOTION", "-o", "o.npz", "--mix", "1", "text.json"),
            "Expected: JSON such as [[0, 1], [2, 0]].",
        ),
        (("motion", "MOTION", "-o", "o.npz", "--smooth", "1e9"), "Expected: 0 to 60 s."),
        (
            ("create", "CLIP", "-o", "o", "--head", "text.json"),
            "Found: something else.\n  To do: name one that `avatar heads",
        ),
        (("takes", "import", "empty", "-o", "o"), "Found: an empty folder."),
        (("takes", "import", "tables", "-o", "o"), "tables is not recognised"),
        (("export", "none"), "To do: check the path, or make one with: avatar create"),
    ],
)
def test_files_that_are_something_else(
    arguments: tuple[str, ...],
    said: str,
    refused: Refused,
    motion: Path,
    faceless: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text("hello")
    for name in ("folder.npz", "folder.json", "empty", "tables/folder.csv"):
        Path(name).mkdir(parents=True)
    given = {"MOTION": motion, "CLIP": faceless}
    text = refused(*(given.get(each, each) for each in arguments))
    assert said in text and "Errno" not in text and "unsafely" not in text
    assert not Path("o").exists() and not Path("o.npz").exists()


def test_pictures_of_eval_that_cannot_be_written(
    refused: Refused, tiny_avatar: Path, tiny_take: Take, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    text = refused("eval", tiny_avatar, "--take", tiny_take.path, "--frames", tmp_path / "file" / "frames")
    assert "cannot be written" in text and "To do: choose another output path" in text
