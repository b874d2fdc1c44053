"""The ingest on what people film, made from the embedded clip: phones on their side, hands, cuts, other faces."""

import json
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar import cli
from avatar.errors import InputError
from avatar.io.take import Take
from avatar.io.video import VideoWriter, read_frames
from avatar.preprocess.ingest import ingest
from avatar.preprocess.landmarks import FaceLandmarker
from avatar.preprocess.observer import Observer

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo.mp4"
SIDE = 240
WALL = (110, 120, 130)
pytestmark = pytest.mark.usefixtures("perception_parts")
Ingested = Callable[..., Take]


@pytest.fixture(scope="module")
def person() -> list[np.ndarray]:
    """Sixty pictures of the embedded clip."""
    frames = read_frames(DEMO, max_side=SIDE, wanted=range(20, 80))
    return [frame.image for frame in frames]


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture
def ingested(tmp_path: Path, landmarker: FaceLandmarker) -> Ingested:
    """Writes pictures as a clip, and ingests it with the real landmarker and the quickest of everything else."""
    observer = Observer(
        landmarker=landmarker,
        segment=lambda image: np.ones(image.shape[:2], np.float32),
        fit_regions=lambda samples: sum(1 for _ in samples),
        label_parts=lambda model, frames: (np.ones(alpha.shape, np.uint8) for _, alpha, _ in frames),
        plate=lambda frames: next(iter(frames))[0],
    )

    def run(images, *, sound=True, change: Callable[[Path], object] | None = None, **options) -> Take:
        height, width = images[0].shape[:2]
        clip = tmp_path / "clip.mp4"
        samples = np.sin(np.arange(len(images) * 640) / 9).astype(np.float32) / 2
        with VideoWriter(
            clip, fps=Fraction(25), width=width, height=height, crf=14, audio=(samples, 16000) if sound else None
        ) as writer:
            for image in images:
                writer.write(np.ascontiguousarray(image))
        if change is not None:
            change(clip)
        return ingest(clip, tmp_path / "take", observer=observer, **options)

    return run


def room(*placed: tuple[np.ndarray, int], size=(260, 640)) -> np.ndarray:
    """Pictures put beside each other on a wall, each with its left edge, standing on the floor."""
    image = np.full((*size, 3), WALL, np.uint8)
    for picture, left in placed:
        height, width = picture.shape[:2]
        image[size[0] - height :, left : left + width] = picture
    return image


def small(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def in_clip(take: Take) -> np.ndarray:
    """Landmarks in pixels of the upright clip."""
    left, top, side = take.info.crop
    return take.perception()["landmarks"][..., :2] * (side / take.info.width) + (left, top)


@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))])
def test_a_phone_held_on_its_side_gives_the_same_take(tmp_path, ingested, person, turns, matrix):
    upright = [room((image, 0), size=(400, 240)) for image in person]
    plain = ingested(upright, sound=False)
    expected, crop = in_clip(plain), plain.info.crop

    def turn(path: Path) -> None:
        # The display matrix of the first track (ISO/IEC 14496-12, 8.3.2), as phones write it.
        data = bytearray(path.read_bytes())
        start = data.index(b"tkhd") + 44
        a, b, c, d = (value << 16 for value in matrix)
        data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)

    (tmp_path / "take").rename(tmp_path / "upright")
    take = ingested([np.rot90(image, turns) for image in upright], sound=False, change=turn)
    assert take.used.all()
    assert np.abs(np.array(take.info.crop) - crop).max() <= 2
    assert np.median(np.abs(in_clip(take) - expected)) < 0.5


def test_a_small_face_in_the_background_does_not_disturb(ingested, person):
    take = ingested([room((image, 190), (small(person[-1 - i], 90), 500)) for i, image in enumerate(person)])
    assert take.used.all()
    assert (np.abs(in_clip(take)[:, :, 0].mean(axis=1) - 310) < 60).all()


