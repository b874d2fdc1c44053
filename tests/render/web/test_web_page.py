"""The page in real headless Chromium: it loads, draws, deforms, plays with sound, and shows both eyes of a headset."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from web_package import WebPackage, camera_entry, camera_of, premultiplied, psnr

from avatar.cameras import Camera, intrinsics, look_at
from avatar.io.avatar import StoredAvatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar
from avatar.render.playback import render_pose
from avatar.render.rasterization import rasterize
from avatar.render.viewer.live import head_turn

FRAMES, SIZE, SOUND_RATE = (3, 20), 256, 48_000
# Finds the same face in every picture of the camera, straight at first and then turned by 0.3.
MEDIAPIPE = """
export const FilesetResolver = { forVisionTasks: async (place) => place };
export const FaceLandmarker = {
  createFromOptions: async (files, options) => {
    if (!(await fetch(options.baseOptions.modelAssetPath)).ok) throw new Error("no model");
    let seen = 0;
    return {
      detectForVideo(video) {
        const angle = seen++ ? 0.3 : 0, c = Math.cos(angle), s = Math.sin(angle);
        return {
          faceBlendshapes: video.videoWidth ? [{ categories: [
            { categoryName: "_neutral", score: 0.5 }, { categoryName: "jawOpen", score: 0.6 }] }] : [],
          facialTransformationMatrixes: [{ data: [c, 0, -s, 0, 0, 1, 0, 0, s, 0, c, 0, 0, 0, -40, 1] }],
        };
      },
      close() {},
    };
  },
};
"""
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CLEAR = np.array([0.075, 0.086, 0.102])
Scenario = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def browsed(
    run_node: Callable[..., dict[str, Any]],
    monkeypatch_module: pytest.MonkeyPatch,
    chromium: str,
    web_folder: Path,
    web_avatar: StoredAvatar,
    tiny_motion: Motion,
) -> dict[str, Any]:
    """What every scenario of browser.mjs found."""
    root = web_folder.parent
    newer, cut = (Path(shutil.copytree(web_folder, root / name)) for name in ("newer", "cut"))
    manifest = json.loads((newer / "avatar.json").read_text()) | {"schema": 2}
    (newer / "avatar.json").write_text(json.dumps(manifest))
    (cut / "avatar.bin").write_bytes((cut / "avatar.bin").read_bytes()[:5000])
    gone = Path(shutil.copytree(web_folder, root / "gone"))
    (gone / "track.bin").unlink()
    package = root.parent / "mediapipe"
    (package / "wasm").mkdir(parents=True)
    (package / "vision_bundle.mjs").write_text(MEDIAPIPE)
    for name in ("vision_wasm_internal.js", "vision_wasm_internal.wasm"):
        (package / "wasm" / name).write_text("")
    monkeypatch_module.setattr("avatar.render.export.web.fetch", lambda name: package / "vision_bundle.mjs")
    export_avatar(web_avatar, root / "camera", FORMATS["web"], motion=tiny_motion, webcam=package)
    shutil.copy(EXAMPLES / "03_own_page.html", root / "camera" / "own.html")
    job = {
        "root": str(root),
        "site": "/talk/",
        "browser": chromium,
        "moments": [float(tiny_motion.time[i] - tiny_motion.time[0]) for i in FRAMES],
        "camera": camera_entry(camera_of(web_avatar, SIZE)),
        "broken": ["/newer/", "/cut/", "/gone/"],
    }
    return run_node("browser.mjs", job, timeout=240)


@pytest.fixture
def scenario(browsed: dict[str, Any]) -> Scenario:
    def found(name: str) -> dict[str, Any]:
        result = browsed[name]
        assert "failed" not in result, result["failed"]
        return result

    return found


def pixels(browsed: dict[str, Any], name: str) -> np.ndarray:
    values = np.fromfile(Path(browsed["output"]) / name, np.uint8)
    side = round((len(values) / 4) ** 0.5)
    return values.reshape(side, side, 4)


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_nothing_overlaps_and_all_can_be_read(scenario: Scenario, width: str) -> None:
    result = scenario("looks")[width]
    boxes = {box["name"]: box for box in result["boxes"]}
    assert {"stage", "panel", "bar", "play", "time", "clock", "contact", "face", "webcam", "vr", "ar"} <= set(boxes)
    for first in ("stage", "panel", "bar"):
        for second in ("stage", "panel", "bar"):
            assert first == second or not overlap(boxes[first], boxes[second]), (first, second)
    inside = [box for name, box in boxes.items() if name not in {"stage", "panel", "bar"}]
    for index, box in enumerate(inside):
        assert not box["cut"], box
        assert box["font"] >= 12, box
        assert not any(overlap(box, other) for other in inside[index + 1 :]), box
    assert not result["scrolls"]
    stage = boxes["stage"]
    assert stage["bottom"] - stage["top"] > 250
    for words in ("Eye contact", "Move the face", "Smile", "Brows", "Left and right apart", " / 0:07"):
        assert words in result["text"]
    assert result["complaints"] == []


def overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    across = min(a["right"], b["right"]) - max(a["left"], b["left"])
    return across > 1 and min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) > 1


@pytest.mark.parametrize("renderer", ["software", "webgl"])
@pytest.mark.parametrize("index", range(len(FRAMES)))
def test_pictures_are_those_of_our_rasteriser(
    browsed: dict[str, Any],
    scenario: Scenario,
    web_avatar: StoredAvatar,
    tiny_motion: Motion,
    renderer: str,
    index: int,
) -> None:
    assert scenario("pictures")["complaints"] == []
    gaussians = web_avatar.gaussians
    pose = gaussians.poses(tiny_motion[FRAMES[index] : FRAMES[index] + 1])[0]
    expected = render_pose(gaussians, pose, camera_of(web_avatar, SIZE), threads=1)
    found = pixels(browsed, f"{renderer}-{index}.bin")
    head = expected.alpha[..., 0].numpy() > 0.5
    assert psnr(premultiplied(found)[head], expected.image.numpy()[head]) > 37


def test_the_picture_keeps_the_time_of_the_sound(
    browsed: dict[str, Any], scenario: Scenario, web_sound: np.ndarray
) -> None:
    result = scenario("sound")
    clock, time = np.array(result["samples"]).T
    assert np.ptp(time) > 0.8
    assert np.abs((time - clock) - (time - clock).mean()).max() < 0.02
    assert result["loudest"] > 0.2
    assert result["held"] == result["still"]
    assert result["sought"] == pytest.approx(3, abs=1e-3)
    assert result["text"].startswith("0:03 / 0:07")
    assert result["ended"] == pytest.approx(7.5, abs=1e-6)
    assert result["complaints"] == []
    # The encoder's delay is undone by the decoder: a click is heard when it was recorded.
    decoded = np.fromfile(Path(browsed["output"]) / "decoded.bin", np.float32)
    lags = np.arange(-2400, 2401, 8)
    window = web_sound[12_000:84_000]
    scores = [float(window @ decoded[12_000 + lag : 84_000 + lag]) for lag in lags]
    assert abs(lags[int(np.argmax(scores))]) / SOUND_RATE < 0.006


def test_sliders_and_mouse(scenario: Scenario) -> None:
    result = scenario("sliders")
    assert result["opened"] > 1
    assert result["after"] < 0.05 * result["opened"]
    # 52 coefficients, three turns of the neck, and the emotions that add something.
    assert result["count"] == 52 + 3 + 6
    assert {"Happy", "Surprised"} <= set(result["texts"])
    assert "Smile, left" in result["texts"] and "Look up, right eye" in result["texts"]
    assert abs(result["turned"][0]) > 0.2 and result["turned"][1] > 0.05
    assert result["front"] == [0, 0]
    assert result["complaints"] == []


def drawn(
    package: WebPackage, row: list[float], camera: Camera, gaze: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied image and alpha of a row of coefficients and pose."""
    world = package.world(np.array(row, np.float32), gaze)
    view, K = (torch.as_tensor(value, dtype=torch.float32) for value in (camera.viewmat, camera.K))
    scene = (world.means, world.quats, world.scales, world.opacities, world.colors)
    rendering = rasterize(*scene, view, K, camera.width, camera.height, threads=1)
    return rendering.image.numpy(), rendering.alpha.numpy()


