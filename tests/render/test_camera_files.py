"""Camera files: written by hand, and nerfstudio's, there and back."""

import json
from pathlib import Path

import numpy as np
import pytest

from avatar.cameras import FRONT_VIEW, Camera
from avatar.errors import FormatError, InputError
from avatar.render.camera_files import path_of, read_camera_file, write_camera_file
from avatar.render.trajectories import camera_eye, orbit, vertical_fov

CENTER = np.array([0.02, -0.05, -0.8])
CAMERA = Camera.front(300.0, 200, 160)


def test_nerfstudio_there_and_back(tmp_path: Path) -> None:
    cameras = orbit(CAMERA, CENTER, np.arange(12) / 6)
    write_camera_file(tmp_path / "path.json", cameras, fps=6)
    read = read_camera_file(tmp_path / "path.json", Camera.front(1, 1, 1), CENTER)
    assert read.size == (200, 160)
    again = read.path.cameras(np.arange(12) / 6, 200, 160)
    for before, after in zip(cameras, again, strict=True):
        assert np.allclose(before.viewmat, after.viewmat, atol=1e-9) and np.allclose(before.K, after.K)


def test_nerfstudio_means_what_its_reader_takes_it_for(tmp_path: Path) -> None:
    """OpenGL camera-to-world by rows, degrees from the top of the picture to its bottom (get_path_from_json)."""
    cameras = orbit(CAMERA, CENTER, np.array([1.5]))
    write_camera_file(tmp_path / "path.json", cameras, fps=6)
    stored = json.loads((tmp_path / "path.json").read_text())
    frame = stored["camera_path"][0]
    matrix = np.array(frame["camera_to_world"]).reshape(4, 4)
    # It looks along its own -z, and its +y is up.
    away = CENTER - matrix[:3, 3]
    assert np.allclose(-matrix[:3, 2], away / np.linalg.norm(away)) and matrix[1, 1] > 0.9
    assert stored["render_height"] / 2 / np.tan(np.radians(frame["fov"]) / 2) == pytest.approx(300)


def test_keyframes_alone_are_enough(tmp_path: Path) -> None:
    first, second = np.eye(4), np.eye(4)
    second[0, 3] = 0.2
    content = {
        "default_fov": 40,
        "default_transition_sec": 2.0,
        "keyframes": [
            {"matrix": first.ravel().tolist(), "fov": 30},
            {
                "matrix": second.ravel().tolist(),
                "fov": None,
                "override_transition_enabled": True,
                "override_transition_sec": 0.5,
            },
        ],
    }
    (tmp_path / "keys.json").write_text(json.dumps(content))
    path = read_camera_file(tmp_path / "keys.json", CAMERA, CENTER).path
    assert np.allclose(path.time, [0, 0.5]) and np.allclose(path.fov, [30, 40])
    start, end = path.cameras(np.array([0, 9.0]), 64, 48)
    assert np.allclose(start.viewmat, FRONT_VIEW) and np.allclose(camera_eye(end), [0.2, 0, 0])


def test_keys_written_by_hand(tmp_path: Path) -> None:
    keys = [{"time": 1, "eye": [0.3, 0, 0], "fov": 40}, {"time": 0, "eye": [0, 0, 0], "focal": 160}]
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    read = read_camera_file(tmp_path / "keys.json", CAMERA, CENTER)
    start, end = read.path.cameras(np.array([0, 1.0]), 200, 160)
    assert read.size is None and start.K[0, 0] == pytest.approx(160) and vertical_fov(end) == pytest.approx(40)
    for camera in (start, end):
        seen = camera.viewmat[:3, :3] @ CENTER + camera.viewmat[:3, 3]
        assert np.allclose(seen[:2], 0, atol=1e-12) and seen[2] > 0


IDENTITY = np.eye(4).ravel().tolist()
FRAME = {"camera_to_world": IDENTITY, "fov": 40, "aspect": 1}
BROKEN = {
    "no list": "7",
    "cut off": '{"camera_path": [',
    "no cameras": json.dumps({"camera_path": []}),
    "panorama": json.dumps({"camera_path": [FRAME], "camera_type": "equirectangular"}),
    "no rate": json.dumps({"camera_path": [FRAME, FRAME], "fps": 0}),
    "flat": json.dumps({"camera_path": [FRAME | {"camera_to_world": [0.0] * 16}]}),
    "sheared": json.dumps({"camera_path": [FRAME | {"camera_to_world": [1, 1, *IDENTITY[2:]]}]}),
    "short": json.dumps({"camera_path": [FRAME | {"camera_to_world": IDENTITY[:12]}]}),
    "blind": json.dumps({"camera_path": [FRAME | {"fov": 0}]}),
    "huge": json.dumps({"camera_path": [FRAME], "render_width": 100000, "render_height": 100}),
    "two at once": json.dumps([{"time": 0, "eye": [0, 0, 0]}, {"time": 0, "eye": [0.1, 0, 0]}]),
    "overhead": json.dumps([{"time": 0, "eye": [0.02, 1, -0.8]}]),
    "too wide": json.dumps([{"time": 0, "eye": [0, 0, 0], "fov": 179}]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    (tmp_path / "path.json").write_text(BROKEN[name])
    with pytest.raises(InputError, match=r"path\.json") as caught:
        read_camera_file(tmp_path / "path.json", CAMERA, CENTER)
    assert caught.value.expected


def test_a_file_that_is_not_there_and_no_cameras_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="front, orbit, dolly or a JSON file"):
        read_camera_file(tmp_path / "none.json", CAMERA, CENTER)
    with pytest.raises(InputError, match="at least one camera"):
        write_camera_file(tmp_path / "path.json", [], fps=25)
    with pytest.raises(FormatError):
        (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
        read_camera_file(tmp_path / "binary.json", CAMERA, CENTER)


def test_a_path_of_cameras_turns_around_the_head() -> None:
    cameras = orbit(CAMERA, CENTER, np.array([0, 1.5]))
    middle = path_of(cameras, np.array([0.0, 1.0]), CENTER).cameras(np.array([0.5]), 200, 160)[0]
    seen = middle.viewmat[:3, :3] @ CENTER + middle.viewmat[:3, 3]
    assert np.abs(seen[:2]).max() < 1e-9