def test_the_main_face_is_that_of_the_whole_clip_not_of_its_beginning(ingested, person):
    first = [room((small(image, 170), 20), (image, 400)) for image in person[:10]]
    take = ingested(first + [room((small(image, 170), 20)) for image in person])
    assert take.info.stages["ingest"].detail["frames"] >= 60
    assert (in_clip(take)[take.used][:, :, 0] < 200).all()


def test_two_equal_faces_are_refused_with_their_frames(ingested, person, tmp_path):
    with pytest.raises(InputError, match=r"both in frames 0 to 59 \(0\.0 to 2\.4 s\)") as caught:
        ingested([room((image, 60), (image[:, ::-1], 340)) for image in person])
    assert "none is the main one" in str(caught.value)
    assert not (tmp_path / "take").exists()


def test_a_face_that_leaves_and_returns_is_picked_up_again(ingested, person):
    frames = [room((image, 200)) for image in person] * 2
    wall = cv2.GaussianBlur(frames[0], (0, 0), 25)
    frames[40:44] = [wall] * 4
    # Gone slowly behind the wall's edge, so that no cut is seen.
    for k in range(30):
        frames[70 + k] = np.roll(frames[70 + k], 14 * min(k, 15, 30 - k) * 3, axis=1)
        frames[70 + k][:, : 14 * 3 * min(k, 15, 30 - k)] = WALL
    take = ingested(frames)
    used, seen = take.used, take.perception()
    assert not used[40:44].any() and np.isfinite(seen["landmarks"][40:44]).all()
    assert not used[76:92].any() and np.isnan(seen["landmarks"][82:88]).all()
    assert used[:40].all() and used[45:70].all() and used[104:].all()


def test_a_hand_before_the_mouth_is_left_out(ingested, person):
    frames, rng = person * 2, np.random.default_rng(0)
    for index in range(50, 63):
        hand = np.zeros((SIDE, SIDE), np.float32)
        cv2.ellipse(hand, (140, 150), (22, 30), 20, 0, 360, 1, -1)
        weight = cv2.GaussianBlur(hand, (0, 0), 1)[..., None]
        skin = np.array([205, 165, 145]) + rng.normal(0, 4, (SIDE, SIDE, 3))
        frames[index] = (frames[index] * (1 - weight) + skin * weight).clip(0, 255).astype(np.uint8)
    take = ingested(frames)
    lost = np.flatnonzero(~take.used)
    assert set(range(50, 63)) <= set(lost.tolist()) <= set(range(46, 67))
    assert take.info.stages["ingest"].detail["covered"] == len(lost)


def test_low_light_and_glasses_keep_every_frame(ingested, person, landmarker):
    rng, frames = np.random.default_rng(0), []
    landmarker.reset()
    for image in person:
        frames.append((image / 255.0 * 60 + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8))
    for image in person:
        seen, worn = landmarker.track(image), image.copy()
        assert seen is not None
        for corners in ((33, 133), (263, 362)):
            middle = seen.landmarks[list(corners), :2].mean(axis=0).astype(int)
            cv2.ellipse(worn, tuple(middle.tolist()), (19, 15), 0, 0, 360, (30, 25, 25), 2, cv2.LINE_AA)
        frames.append(worn)
    take = ingested(frames, all_shots=True)
    assert take.used.all() and len(take) == 120


