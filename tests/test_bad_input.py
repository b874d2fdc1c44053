"""What the command line says to input it cannot use: the texts are part of the interface."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import Refused, tree

from avatar import cli
from avatar.heads import Head
from avatar.io.avatar import pack_avatar
from avatar.io.take import Take
from avatar.io.video import probe
from avatar.speech.general import GENERAL_NOTE, GeneralSpeech
from avatar.train.speaking import fit_speaking

# The clip.


def test_a_missing_clip(refused: Refused, tmp_path: Path) -> None:
    text = refused("create", tmp_path / "me.mp4", "-o", tmp_path / "me")
    assert text == (
        f"error: {tmp_path / 'me.mp4'} cannot be read.\n"
        "  Expected: a video or audio file.\n"
        "  Found: no such file.\n"
        "  To do: check the path.\n"
    )
    assert not (tmp_path / "me").exists()


def test_a_folder_for_a_clip(refused: Refused, tmp_path: Path) -> None:
    assert "Found: a folder.\n" in refused("create", tmp_path, "-o", tmp_path / "me")


@pytest.mark.parametrize(
    ("content", "found", "fix"),
    [
        (b"Dear reader, this is no video.", "Found: plain text.", "give the recording itself"),
        (b"", "Found: 0 bytes.", "copy or record the file again"),
        (b"\0\x01\x02\x03" * 50, "Found: unknown content that begins with 00 01 02 03", "convert it with ffmpeg"),
    ],
)
def test_something_else_named_mp4(content: bytes, found: str, fix: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "me.mp4").write_bytes(content)
    for command in ("create", "preprocess"):
        text = refused(command, tmp_path / "me.mp4", "-o", tmp_path / "out")
        assert found in text and fix in text and "Expected: a video or audio file that FFmpeg can open" in text
    assert not (tmp_path / "out").exists()


def test_a_clip_that_was_cut_off(refused: Refused, faceless: Path, tmp_path: Path) -> None:
    data = faceless.read_bytes()
    start = data.index(b"moov")
    # Without its index, as a recorder leaves it that lost power: the index comes last, or is taken out.
    cut = data[: start - 4] if start > len(data) // 2 else data[: start - 4] + b"\0\0\0\x08mdat"
    (tmp_path / "me.mp4").write_bytes(cut)
    text = refused("create", tmp_path / "me.mp4", "-o", tmp_path / "me")
    assert "me.mp4 is cut off" in text and "without one: the recording or the copy stopped" in text
    assert "To do: copy the file again" in text


def test_a_clip_without_pictures(refused: Refused, tmp_path: Path, speech_file: Path) -> None:
    text = refused("create", speech_file, "-o", tmp_path / "me")
    assert "has no video" in text and "Found: audio only" in text and "To do: give a video file" in text


@pytest.mark.usefixtures("perception_parts")
def test_a_clip_of_nobody(refused: Refused, faceless: Path, tmp_path: Path) -> None:
    text = refused("create", faceless, "-o", tmp_path / "me")
    assert "garden.mp4 shows too little of a face" in text
    assert "Expected: a face in at least 50 frames and 2 s" in text
    assert "Found: no face found in 75 frames (3.0 s)" in text
    assert "To do: record one person who faces the camera" in text
    assert not (tmp_path / "me" / "take").exists() and not (tmp_path / "me" / "avatar.json").exists()
    # The folder was not spoiled for the right clip.
    (tmp_path / "better.mp4").write_bytes(faceless.read_bytes() + b"\0\0\0\x08free")
    assert "shows too little of a face" in refused("create", tmp_path / "better.mp4", "-o", tmp_path / "me")


@pytest.mark.parametrize("size", ["0", "-5", "63"])
def test_a_picture_too_small_to_learn_from(size: str, refused: Refused, faceless: Path, tmp_path: Path) -> None:
    text = refused("create", faceless, "-o", tmp_path / "me", "--size", size)
    assert "--size cannot be used" in text and "at least 64 pixels" in text and f"Found: {size}." in text
    assert not (tmp_path / "me").exists()


@pytest.mark.usefixtures("speech_part")
def test_the_general_model_speaks_for_an_avatar_of_a_silent_clip(
    take_copy: Take,
    open_head: Head,
    tiny_avatar: Path,
    speech_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    speech, life, figures = fit_speaking(take_copy, open_head)
    assert isinstance(speech, GeneralSpeech) and len(life.track)
    assert figures == {
        "driven": False,
        "note": "the clip has no sound: the general speech model speaks for the avatar",
    }
    cli.main(["render", str(tiny_avatar), "--audio", str(speech_file), "-o", str(tmp_path / "talk.mp4"), "--json"])
    said = capsys.readouterr()
    assert GENERAL_NOTE in " ".join(said.err.split()) and probe(tmp_path / "talk.mp4").has_audio


# The output folder.


@pytest.mark.parametrize("command", ["create", "preprocess"])
def test_an_output_folder_that_cannot_be_written(
    command: str, refused: Refused, faceless: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    text = refused(command, faceless, "-o", tmp_path / "file" / "me")
    assert "cannot be written" in text and "Expected: a folder that can be written to" in text
    assert "Found: Not a directory" in text and "To do: choose another folder with -o" in text
    assert "Found: a file of that name" in refused(command, faceless, "-o", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def started_job(folder: Path, **changes: object) -> Path:
    """The folder of a job that has looked at another clip."""
    folder.mkdir()
    stages = {"ingest": {"seconds": 1.0, "peak_rss_mb": 1.0}}
    job = {"source": "holiday.mp4", "source_sha256": "ab" * 32, "settings": {"size": 512}, "stages": stages}
    (folder / "job.json").write_text(json.dumps(job | changes))
    (folder / "avatar.json").write_text("precious")
    return folder


@pytest.mark.parametrize("command", ["create", "preprocess"])
def test_the_folder_of_another_clip_is_left_alone(
    command: str, refused: Refused, faceless: Path, tmp_path: Path
) -> None:
    folder = started_job(tmp_path / "me")
    before = tree(folder)
    text = refused(command, faceless, "-o", folder)
    assert f"{folder} already holds an avatar of another clip" in text
    assert "Expected: holiday.mp4 or an empty folder" in text and "Found: garden.mp4 with other content" in text
    assert "To do: choose another output folder with -o" in text
    assert tree(folder) == before


def test_the_folder_of_another_size_is_left_alone(refused: Refused, faceless: Path, tmp_path: Path) -> None:
    from avatar.models.cache import sha256_of

    folder = started_job(tmp_path / "me", source_sha256=sha256_of(faceless))
    before = tree(folder)
    text = refused("create", faceless, "-o", folder, "--size", "256")
    assert "already holds a take of another size" in text and "Expected: --size 512" in text and "Found: 256" in text
    assert tree(folder) == before


def test_what_is_read_is_not_written_over(
    refused: Refused, take_copy: Take, faceless: Path, tiny_avatar: Path, tmp_path: Path
) -> None:
    shutil.copy(faceless, tmp_path / "tracking.mp4")
    pack_avatar(tiny_avatar, tmp_path / "me.avatar")
    before = tree(tmp_path), tree(take_copy.path)
    text = refused("train", take_copy.path, "-o", take_copy.path)
    assert f"{take_copy.path} is the take itself.\n  Expected: another folder for what is made of it." in text
    for command in (("preprocess", tmp_path / "tracking.mp4", "-o", tmp_path), ("export", tmp_path / "me.avatar")):
        text = refused(*command, *(() if "-o" in command else ("-o", tmp_path / "me.avatar")))
        assert "would be written over.\n  Expected: another file than " in text and "the same file" in text
    assert (tree(tmp_path), tree(take_copy.path)) == before


@pytest.mark.parametrize("content", ["", "{", '{"source": 3}', "[]"])
def test_a_damaged_job(content: str, refused: Refused, faceless: Path, tmp_path: Path) -> None:
    folder = started_job(tmp_path / "me")
    (folder / "job.json").write_text(content)
    text = refused("create", faceless, "-o", folder)
    assert "job.json cannot be read" in text and "Expected: JSON of Job" in text and "Found: " in text
    assert (folder / "job.json").read_text() == content


# The take.


def test_a_take_that_is_none(refused: Refused, tmp_path: Path) -> None:
    text = refused("train", tmp_path, "-o", tmp_path / "me")
    assert (
        "is not a take" in text and "a folder with a take.json" in text and "`avatar preprocess VIDEO -o TAKE`" in text
    )
    assert not (tmp_path / "me").exists()


def test_an_unfinished_take(refused: Refused, take_copy: Take, tmp_path: Path) -> None:
    (take_copy.path / "motion.npz").unlink()
    text = refused("train", take_copy.path, "-o", tmp_path / "me")
    assert "is not finished" in text and "Expected: motion.npz" in text and "run `avatar preprocess`" in text
    assert not (tmp_path / "me").exists()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("take.json", b"{", "take.json cannot be read"),
        ("take.json", b'{"schema": 9}', "Found: schema 9"),
        ("motion.npz", b"", "is not a motion file"),
        ("motion.npz", b"PK\x03\x04 and no more", "is not a motion file"),
        ("motion.npz", None, "is not a motion file"),
        ("frames.npz", None, "frames.npz cannot be read"),
        ("perception.npz", b"hello", "perception.npz cannot be read"),
        ("images/00029.png", b"no picture", "00029.png cannot be read"),
        ("background.png", b"", "background.png cannot be read"),
    ],
)
def test_a_damaged_take(
    name: str, content: bytes | None, found: str, refused: Refused, take_copy: Take, tiny_avatar: Path
) -> None:
    path = take_copy.path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    text = refused("eval", tiny_avatar, "--take", take_copy.path)
    assert found in text and "Expected: " in text and "Found: " in text


def test_a_take_without_frames_to_learn_from(
    refused: Refused, take_copy: Take, tiny_avatar: Path, tmp_path: Path
) -> None:
    take_copy.write_frames(take_copy.times, np.arange(len(take_copy)) < 9)
    for command in (("train", take_copy.path, "-o", tmp_path / "me"), ("eval", tiny_avatar, "--take", take_copy.path)):
        text = refused(*command)
        assert "has too few frames" in text and "Found: 9" in text
    assert not (tmp_path / "me").exists()


# The avatar.


def test_an_avatar_that_is_none(refused: Refused, tmp_path: Path, tiny_take: Take) -> None:
    for command in (("render", "--motion", tiny_take.path / "motion.npz"), ("eval",)):
        text = refused(command[0], tmp_path / "none", *command[1:])
        assert "There is no avatar at" in text and "Expected: an avatar folder or an .avatar file" in text
        text = refused(command[0], tmp_path, *command[1:])
        assert "is not an avatar" in text and "To do: make one with: avatar create VIDEO -o FOLDER" in text


def test_a_damaged_avatar(refused: Refused, tiny_avatar: Path, tiny_take: Take, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_avatar, tmp_path / "me")
    (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:5000])
    text = refused("eval", folder, "--take", tiny_take.path)
    assert f"The avatar {folder} is damaged" in text
    assert "Expected: avatar.json and weights.safetensors as written" in text


def test_eval_of_a_packed_avatar_asks_for_its_take(refused: Refused, tiny_avatar: Path, tmp_path: Path) -> None:
    pack_avatar(tiny_avatar, tmp_path / "me.avatar")
    assert refused("eval", tmp_path / "me.avatar") == (
        f"error: There is no take inside {tmp_path / 'me.avatar'}.\n"
        "  Expected: the take that the avatar was trained on.\n"
        "  Found: nothing.\n"
        "  To do: name its folder with --take.\n"
    )


# The rest of the command line.


def test_a_part_that_there_is_none_of(refused: Refused) -> None:
    for action in ("fetch", "verify", "list"):
        text = refused("models", action, "face_swapper")
        assert "There is no pretrained part 'face_swapper'" in text and "Expected: one of face_landmarker" in text


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["render"], ["create", "a.mp4", "--preset", "best"], ["eval", "-x"]]
)
def test_options_that_there_are_none_of(arguments: list[str], refused: Refused) -> None:
    assert "avatar" in refused(*arguments)


def test_what_may_not_be_read(
    refused: Refused, tiny_avatar: Path, tiny_take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, plain, motion = tmp_path / "me.avatar", Path.open, tiny_take.path / "motion.npz"
    pack_avatar(tiny_avatar, packed)

    def shut(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == motion:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", shut)
    text = refused("motion", motion, "-o", tmp_path / "o.npz")
    assert f"{motion} cannot be used.\n  Found: Permission denied.\n  To do: check what is there" in text
    monkeypatch.setattr("zipfile.ZipFile", lambda path: shut(motion))
    assert "Found: Permission denied.\n" in refused("export", packed, "-o", tmp_path / "o.ply")


def test_no_voice_speaks_it(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["voices", "--language", "xx"])
    said = capsys.readouterr()
    assert said.err == "No voice here speaks xx.\n" and said.out == ""


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (None, 1)])
def test_exit_codes(error: BaseException | None, code: int, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    from avatar.errors import AvatarError

    def fail(options: object) -> None:
        raise error or AvatarError("Something of ours broke", fix="tell us")

    monkeypatch.setattr("avatar.commands.doctor.run", fail)
    text = refused("doctor", code=code)
    assert ("continue" if error else "error: Something of ours broke.\n  To do: tell us.\n") in text
