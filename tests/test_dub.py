"""``avatar dub``: other lips in a clip's own pictures, on a clip whose every pixel is known."""

import json
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar import cli
from avatar.commands import dub
from avatar.heads import Head
from avatar.heads.retarget import on_footage
from avatar.io.audio import write_wav
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.io.video import VideoWriter, probe, read_frames
from avatar.models.cache import sha256_of
from avatar.motion import Motion

Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Dubs; gives what it prints, or the error text where it fails with a code of 2 and leaves nothing."""

    def call(avatar: Path, video: Path, audio: Path, *, fails: bool = False, beyond: str = "") -> Any:
        capsys.readouterr()
        output = tmp_path / "out.mp4"
        output.unlink(missing_ok=True)
        command = ["dub", str(avatar), "--video", str(video), "--audio", str(audio), "-o", str(output), "--json"]
        command += ["--beyond", beyond] if beyond else []
        if not fails:
            cli.main(command)
            said = capsys.readouterr()
            return json.loads(said.out), " ".join(said.err.split())
        with pytest.raises(SystemExit) as stop:
            cli.main(command)
        said = capsys.readouterr()
        assert stop.value.code == 2 and "Traceback" not in said.err and not output.exists(), said.err
        return said.err

    return call


@pytest.fixture
def video(tiny_take: Take, tmp_path: Path) -> Path:
    """The tiny take as a clip of colours that hardly suffer."""
    path, info = tmp_path / "clip.mp4", tiny_take.info
    with VideoWriter(path, fps=Fraction(*info.fps), width=info.width, height=info.height, crf=4) as writer:
        for index in range(len(tiny_take)):
            writer.write(tiny_take.image(index))
    return path


@pytest.fixture
def avatar(tiny_avatar: Path, tiny_take: Take, video: Path, tmp_path: Path) -> Path:
    """The tiny avatar with its take beside it, made from that clip."""
    folder = Path(shutil.copytree(tiny_avatar, tmp_path / "me"))
    take = Take.open(shutil.copytree(tiny_take.path, folder / "take"))
    take.update(source_sha256=sha256_of(video))
    take.record("ingest", seconds=0.0, shots=[], all_shots=False)
    return folder


def sound(path: Path, seconds: float) -> Path:
    write_wav(path, np.sin(np.arange(round(seconds * 16000)) / 9).astype(np.float32) / 4)
    return path


@pytest.fixture
def wide_open(monkeypatch: pytest.MonkeyPatch, tiny_motion: Motion) -> Motion:
    """What any sound makes the avatar say, whatever the general model would: a wide open mouth."""
    one = replace(tiny_motion[:1], expression=tiny_motion.expression[:1] * 0, jaw_pose=np.array([[0.35, 0, 0]], "f4"))

    def spoken(stored: object, speech: Any, *, fps: Fraction, **_: object) -> tuple[Motion, None]:
        with speech.samples(rate=16000) as samples:
            count = round(len(samples) / 16000 * float(fps))
        rows = one[np.zeros(count, int)] if count == 1 else one.resample(np.arange(count) / float(fps))
        return replace(rows, time=np.arange(count) / float(fps)), None

    monkeypatch.setattr(dub, "spoken_motion", spoken)
    return one


def test_the_mouth_opens_and_all_else_stays(
    run: Run, avatar: Path, video: Path, tiny_take: Take, tmp_path: Path, wide_open: Motion
) -> None:
    written, said = run(avatar, video, sound(tmp_path / "new.wav", 5.0))
    assert written["tracked_before"] and written["frames"] == 20 and "is 2.5 s longer than the new sound" in said
    assert probe(tmp_path / "out.mp4").has_audio
    assert written["seam"] < 4
    before = [frame.image.astype(float) for frame in read_frames(video)]
    after = [frame.image.astype(float) for frame in read_frames(tmp_path / "out.mp4")]
    landmarks = tiny_take.perception()["landmarks"]
    change = {"mouth": [], "forehead": [], "outside": []}
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        away = np.abs(old - new).mean(2)
        for name, place in (("mouth", landmarks[index, [13, 14, 17]].mean(0)), ("forehead", landmarks[index, 9])):
            x, y = round(float(place[0])), round(float(place[1]))
            change[name].append(away[y - 2 : y + 3, x - 2 : x + 3].mean())
        change["outside"].append(away[tiny_take.parts(index) != 1].mean())
    mouth, forehead, outside = (float(np.mean(rows)) for rows in change.values())
    assert mouth > 15 and forehead < 8 and outside < 3


def test_a_longer_sound_makes_the_clip_go_back_and_forth(
    run: Run, avatar: Path, video: Path, tiny_take: Take, tmp_path: Path, wide_open: Motion
) -> None:
    new = sound(tmp_path / "new.wav", 18.0)
    written, said = run(avatar, video, new)
    after = [frame.image.astype(float) for frame in read_frames(tmp_path / "out.mp4")]
    assert written["frames"] == 72 == len(after)
    assert "The new sound is 10.5 s longer than the clip, which goes back and forth." in said
    stored = load_avatar(avatar)
    with dub.tracked_footage(video, stored, avatar) as footage:
        rows = dub.shown_rows(footage, 72)
        motion = dub.dubbed_motion(stored, footage, wide_open, rows)
    assert rows[:29].tolist() == list(range(29)) and rows[29] == 29 and rows[58] <= 1
    assert (
        set(np.diff(rows[:30])) <= {0, 1} and set(np.diff(rows[29:59])) <= {0, -1} and (np.diff(rows[59:]) >= 0).all()
    )
    # Picture, motion and what is blended where are of the same row.
    tracked = tiny_take.motion()
    assert np.allclose(motion.jaw_pose, [0.35, 0, 0]) and np.allclose(motion.neck_pose, tracked.neck_pose[rows])
    assert np.array_equal(motion.eyelids, tracked.eyelids[rows])
    before = np.array([frame.image.astype(float) for frame in read_frames(video)])
    for image, row in zip(after, rows, strict=True):
        behind = tiny_take.parts(int(row)) != 1
        away = np.abs(before - image)[:, behind].mean(axis=(1, 2))
        assert away[row] <= away.min() + 0.5

    held, said = run(avatar, video, new, beyond="hold")
    assert held["frames"] == 72 and "whose last picture is held while the lips go on" in said
    with dub.tracked_footage(video, stored, avatar) as footage:
        assert dub.shown_rows(footage, 36, "hold").tolist() == [*range(30), *[29] * 6]
        # Too little to turn around for.
        assert dub.shown_rows(footage, 30).tolist() == list(range(30))


def test_pictures_are_let_go_one_by_one(
    run: Run, avatar: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide_open: Motion
) -> None:
    written, alive = [], []

    class Watched(VideoWriter):
        def write(self, image: np.ndarray) -> None:
            written.append(weakref.ref(image))
            alive.append(sum(each() is not None for each in written))
            super().write(image)

    monkeypatch.setattr(dub, "VideoWriter", Watched)
    run(avatar, video, sound(tmp_path / "new.wav", 9.0))
    assert len(alive) == 36 and max(alive) <= 3


def test_what_cannot_be_dubbed(run: Run, avatar: Path, video: Path, tmp_path: Path) -> None:
    new = sound(tmp_path / "new.wav", 1.0)
    assert "clip.mp4 has no sound" in run(avatar, video, video, fails=True)
    assert "none.mp4" in run(avatar, tmp_path / "none.mp4", new, fails=True)


@pytest.mark.usefixtures("wide_open", "perception_parts")
def test_a_clip_without_a_face(run: Run, avatar: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "grey.mp4", fps=Fraction(25), width=64, height=64) as writer:
        for _ in range(60):
            writer.write(np.full((64, 64, 3), 128, np.uint8))
    text = run(avatar, tmp_path / "grey.mp4", sound(tmp_path / "new.wav", 1.0), fails=True)
    assert "grey.mp4 shows too little of a face" in text


def test_a_face_tracked_with_another_shape_is_as_large_and_where_it_was(open_head: Head, tiny_motion: Motion) -> None:
    betas = torch.as_tensor(tiny_motion.betas).clone()
    betas[0] += 2.0
    moved = on_footage(tiny_motion, open_head, betas=betas)

    def pixels(motion: Motion) -> np.ndarray:
        vertices = open_head(
            betas=torch.as_tensor(motion.betas)[None],
            pose=torch.as_tensor(motion.pose),
            transl=torch.as_tensor(motion.transl),
        )
        points = open_head.landmark_positions(vertices).numpy()
        return points[..., :2] / points[..., 2:]

    before, after = pixels(tiny_motion), pixels(moved)
    spread = [float(np.std(points, axis=1).mean()) for points in (before, after)]
    width = np.ptp(before[..., 0], axis=1).mean()
    assert spread[1] / spread[0] == pytest.approx(1, abs=0.02)
    assert np.linalg.norm(after[:, 468:].mean(1) - before[:, 468:].mean(1), axis=1).max() < 0.03 * width
