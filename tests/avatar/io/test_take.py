import json

import numpy as np
import pytest

from avatar.cameras import Camera
from avatar.errors import FormatError, InputError
from avatar.io.take import Take, TakeInfo
from avatar.io.transforms import read_transforms
from avatar.motion import Motion

INFO = TakeInfo(width=8, height=6, fps=(30000, 1001), source_name="me.mp4", source_sha256="ab", crop=(1, 2, 8))


def motion(count: int) -> Motion:
    three = np.zeros((count, 3), np.float32)
    return Motion(
        time=np.arange(count) / 25,
        betas=np.zeros(4, np.float32),
        expression=np.zeros((count, 5), np.float32),
        global_orient=three,
        neck_pose=three,
        jaw_pose=three,
        leye_pose=three,
        reye_pose=three,
        eyelids=np.zeros((count, 2), np.float32),
        transl=three,
        head_id="open-1",
        head_hash="cd",
    )


@pytest.fixture
def take(tmp_path) -> Take:
    return Take.create(tmp_path / "take", INFO)


def test_everything_written_is_read_back(take):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    alpha, labels = rng.random((6, 8), dtype=np.float32), rng.integers(0, 3, (6, 8), dtype=np.uint8)
    take.write_image(3, image)
    take.write_mask(3, alpha)
    take.write_parts(3, labels)
    take.write_background(image[::-1])
    take.write_frames(np.arange(5) / 25, np.array([1, 1, 0, 1, 1], bool))
    points = rng.random((5, 478, 3), dtype=np.float32)
    take.write_perception({"landmarks": points, "blendshapes": points[:, :52, 0], "confidence": points[:, 0, 0]})
    take.write_motion(motion(5), focal=20)
    take.write_speech(np.linspace(-1, 1, 320, dtype=np.float32))
    take.write_speech_track({"features": points[:, 0], "rate": 50.0, "model": "m"})
    take.record("ingest", seconds=1.25, frames=5)

    again = Take.open(take.path)
    assert again.info == take.info
    assert (again.info.focal, again.info.head_id, again.info.fps) == (20.0, "open-1", (30000, 1001))
    assert again.is_complete("ingest") and not again.is_complete("tracking")
    assert (again.info.stages["ingest"].seconds, again.info.stages["ingest"].detail) == (1.25, {"frames": 5})
    assert np.array_equal(again.image(3), image)
    assert np.abs(again.mask(3) - alpha).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(again.parts(3), labels)
    assert np.array_equal(again.background(), image[::-1])
    assert len(again) == 5 and again.used.tolist() == [True, True, False, True, True]
    assert np.array_equal(again.perception()["landmarks"], points)
    assert len(again.motion()) == 5
    speech, track = again.speech(), again.speech_track()
    assert speech is not None and np.abs(speech - np.linspace(-1, 1, 320)).max() < 1e-4
    assert track is not None and (track["rate"], track["model"]) == (50.0, "m")
    assert not list(take.path.rglob("*partial*"))


def test_without_sound_there_is_none(take):
    assert take.speech() is None
    assert take.speech_track() is None


@pytest.mark.parametrize(("used", "test"), [(0, 0), (9, 0), (10, 1), (105, 10)])
def test_the_last_tenth_of_the_used_frames_is_held_out(take, used, test):
    flags = np.zeros(2 * used + 3, bool)
    flags[1 : 2 * used + 1 : 2] = True
    take.write_frames(np.arange(len(flags)) / 25, flags)
    split = take.split()
    assert [len(split[name]) for name in ("train", "val", "test")] == [used - test, 0, test]
    assert flags[np.concatenate(list(split.values()))].all()
    if test:
        assert split["train"].max() < split["test"].min()


def test_transforms_speak_nerfstudio_and_lead_back_to_the_camera(take):
    take.write_frames(np.arange(20) / 25, np.arange(20) != 4)
    take.write_motion(motion(20), focal=13.5)
    stored = json.loads((take.path / "transforms_test.json").read_text())
    assert (stored["camera_model"], stored["fl_x"], stored["cx"], stored["cy"]) == ("OPENCV", 13.5, 4, 3)
    frame = stored["frames"][0]
    assert frame["file_path"] == "images/00019.png"
    assert frame["mask_path"] == "masks/00019.png"
    assert (frame["timestep_index"], frame["flame_param_path"]) == (19, "motion.npz")
    # OpenGL's camera of the front view is the world's own frame: +x right, +y up, looking along -z.
    assert np.allclose(frame["transform_matrix"], np.eye(4))
    train = read_transforms(take.path / "transforms_train.json")
    assert [f.timestep_index for f in train.frames] == [i for i in range(19) if i != 4]
    camera, front = train.cameras()[0], Camera.front(13.5, 8, 6)
    assert np.allclose(camera.viewmat, front.viewmat) and np.allclose(camera.K, front.K)
    assert read_transforms(take.path / "transforms_val.json").frames == []


def test_a_transforms_file_with_a_broken_matrix_is_refused(tmp_path):
    path = tmp_path / "transforms.json"
    base = {"w": 4, "h": 4, "fl_x": 1.0, "fl_y": 1.0, "cx": 2.0, "cy": 2.0}
    for matrix in ([[1.0]], np.zeros((4, 4)).tolist()):
        path.write_text(json.dumps(base | {"frames": [{"file_path": "a.png", "transform_matrix": matrix}]}))
        with pytest.raises(FormatError, match=r"another in a\.png"):
            read_transforms(path)


def test_what_is_no_take_says_so(tmp_path, take):
    with pytest.raises(InputError, match="nothing there"):
        Take.open(tmp_path / "none")
    with pytest.raises(InputError, match="a folder without one"):
        Take.open(tmp_path)
    file = take.path / "take.json"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    with pytest.raises(FormatError, match="cannot be read"):
        Take.open(take.path)
    file.write_text(text.replace('"schema": 1', '"schema": 9'))
    with pytest.raises(FormatError, match="schema 9"):
        Take.open(take.path)
    file.write_text(text.replace('"width": 8', '"width": "wide"'))
    with pytest.raises(FormatError, match="width"):
        Take.open(take.path)


def test_damaged_and_missing_parts_are_named(take):
    with pytest.raises(InputError, match=r"frames\.npz"):
        take.split()
    with pytest.raises(InputError, match=r"motion\.npz"):
        take.motion()
    with pytest.raises(FormatError, match=r"00000\.png"):
        take.image(0)
    (take.path / "images" / "00000.png").write_bytes(b"no picture")
    (take.path / "frames.npz").write_bytes(b"PK no archive")
    np.savez(take.path / "perception.npz", landmarks=np.zeros(3))
    for read in (lambda: take.image(0), lambda: take.times, take.perception):
        with pytest.raises(FormatError, match="cannot be read"):
            read()


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/take"):
        with pytest.raises(InputError, match="cannot be written"):
            Take.create(tmp_path / place, INFO)
