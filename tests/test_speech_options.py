"""Options of speech on the command line: what it is learned from, and how the head follows the voice."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar import cli
from avatar.commands._head_pose import with_filmed_shoulders
from avatar.commands._job import Job
from avatar.commands.create import TakeOptions
from avatar.io.audio import read_audio, write_wav
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.io.video import probe
from avatar.motion import PER_FRAME, Motion
from avatar.render.motions import ease_motion
from avatar.speech.features import LOG_MEL
from avatar.speech.life_model import LifeModel
from avatar.speech.take import take_features


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == "" and "Traceback" not in said.err
    return said.err


def test_features_that_do_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "me.mp4").write_bytes(b"")
    text = refused(capsys, "create", tmp_path / "me.mp4", "-o", tmp_path / "me", "--speech-features", "mfcc")
    assert "There are no speech features 'mfcc'" in text and "To do: leave --speech-features out for whisper" in text
    assert not (tmp_path / "me").exists()


def test_features_whose_library_is_missing_end_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "me.mp4").write_bytes(b"")
    text = refused(capsys, "create", tmp_path / "me.mp4", "-o", tmp_path / "me", "--speech-features", "hama")
    assert "These speech features need hama.\n  Expected: hama beside this software." in text
    assert not (tmp_path / "me").exists()


def test_too_much_prosody(capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path) -> None:
    text = refused(capsys, "render", tiny_avatar, "--audio", "a.wav", "--prosody", "9", "-o", tmp_path / "a.mp4")
    assert "The option --prosody cannot be used.\n  Expected: 0 (off) to 3.\n  Found: 9.\n" in text


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--breathing", "-1", "Expected: 0 (off) to 3.\n  Found: -1."),
        ("--seed", "-1", "Expected: a whole number from 0 on.\n  Found: -1."),
        ("--pose", "dancing", "Expected: natural, still, or a motion file that ends in one of .npz, .csv, .json."),
        ("--pose", "none.npz", "There is no motion file none.npz."),
        ("--motion-out", "m.txt", "Expected: --motion-out with one of .npz, .csv, .json.\n  Found: m.txt."),
    ],
)
def test_life_that_cannot_be(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    film = tmp_path / "a.mp4"
    assert said in refused(capsys, "render", tiny_avatar, "--audio", "a.wav", option, value, "-o", film)
    assert not film.exists()


def test_other_features_make_an_avatar_learn_again(tmp_path: Path) -> None:
    rows = {name: {} for name in ("ingest", "tracking", "features", "training", "speech", "evaluation")}
    before = TakeOptions().settings()
    job = Job.open(tmp_path, "a.mp4", "0", before)
    job.stages = dict(rows)
    job.apply(tmp_path, before)
    assert set(job.stages) == set(rows)
    job.apply(tmp_path, TakeOptions(speech_features=LOG_MEL).settings())
    assert set(job.stages) == {"ingest", "tracking"}
    # A folder from before there was a choice.
    del job.settings["speech_features"]
    job.stages = dict(rows)
    job.apply(tmp_path, TakeOptions(speech_features=LOG_MEL).settings())
    assert set(job.stages) == {"ingest", "tracking"}


def test_a_take_keeps_the_features_it_was_given(take_copy: Take) -> None:
    take_copy.write_speech(0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32))
    first = take_features(take_copy, LOG_MEL)
    again = take_features(take_copy)
    assert first is not None and again is not None
    assert (again.model, again.rate) == (LOG_MEL, 50.0) and again.values.shape == (100, 80)
    assert again.values == pytest.approx(first.values, abs=0.01)


def test_a_spoken_motion_is_written_edited_and_heard_again(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tiny_take: Take, tmp_path: Path
) -> None:
    write_wav(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32))
    film, out = ("-o", tmp_path / "a.mp4", "--size", "32"), tmp_path / "motions" / "m.npz"

    def render(*options: str | Path) -> Motion:
        cli.main([str(each) for each in ("render", tiny_avatar, *options, *film, "--motion-out", out)])
        capsys.readouterr()
        return Motion.load(out)

    gains = [f"{name}=0" for name in ("mouth", "brows", "cheeks", "blinks", "gaze", "pose")]
    calm = render("--audio", tmp_path / "a.wav", "--breathing", "0", "--gain", *gains)
    assert max(float(np.ptp(getattr(calm, name), axis=0).max()) for name in PER_FRAME) < 1e-6
    # Its own take lends the pose as it is.
    posed = render("--audio", tmp_path / "a.wav", "--pose", tiny_take.path / "motion.npz")
    given = tiny_take.motion()
    same = given.resample(given.time[0] + posed.time)
    for name in ("global_orient", "neck_pose", "transl", "torso"):
        assert getattr(posed, name) == pytest.approx(getattr(same, name), abs=1e-5)
    shutil.copy(out, tmp_path / "kept.npz")
    again = render("--motion", tmp_path / "kept.npz", "--audio", tmp_path / "a.wav", "--pose", "still")
    assert len(again) == len(posed) and np.array_equal(again.jaw_pose, posed.jaw_pose)
    assert np.ptp(again.neck_pose, axis=0).max() == 0 < np.ptp(posed.neck_pose, axis=0).max()
    sound = read_audio(tmp_path / "a.mp4")
    assert sound is not None and abs(len(sound) / 16000 - probe(tmp_path / "a.mp4").duration) < 0.25


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (("--motion", "MOTION"), None),
        (
            ("--motion", "MOTION", "--breathing", "1", "--seed", "0", "--speed", "2"),
            ["--speed, --seed and --breathing have no effect beside --motion: all movement is the file's."],
        ),
        (
            ("--video", "TAKE", "--prosody", "2"),
            ["--prosody has no effect beside --video: all movement is the driver's."],
        ),
        (
            ("--video", "TAKE", "--pose", "still", "--video-pose", "absolute"),
            ["--video-pose has no effect beside --pose still: that says how the head moves."],
        ),
        (
            ("--video", "TAKE", "--pose", "MOTION", "--video-pose", "relative"),
            ["--video-pose has no effect beside --pose"],
        ),
        (("--audio", "SOUND", "--prosody", "0", "--seed", "1", "--breathing", "0"), None),
        (
            ("--audio", "SOUND", "--language", "fr", "--pose", "MOTION", "--breathing", "2"),
            [
                "--language has no effect beside --audio: the recording is heard as it is.",
                "--breathing has no effect beside --pose motion.npz: its shoulders are taken too.",
            ],
        ),
    ],
)
def test_options_that_do_nothing_are_named(
    options: tuple[str, ...],
    notes: list[str] | None,
    capsys: pytest.CaptureFixture[str],
    tiny_avatar: Path,
    tiny_take: Take,
    tmp_path: Path,
) -> None:
    write_wav(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32))
    files = {"MOTION": tiny_take.path / "motion.npz", "TAKE": tiny_take.path, "SOUND": tmp_path / "a.wav"}
    given = [str(files.get(option, option)) for option in options]
    capsys.readouterr()
    cli.main(["render", str(tiny_avatar), *given, "-o", str(tmp_path / "a.mp4"), "--size", "32", "--json"])
    said = capsys.readouterr()
    written = json.loads(said.out)
    own = [note for note in written.get("notes", ()) if "no effect" in note]
    assert len(own) == len(notes or ()) and all(map(str.startswith, own, notes or ()))
    assert said.err.count("no effect") == len(own)
    if "--video" in options and "--pose" in options:
        assert written["driver"]["pose"] == given[given.index("--pose") + 1]


def test_somebody_else_s_pose_lifts_the_shoulders_no_higher_than_the_recording_shows(tiny_avatar: Path) -> None:
    stored = load_avatar(tiny_avatar)
    rest, own = ease_motion(stored), LifeModel.from_tensors(stored.life)
    time = np.arange(100) / 25
    risen = rest.back_and_forth(time)
    lift = np.linspace(-0.05, 0.05, 100, dtype=np.float32)
    risen = replace(risen, transl=risen.transl + lift[:, None] * np.array([1, 1, 0], np.float32))
    held = with_filmed_shoulders(stored, risen)
    highest = own.transl[1] + own.torso[1] + (own.track[:, 7] + own.track[:, 10]).max()
    height = held.transl[:, 1] + held.torso[:, 1]
    assert height.max() <= highest + 1e-6 and (np.diff(height) >= -1e-6).all()
    assert held.transl[:20] == pytest.approx(risen.transl[:20], abs=1e-5)
    assert np.array_equal(held.torso, risen.torso) and np.array_equal(held.transl[:, 0], risen.transl[:, 0])


def test_what_is_read_is_never_written_over(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    clip, words = tmp_path / "a.mp4", tmp_path / "b.srt"
    clip.write_bytes(b"a clip")
    words.write_text("Words.")
    sound = tmp_path / "c.wav"
    commands = {
        "--video": ("dub", tiny_avatar, "--video", clip, "--audio", sound, "-o", clip),
        "--audio": ("render", tiny_avatar, "--audio", clip, "-o", clip),
        "--text-file": ("render", tiny_avatar, "--text-file", words, "-o", tmp_path / "b.mp4"),
    }
    for option, command in commands.items():
        assert f"Expected: another file than {option} reads.\n  Found: the same file." in refused(capsys, *command)
    assert clip.read_bytes() == b"a clip" and words.read_text() == "Words." and len(list(tmp_path.iterdir())) == 2
    named = refused(capsys, "dub", tiny_avatar, "--video", clip, "--audio", sound, "-o", tmp_path / "d.avi")
    assert "d.avi cannot be written as video." in named