def test_both_eyes_of_a_headset(browsed: dict[str, Any], scenario: Scenario, web_folder: Path) -> None:
    result = scenario("headset")
    assert result["modes"] == ["immersive-vr", "immersive-ar"]
    assert len(result["found"]) == 2
    package, centers = WebPackage(web_folder), []
    for index, eye in enumerate(result["found"]):
        _, _, width, height = eye["box"]
        view = np.array(eye["view"]).reshape(4, 4).T
        lens = eye["projection"]
        K = [
            [lens[0] * width / 2, 0, width / 2 * (1 - lens[8])],
            [0, lens[5] * height / 2, height / 2 * (1 + lens[9])],
            [0, 0, 1],
        ]
        camera = Camera(np.diag([1, -1, -1, 1]) @ view, np.array(K), width, height)
        image, alpha = drawn(package, result["row"], camera, result["gaze"])
        picture = np.fromfile(Path(browsed["output"]) / f"eye-{index}.bin", np.uint8).reshape(height, width, 4)[::-1]
        head = alpha[..., 0] > 0.5
        assert head.mean() > 0.02
        assert psnr(picture[..., :3][head] / 255, (image + (1 - alpha) * CLEAR)[head]) > 35
        centers.append(-(camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]))
    # It looks at the viewer, who is as high as its eyes: neither up nor down, but for its own head's turn.
    assert np.abs(result["gaze"]).max() < 0.3
    # The eyes stand apart as a person's do, a metre before the face and as high as it.
    assert 0.05 < np.linalg.norm(centers[0] - centers[1]) < 0.08
    away = np.mean(centers, axis=0) - np.array(package.manifest["center"])
    np.testing.assert_allclose(away, [0, 0, 1], atol=0.02)
    # Put a metre to the viewer's right, it faces the viewer there.
    moved = np.mean(result["moved"], axis=0).reshape(4, 4).T
    np.testing.assert_allclose(moved @ [*package.manifest["center"], 1], [1, 0, 0, 1], atol=0.02)
    np.testing.assert_allclose(moved[:3, 2], [-1, 0, 0], atol=0.02)
    assert result["complaints"] == []


