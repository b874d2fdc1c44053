"""``avatar render --background FILM``: footage behind the avatar, on footage whose brightness tells its time."""

import json
import struct
import weakref
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from refusals import Refused

from avatar import cli
from avatar.io.avatar import load_avatar
from avatar.io.video import VideoWriter, read_frames
from avatar.motion import PER_FRAME, Motion
from avatar.render import moving_background
from avatar.render.shots import Shot, film, stage

Run = Callable[..., tuple[dict[str, Any], str]]
FPS, SECONDS = 20, 2.0
# Levels that each picture of the footage is brighter than the one before.
STEP = 4


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Renders; gives the figures and what is said, on one line."""

    def call(*arguments: object) -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        cli.main(["render", *map(str, arguments), "--json"])
        said = capsys.readouterr()
        return json.loads(said.out), " ".join(said.err.split())

    return call


@pytest.fixture
def motion(tiny_motion: Motion, tmp_path: Path) -> Path:
    """Two seconds of a head that stays where it is."""
    rows = np.zeros(round(SECONDS * FPS) + 1, int)
    still = {name: getattr(tiny_motion, name)[rows] for name in PER_FRAME}
    replace(tiny_motion, time=np.arange(len(rows)) / FPS, **still).save(tmp_path / "motion.npz")
    return tmp_path / "motion.npz"


def footage(
    path: Path, seconds: float, fps: int = 10, *, size: tuple[int, int] = (96, 48), sound: bool = False
) -> Path:
    """A film each of whose pictures is `STEP` levels brighter than the one before."""
    audio = (np.zeros(round(seconds * 16000), np.float32), 16000) if sound else None
    with VideoWriter(path, fps=Fraction(fps), width=size[0], height=size[1], audio=audio, crf=1) as video:
        for index in range(round(seconds * fps)):
            video.write(np.full((size[1], size[0], 3), 20 + STEP * index, np.uint8))
    return path


def shown(path: Path) -> np.ndarray:
    """Numbers of the footage's pictures in the upper corners of a film, (T,)."""
    corners = [np.hstack([frame.image[:4, :4], frame.image[:4, -4:]]) for frame in read_frames(path)]
    return (np.array([corner.mean() for corner in corners]) - 20) / STEP


