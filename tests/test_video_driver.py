"""``avatar render --video``: a clip of a person whose motion is known drives an avatar of that person or another."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar import cli
from avatar.assets import asset
from avatar.commands import render
from avatar.commands._driver import Driver, driven_motion, on_avatar, track_driver
from avatar.editing import FaceMap
from avatar.heads import Head
from avatar.io.audio import read_audio
from avatar.io.avatar import load_avatar
from avatar.io.sound import SoundFile
from avatar.io.take import Take
from avatar.io.video import VideoWriter, probe, read_frames
from avatar.motion import Motion
from avatar.render.motions import ease_motion

SECONDS = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the embedded clip, whose motion is known."""
    source, path = asset("demo.mp4"), tmp_path_factory.mktemp("driver") / "drive.mp4"
    info, sound = probe(source), read_audio(source)
    assert sound is not None
    audio = (sound[: SECONDS * 16000], 16000)
    with VideoWriter(path, fps=Fraction(info.fps), width=info.width, height=info.height, audio=audio) as video:
        for frame in islice(read_frames(source), round(SECONDS * info.fps)):
            video.write(frame.image)
    return path


@pytest.fixture(scope="module")
def driver(clip: Path, open_head: Head, perception_parts: list[Path]) -> Driver:
    return track_driver(clip, open_head)


def turns(motion: Motion) -> np.ndarray:
    """Pitch and yaw of the head, radians, about their means."""
    turned = Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)
    return (turned.mean().inv() * turned).as_rotvec()[:, :2]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def check_follows(motion: Motion, truth: Motion) -> None:
    """The mouth opens and the head turns when the person in the clip does."""
    assert correlation(motion.jaw_pose[:, 0], truth.jaw_pose[:, 0]) > 0.9
    for axis in range(2):
        assert correlation(turns(motion)[:, axis], turns(truth)[:, axis]) > 0.9
    assert correlation(motion.eyelids.mean(1), truth.eyelids.mean(1)) > 0.9


def test_another_person_does_what_the_driver_does_where_that_person_rests(driver: Driver, tiny_avatar: Path) -> None:
    stored = load_avatar(tiny_avatar)
    truth = Motion.load(asset("demo_truth.npz"))[: len(driver.motion)]
    motion = on_avatar(stored, driver, own=False, pose="relative")
    check_follows(motion, truth)
    ease = ease_motion(stored)
    assert np.array_equal(motion.betas, stored.gaussians.betas.numpy())
    assert np.abs(np.median(motion.transl, axis=0) - ease.transl[0]).max() < 0.01
    face = FaceMap(stored.gaussians.head, motion.betas)
    lips = face.mouth.opening(motion.expression, motion.jaw_pose)
    shut = face.mouth.opening(ease.expression, ease.jaw_pose)[0]
    assert abs(np.percentile(lips, 5) - shut) < 1e-3 and lips.max() > shut + 5e-3
    placed = on_avatar(stored, driver, own=False, pose="absolute")
    check_follows(placed, truth)
    assert np.allclose(placed.neck_pose, driver.motion.neck_pose, atol=1e-6)


def test_the_recording_itself_is_shown_as_it_was_tracked(driver: Driver, tiny_avatar: Path) -> None:
    stored = load_avatar(tiny_avatar)
    own = {"source_sha256": driver.source_sha256}
    stored = replace(stored, info=replace(stored.info, provenance=own))
    rate = driver.fps
    motion, sound, facts = driven_motion(stored, driver, fps=rate, pose=None, still=False)
    assert facts["driver"]["identity"] == "own" and facts["driver"]["pose"] == "absolute" and sound is not None
    check_follows(motion, Motion.load(asset("demo_truth.npz"))[: len(motion)])
    assert np.allclose(motion.expression, driver.motion.expression, atol=1e-5)
    assert np.array_equal(motion.betas, stored.gaussians.betas.numpy())
    still, *_ = driven_motion(stored, driver, fps=rate, pose=None, still=True)
    assert np.ptp(still.neck_pose, axis=0).max() == 0 and np.ptp(still.jaw_pose) > 0.02


def test_the_film_has_the_drivers_sound_and_length(
    driver: Driver,
    tiny_avatar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(render, "track_driver", lambda video, head: driver)
    written = run(capsys, tiny_avatar, driver.name, tmp_path / "a.mp4")
    assert written["driver"] == {
        "video": "drive.mp4",
        "identity": "other",
        "pose": "relative",
        "pictures": len(driver.motion),
        "pictures_without_face": 0,
        "sound": True,
    }
    said, heard = read_audio(asset("demo.mp4")), read_audio(tmp_path / "a.mp4")
    assert said is not None and heard is not None and abs(len(heard) / 16000 - SECONDS) < 0.05
    assert correlation(said[: len(heard)][: SECONDS * 16000], heard[: SECONDS * 16000]) > 0.9
    assert probe(tmp_path / "a.mp4").frames == written["frames"] == SECONDS * 4

    monkeypatch.setattr(render, "track_driver", lambda video, head: replace(driver, sound=None))
    assert not run(capsys, tiny_avatar, driver.name, tmp_path / "b.mp4")["driver"]["sound"]
    assert not probe(tmp_path / "b.mp4").has_audio


def run(capsys: pytest.CaptureFixture[str], avatar: Path, video: str | Path, output: Path) -> Any:
    capsys.readouterr()
    cli.main(["render", str(avatar), "--video", str(video), "-o", str(output), "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_take_drives_without_being_tracked_again(
    tiny_take: Take, tiny_avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = run(capsys, tiny_avatar, tiny_take.path, tmp_path / "a.mp4")
    assert written["frames"] == len(tiny_take) and written["driver"]["sound"] is False


def test_a_part_of_a_files_sound(clip: Path) -> None:
    whole = np.concatenate(list(SoundFile(clip, 16000)))
    part = np.concatenate(list(SoundFile(clip, 16000, start=0.5, end=1.25)))
    assert np.array_equal(part, whole[8000:20000])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--video", "a.mp4", "--audio", "a.wav"), "Found: --audio and --video."),
        (("--video", "a.mp4", "--motion", "a.npz"), "Found: --motion and --video."),
        (("--audio", "a.wav", "--video-pose", "absolute"), "There is no video whose pose to take"),
        (("--video", "a.mp4", "--voice", "heart"), "There is no text for the voice"),
        (("--video", "none.mp4"), "none.mp4"),
        (("--video", "grey.mp4"), "grey.mp4 shows too little of a face"),
        (("--video", "."), "is not a take"),
    ],
)
@pytest.mark.usefixtures("perception_parts")
def test_what_cannot_drive(
    options: tuple[str, ...],
    said: str,
    tiny_avatar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "grey.mp4" in options:
        with VideoWriter(tmp_path / "grey.mp4", fps=Fraction(25), width=64, height=64) as video:
            for _ in range(60):
                video.write(np.full((64, 64, 3), 128, np.uint8))
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stop:
        cli.main(["render", str(tiny_avatar), *options, "-o", "talk.mp4"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and said in error and "Traceback" not in error, error
    assert set(tmp_path.iterdir()) == before