def test_a_full_beard_keeps_every_frame_and_the_landmarks(ingested, person, landmarker):
    landmarker.reset()
    seen = [landmarker.track(image).landmarks for image in person]
    rng, frames = np.random.default_rng(0), []
    for image, marks in zip(person, seen, strict=True):
        # From ear to ear, below the nose and to below the chin, around bare lips.
        points, chin = marks[:, :2], marks[152, :2] - marks[17, :2]
        jaw = points[[454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93]]
        jaw = np.concatenate([jaw[:6], jaw[6:15] + 0.6 * chin, jaw[15:], points[[234, 205, 203, 2, 423, 425]]])
        lips = points[[61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91]]
        worn = np.zeros(image.shape[:2], np.float32)
        cv2.fillPoly(worn, [np.round(jaw).astype(np.int32)], 1.0)
        cv2.fillPoly(worn, [np.round(lips).astype(np.int32)], 0.0)
        worn = cv2.GaussianBlur(worn, (0, 0), 1.5)[..., None] * 0.9
        hair = np.array([60, 42, 30]) + rng.normal(0, 14, (*image.shape[:2], 1))
        frames.append((image * (1 - worn) + hair * worn).clip(0, 255).astype(np.uint8))
    take = ingested(frames)
    assert take.used.all() and len(take) == 60
    corners, before = [61, 291, 13, 14, 33, 263], np.array(seen)[..., :2]
    apart = np.linalg.norm(in_clip(take)[:, corners] - before[:, corners], axis=-1)
    eyes = np.linalg.norm(before[:, 33] - before[:, 263], axis=-1)
    assert np.percentile(apart / eyes[:, None], 95) < 0.06


def test_a_cut_leaves_the_longest_shot_with_its_sound(ingested, person):
    other = [small(image[20:200, 30:210], SIDE) for image in person[:20]]
    take = ingested([*person[:20], *other, *person])
    detail = take.info.stages["ingest"].detail
    assert [row["frames"] for row in detail["shots"]] == [[0, 20], [20, 40], [40, 100]]
    assert [row["used"] for row in detail["shots"]] == [False, False, True]
    assert "frames 40 to 99" in detail["notes"][0]
    assert len(take) == 60 and take.used.all() and take.times[0] == 0
    speech = take.speech()
    assert speech is not None and len(speech) == pytest.approx(60 * 640, abs=1100)
    assert np.abs(take.image(0).astype(int) - person[0]).mean() < 4


def test_all_shots_are_laid_one_after_another(ingested, person):
    other = [small(image[20:200, 30:210], SIDE) for image in person[:20]]
    take = ingested([*person[:30], *other, *person[30:]], all_shots=True)
    assert len(take) == 80 and take.info.fps == (25, 1)
    assert np.allclose(np.diff(take.times)[[28, 29, 30, 49]], [0.04, 1.0, 0.04, 1.0])
    detail = take.info.stages["ingest"].detail
    assert detail["all_shots"] and len(detail["notes"]) == 1
    assert all(row["shape_distance"] < 0.037 for row in detail["shots"])
    speech = take.speech()
    assert speech is not None and len(speech) / 16000 == pytest.approx(take.times[-1] + 0.04, abs=0.1)


def test_the_command_line_says_which_shots_it_took(tmp_path, capsys, monkeypatch, person, shared):
    def stop(*_, **__):
        raise InputError("that is enough")

    monkeypatch.setattr("avatar.preprocess.tracking.track", stop)
    frames = read_frames(shared / "clips" / "diwali_2016.mp4", max_side=SIDE, wanted=range(40))
    clip = tmp_path / "two.mp4"
    with VideoWriter(clip, fps=Fraction(25), width=SIDE, height=SIDE) as writer:
        for image in [*person[:30], *(frame.image for frame in frames)]:
            writer.write(image)
    with pytest.raises(SystemExit):
        cli.main(["preprocess", str(clip), "-o", str(tmp_path / "take"), "--size", "96", "--all-shots"])
    said = capsys.readouterr().err.replace("\n", " ")
    assert "was cut into 2 shots; 2 of them" in said
    assert "Another person seems to be shown in frames 0 to 29" in said
    kept = json.loads((tmp_path / "take" / "take.json").read_text())["stages"]["ingest"]["detail"]
    assert kept["shots"][0]["shape_distance"] > 0.037
    with pytest.raises(SystemExit):
        cli.main(["preprocess", str(clip), "-o", str(tmp_path / "take"), "--size", "96"])
    assert "holds a take of all shots" in capsys.readouterr().err.replace("\n", " ")