@pytest.mark.parametrize(("fps", "film_fps"), [(10, 20), (25, 20), (10, 7), (4, 25)])
def test_every_picture_of_the_footage_comes_at_its_time(
    fps: int, film_fps: int, run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    path = footage(tmp_path / "film.mp4", 2.2, fps)
    figures, said = run(
        tiny_avatar, "--motion", motion, "--background", path, "--fps", film_fps, "-o", tmp_path / "out.mp4"
    )
    times = np.arange(figures["frames"]) / film_fps
    assert times[-1] > SECONDS - 0.2
    assert np.abs(shown(tmp_path / "out.mp4") - np.floor(times * fps + 1e-6)).max() < 0.4
    assert "notes" not in figures and "background_seconds" not in figures and "shorter" not in said


def test_a_variable_rate_keeps_its_times(run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    path, stamps = tmp_path / "film.mkv", [300, 340, 900, 1000, 2000, 2600]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = 64, 48
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 10 * STEP * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    figures, _ = run(tiny_avatar, "--motion", motion, "--background", path, "--fps", FPS, "-o", tmp_path / "out.mp4")
    times = np.arange(figures["frames"]) / FPS
    expected = np.searchsorted((np.array(stamps) - 300) / 1000, times + 1e-6, side="right") - 1
    assert np.abs(shown(tmp_path / "out.mp4") / 10 - expected).max() < 0.2


def test_shorter_footage_goes_on_as_in_dub(run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    path = footage(tmp_path / "film.mp4", 1.0, FPS)
    command = (tiny_avatar, "--motion", motion, "--background", path, "--fps", FPS, "-o", tmp_path / "out.mp4")
    figures, said = run(*command)
    numbers = shown(tmp_path / "out.mp4").round().astype(int)
    assert "film.mp4 is 1.0 s shorter than the film: it goes back and forth." in said
    assert figures["background_seconds"] == pytest.approx(1.0) and len(numbers) == 41
    # It slows down before it turns around, at 1 s and at 2 s.
    assert numbers[:15].tolist() == list(range(15)) and (np.diff(numbers[:20]) >= 0).all()
    assert 16 <= numbers[20] <= 19 and (np.diff(numbers[20:38]) <= 0).all() and numbers[36:].min() <= 3
    _, said = run(*command, "--beyond", "hold")
    assert "film.mp4 is 1.0 s shorter than the film: its last picture is held." in said
    assert np.abs(shown(tmp_path / "out.mp4") - np.arange(41).clip(max=19)).max() < 0.4


def test_footage_covers_the_picture_upright(run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, fps=Fraction(10), width=160, height=48, crf=4) as video:
        for _ in range(5):
            picture = np.full((48, 160, 3), 255, np.uint8)
            picture[:, 56:80], picture[:, 80:104] = (200, 0, 0), (0, 0, 200)
            video.write(picture)
    command = (tiny_avatar, "--motion", motion, "--background", path, "-o", tmp_path / "out.mp4", "--part", "head")
    run(*command, "--size", 64)

    def corners() -> list[np.ndarray]:
        image = next(iter(read_frames(tmp_path / "out.mp4"))).image
        return [image[y, x].astype(int) for y in (3, -4) for x in (3, -4)]

    # Of 160 columns the middle 48 are seen: red to the left, blue to the right, nothing of the white.
    red, blue = np.array([200, 0, 0]), np.array([0, 0, 200])
    for corner, colour in zip(corners(), (red, blue, red, blue), strict=True):
        assert np.abs(corner - colour).max() < 16
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    # A quarter turn clockwise: what was left is above.
    run(*command, "--size", 64)
    for corner, colour in zip(corners(), (red, red, blue, blue), strict=True):
        assert np.abs(corner - colour).max() < 16


def test_soft_edges_let_the_footage_through_by_their_alpha(tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    path = footage(tmp_path / "film.mp4", 2.2)
    stored, moving = load_avatar(tiny_avatar), Motion.load(motion)[:12]
    behind = [frame.image for frame in read_frames(path)]
    staged = stage(stored, moving, Shot(background=str(path)))
    for index, picture in enumerate(film(stored.gaussians, moving, staged)):
        alpha, colour = picture.rendering.alpha.numpy(), picture.rendering.image.numpy()
        level = behind[index // 2][10, 10] / 255
        expected = (colour + (1 - alpha) * level).clip(0, 1) * 255
        assert np.abs(picture.image - expected).max() < 2
        assert ((alpha > 0.1) & (alpha < 0.9)).sum() > 50


def test_a_picture_stands_behind_and_other_cameras_too(
    run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((30, 40, 3), (60, 120, 180), np.uint8))
    command = (tiny_avatar, "--motion", motion, "--background", tmp_path / "wall.png", "--fps", 4)
    for output, camera in (("out.mp4", "front"), ("orbit.mp4", "orbit")):
        _, said = run(*command, "--camera", camera, "-o", tmp_path / output)
        pictures = list(read_frames(tmp_path / output))
        assert len(pictures) == 9 and "shorter" not in said
        assert all(np.abs(frame.image[3, 3].astype(int) - [180, 120, 60]).max() < 6 for frame in pictures)


def test_a_photograph_stands_upright(run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    photograph = np.zeros((40, 80, 3), np.uint8)
    photograph[:, :40] = (0, 0, 200)
    data = cv2.imencode(".jpg", photograph)[1].tobytes()
    # EXIF says: orientation 6, to be turned clockwise, so that red, which is left, is above.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    path = tmp_path / "phone.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    command = (tiny_avatar, "--motion", motion, "--background", path, "-o", tmp_path / "out.mp4", "--part", "head")
    run(*command, "--fps", 1)
    image = next(iter(read_frames(tmp_path / "out.mp4"))).image.astype(int)
    assert np.abs(image[3, [3, -4]] - [200, 0, 0]).max() < 12 and image[-4, [3, -4]].max() < 12


def test_its_sound_is_not_heard_and_that_is_told(run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path) -> None:
    path = footage(tmp_path / "film.mp4", 2.2, sound=True)
    figures, said = run(tiny_avatar, "--motion", motion, "--background", path, "-o", tmp_path / "out.mp4")
    note = "The sound of film.mp4 is not heard: --background takes pictures only."
    assert figures["notes"] == [note] and note in said
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
    figures, said = run(tiny_avatar, "--motion", motion, "--beyond", "hold", "-o", tmp_path / "out.mp4")
    assert figures["notes"] == ["--beyond has no effect beside --background plate: only footage has an end."]


def test_pictures_are_let_go_one_by_one(
    run: Run, tiny_avatar: Path, motion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, alive = [], []

    def watched(*arguments: Any) -> np.ndarray:
        picture = plain(*arguments)
        taken.append(weakref.ref(picture))
        alive.append(sum(each() is not None for each in taken))
        return picture

    plain = moving_background.covering
    monkeypatch.setattr(moving_background, "covering", watched)
    path = footage(tmp_path / "film.mp4", 0.5)
    run(tiny_avatar, "--motion", motion, "--background", path, "--fps", FPS, "-o", tmp_path / "out.mp4")
    assert len(alive) == 41 and max(alive) <= 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.mp4", "none.mp4 cannot be read.\n  Expected: a video or audio file.\n  Found: no such file"),
        ("folder", "Found: a folder"),
        ("text.mp4", "text.mp4 is not a media file"),
        ("empty.mov", "empty.mov is empty"),
        ("sound.wav", "sound.wav has no video.\n  Expected: a video track.\n  Found: audio only"),
    ],
)
def test_what_cannot_stand_behind(
    name: str,
    said: str,
    refused: Refused,
    tiny_avatar: Path,
    motion: Path,
    speech_file: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty.mov").touch()
    (tmp_path / "sound.wav").write_bytes(speech_file.read_bytes())
    output = tmp_path / "out.mp4"
    text = refused("render", tiny_avatar, "--motion", motion, "--background", tmp_path / name, "-o", output)
    assert said in text and text.count("error:") == 1 and not output.exists()


def test_footage_is_not_written_over_and_has_one_eye(
    refused: Refused, tiny_avatar: Path, motion: Path, tmp_path: Path
) -> None:
    path = footage(tmp_path / "film_depth.mp4", 0.5)
    before = path.read_bytes()
    command = ("render", tiny_avatar, "--motion", motion, "--background", path)
    assert "another file than --background reads" in refused(*command, "-o", path)
    assert "another file than --background reads" in refused(*command, "--depth", "-o", tmp_path / "film.mp4")
    assert path.read_bytes() == before
    text = refused(*command, "--stereo", "sbs", "-o", tmp_path / "out.mp4")
    assert "Footage has one eye" in text and "choose another --background, or leave --stereo out" in text
    text = refused(*command, "--transparent", "-o", tmp_path / "out.mov")
    assert "Expected: one of --transparent and --background" in text