def test_it_is_fast_enough_on_two_cores(scenario: Scenario) -> None:
    result = scenario("speed")
    assert result["fps"] >= 15, result


def test_what_cannot_be_shown_is_said_in_the_page(scenario: Scenario) -> None:
    said = scenario("refusals")
    assert said["/newer/"].startswith("This avatar was exported for another version of the player")
    assert said["/cut/"] == "This avatar is damaged: avatar.bin is cut short. Export it again."
    assert said["/gone/"] == "track.bin could not be loaded (404): is the folder complete?"


def test_live_coefficients(scenario: Scenario) -> None:
    result = scenario("live")
    assert result["jaw"] == 0
    assert result["turned"] == pytest.approx(head_turn(*np.radians([20.0, 10.0, -15.0])), abs=1e-5)
    assert result["straight"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert result["said"] == "The live input cannot be understood: There is no coefficient called jawOpens."
    assert result["complaints"] == []


def test_the_example_of_a_page_of_one_s_own(scenario: Scenario) -> None:
    result = scenario("own")
    assert result["said"] == ""
    assert result["complaints"] == []


def test_the_face_before_the_webcam(scenario: Scenario) -> None:
    result = scenario("webcam")
    assert result["jaw"] == pytest.approx(0.6)
    assert 0.15 < result["turn"] <= 0.24 + 1e-3
    assert result["playing"] is True
    assert result["pressed"] == "false"
    assert result["complaints"] == []


def test_the_interface_and_the_adapter_for_three(browsed: dict[str, Any], scenario: Scenario, web_folder: Path) -> None:
    result = scenario("three")
    package = WebPackage(web_folder)
    eye = np.add(package.manifest["center"], [0, 0, 0.9])
    camera = Camera(look_at(eye, eye - [0, 0, 1]), intrinsics(160 / np.tan(np.radians(15)), 320, 320), 320, 320)
    image, alpha = drawn(package, result["row"], camera)
    found = pixels(browsed, "three.bin")[::-1]
    head = alpha[..., 0] > 0.5
    assert head.mean() > 0.05
    assert psnr(found[..., :3][head] / 255, image[head]) > 35
    assert result["box"] == [0, 255, 0]
    assert result["error"] == 0
    assert result["half"] == pytest.approx(0.5)
    assert result["refused"] == [
        "RangeError: Expected 52 coefficients, found 2.",
        "RangeError: There is no coefficient called smile.",
        "RangeError: Coefficients must be finite numbers.",
        "RangeError: Expected coefficients, found undefined.",
        "RangeError: There is no part of a pose called head.",
        "RangeError: Expected three numbers for neck.",
    ]
    assert result["complaints"] == []
