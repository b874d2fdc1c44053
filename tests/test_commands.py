"""The command line from end to end, on a tiny take and a tiny avatar."""

import importlib
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import av
import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from avatar import cli
from avatar.commands import doctor
from avatar.commands._job import Job
from avatar.commands._training import CHECKPOINT, TRAINED
from avatar.errors import BackendError
from avatar.fields.gaussian_head import GaussianHead
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.io.video import probe, read_frames
from avatar.models import PARTS
from avatar.motion import Motion
from avatar.render import _native, _speed
from avatar.train import config as train_config
from avatar.train.config import TrainConfig

QUICK = TrainConfig(
    gaussians=2000,
    torso_gaussians=300,
    components=3,
    steps=6,
    residual_start=3,
    checkpoint_every=4,
    feature_weight=0.0,
    close_pinholes=False,
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path | int) -> Any:
    """What a command prints with --json, parsed."""
    capsys.readouterr()
    cli.main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that train for a moment only."""
    monkeypatch.setitem(train_config.PRESETS, "fast", QUICK)


def test_models_are_listed_with_licence_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(capsys, "models", "list")
    assert [row["name"] for row in rows] == list(PARTS)
    assert all(row["licence"] and row["sources"] and row["purpose"] for row in rows)
    one = run(capsys, "models", "list", "selfie_segmenter")
    assert [row["name"] for row in one] == ["selfie_segmenter"]


def test_verify_names_what_is_missing_and_what_is_damaged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSPLAT_CACHE", str(tmp_path))
    assert {row["status"] for row in run(capsys, "models", "verify")} == {"missing"}
    (tmp_path / PARTS["selfie_segmenter"].filename).write_bytes(b"not the model")
    with pytest.raises(SystemExit) as stop:
        cli.main(["models", "verify"])
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert "Damaged in the cache: selfie_segmenter" in text and "avatar models fetch selfie_segmenter" in text


def test_doctor_says_what_runs_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSPLAT_CACHE", str(tmp_path))
    found = run(capsys, "doctor")
    assert found["cores"] >= 1 and found["threads"] >= 1
    assert found["rasteriser"] == f"cpu ({found['instruction sets'].split(', ')[0]})"
    speed = found["speed"]
    assert speed["frames_per_second"] > speed["training_steps_per_second"] > 0
    assert found["parts cache"] == str(tmp_path)
    assert found["parts"].startswith("missing face_landmarker, ") and "`avatar models fetch`" in found["parts"]


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known speed, and no time spent on measuring it."""
    monkeypatch.setattr(_speed, "measure_speed", lambda **_: {"frames_per_second": 1.5})


def test_doctor_says_how_to_get_the_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, slow_machine: None
) -> None:
    error = BackendError("the native rasteriser is missing", fix=_native.HOW_TO_INSTALL)
    monkeypatch.setattr(_native, "load_library", Mock(side_effect=error))
    monkeypatch.setattr(_native, "available_isas", tuple)
    found = run(capsys, "doctor")
    assert found["rasteriser"].startswith("torch, about 100 times slower: the native rasteriser is missing. To do: ")
    assert "apt install g++" in found["rasteriser"]
    assert found["instruction sets"] == "none" and found["speed"] == {"frames_per_second": 1.5}


def test_doctor_says_how_to_use_a_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, slow_machine: None
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = run(capsys, "doctor")
    assert found["gpu"] == "Some GPU, unused: gsplat is missing. To do: `pip install 'headsplat[gpu]'`"
    assert found["device auto"] == "cpu"


def test_people_get_lines_and_programs_get_json(capsys: pytest.CaptureFixture[str], slow_machine: None) -> None:
    cli.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("rasteriser ") and "cpu (" in line for line in lines)
    assert not any("{" in line for line in lines)


def test_eval_states_the_figures_and_the_pictures_prove_them(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tiny_take: Take, tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    figures = run(capsys, "eval", tiny_avatar, "--take", tiny_take.path, "--brief", "--frames", frames)["held_out"]
    assert set(figures) == {"video_driven", "nearest_frame", "nearest_frame_raw", "frames"}
    assert all(set(figures[name]) == {"psnr", "ssim", "l1"} for name in set(figures) - {"frames"})
    assert figures["frames"]["count"] == 3
    values = []
    for truth in sorted(frames.glob("?????_truth.png")):
        stem = truth.name.removesuffix("_truth.png")
        mask = cv2.imread(str(frames / f"{stem}_mask.png"), cv2.IMREAD_GRAYSCALE)
        pictures = [cv2.imread(str(frames / f"{stem}_{kind}.png")) for kind in ("truth", "render")]
        assert mask is not None and all(picture is not None for picture in pictures)
        one, other = (picture[mask > 0] / 255 for picture in pictures if picture is not None)
        values.append(-10 * np.log10(np.square(one - other).mean()))
    assert np.mean(values) == pytest.approx(figures["video_driven"]["psnr"], abs=1e-4)


def test_eval_s_json_has_its_rows_and_what_stands_beside_them(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tiny_take: Take
) -> None:
    found = run(capsys, "eval", tiny_avatar, "--take", tiny_take.path)
    assert list(found["rows"]) == ["truth", "nearest_frame", "video_driven", "speech_driven"]
    assert found["rows"]["speech_driven"] is None and "no sound" in found["speech"]["note"]
    for row in ("truth", "nearest_frame", "video_driven"):
        assert list(found["rows"][row]) == ["whole", "head", "face", "mouth"]
    head = {row: found["rows"][row]["head"] for row in ("truth", "nearest_frame", "video_driven")}
    assert head["truth"]["psnr"] is None and head["truth"]["ssim"] == 1 and head["truth"]["flicker_ratio"] == 1
    assert head["video_driven"]["psnr"] == pytest.approx(found["held_out"]["video_driven"]["psnr"], abs=1e-3)
    assert head["nearest_frame"]["pasted_share"] == 1 and head["video_driven"]["pasted_share"] == 0
    assert found["play"]["frames_per_second"] > 1 and found["avatar"]["bytes"] > 1000 and found["view_cone"] is None
    assert "161 pixels" in found["notes"]["ms_ssim"]


def test_train_makes_an_avatar_with_a_report_and_goes_on_where_it_stopped(
    capsys: pytest.CaptureFixture[str], tiny_take: Take, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "me"
    command = ["train", tiny_take.path, "-o", output, "--preset", "fast", "--consent", "I am made of numbers"]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("avatar.train.speaking.fit_speaking", stop)
        with pytest.raises(SystemExit) as stopped:
            cli.main([*map(str, command)])
    assert stopped.value.code == 130
    assert "Run the same command again to continue" in capsys.readouterr().err
    assert set(json.loads((output / "job.json").read_text())["stages"]) == {"training"}
    assert (output / TRAINED / "avatar.json").is_file() and not (output / "avatar.json").exists()

    report = run(capsys, *command)
    assert report["source"] == "tiny.mp4"
    assert set(report["stages"]) == {"training", "speech", "evaluation"}
    assert all(row["seconds"] >= 0 and row["peak_rss_mb"] > 10 for row in report["stages"].values())
    assert report["speech"] == {
        "driven": False,
        "note": "the clip has no sound: the general speech model speaks for the avatar",
    }
    assert report["avatar"]["gaussians"] == 2300
    assert json.loads((output / "report.json").read_text()) == report
    page = (output / "report.html").read_text()
    assert "Held-out frames" in page and page.count("<video ") == 3 and "avatar render" in page
    assert len(report["held_out_frames"]["psnr"]) == 3 and "frames" not in report["stages"]["evaluation"]
    assert cv2.imread(str(output / "contact.png")) is not None
    assert not any((output / name).exists() for name in (TRAINED, CHECKPOINT)) and not list(output.glob("*partial*"))
    stored = load_avatar(output)
    assert stored.info.consent == "I am made of numbers"
    assert stored.info.provenance["source_sha256"] == tiny_take.info.source_sha256
    assert set(stored.info.limits) == {"yaw", "pitch", "roll"}
    assert stored.info.view_cone is not None and stored.info.view_cone.yaw[0] < 0 < stored.info.view_cone.yaw[1]

    # Nothing is left to do: the same figures, and no file of the avatar is written again.
    before = (output / "weights.safetensors").stat().st_mtime_ns
    assert run(capsys, *command)["held_out"] == report["held_out"]
    assert (output / "weights.safetensors").stat().st_mtime_ns == before

    # A page that was not finished, or is an earlier version's, is drawn again without training.
    (output / "report.html").unlink()
    run(capsys, *command)
    assert "<video " in (output / "report.html").read_text()
    job = json.loads((output / "job.json").read_text())
    del job["stages"]["evaluation"]["frames"]
    (output / "job.json").write_text(json.dumps(job))
    (output / "report.html").write_text("old")
    assert run(capsys, *command)["held_out"] == report["held_out"]
    assert "<video " in (output / "report.html").read_text()
    assert (output / "weights.safetensors").stat().st_mtime_ns == before


def test_other_settings_train_again_and_keep_the_take(tmp_path: Path) -> None:
    first = Job.open(tmp_path, "a.mp4", "ab", {"size": 512, "train": {"steps": 1}})
    first.stages = {name: {} for name in ("ingest", "tracking", "shoulders", "training", "speech", "evaluation")}
    with first.stage(tmp_path, "evaluation") as row:
        row["figures"] = {"psnr": 1.0}
    same = Job.open(tmp_path, "a.mp4", "ab", {"size": 512, "train": {"steps": 1}})
    assert len(same.stages) == 6 and same.stages["evaluation"]["figures"] == {"psnr": 1.0}
    other = Job.open(tmp_path, "a.mp4", "ab", {"size": 512, "train": {"steps": 2}})
    assert list(other.stages) == ["ingest", "tracking", "shoulders"]


def test_a_stage_that_fails_is_not_done(tmp_path: Path) -> None:
    job = Job.open(tmp_path, "a.mp4", "ab", {})
    with pytest.raises(ValueError, match="broken"), job.stage(tmp_path, "training"):
        raise ValueError("broken")
    assert not job.done("training") and not Job.open(tmp_path, "a.mp4", "ab", {}).done("training")


def test_a_motion_file_is_rendered_at_any_rate_and_size(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tiny_take: Take, tmp_path: Path
) -> None:
    motion = tiny_take.path / "motion.npz"
    seconds = float(np.ptp(tiny_take.times))
    said = run(capsys, "render", tiny_avatar, "--motion", motion, "-o", tmp_path / "talk.mp4")
    info = probe(tmp_path / "talk.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (80, 80, Fraction(4), False)
    assert said["frames"] == info.frames == round(seconds * 4) + 1
    for frame, index in zip(read_frames(tmp_path / "talk.mp4"), range(info.frames), strict=True):
        error = np.abs(frame.image.astype(int) - tiny_take.image(index)).mean()
        assert error < 6, index
    small = run(capsys, "render", tiny_avatar, "--motion", motion, "--fps", 10, "--size", 32, "-o", tmp_path / "s.mp4")
    assert (small["width"], small["height"], small["frames"]) == (32, 32, round(seconds * 10) + 1)


def test_cameras_and_backgrounds(capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path) -> None:
    motion = resting_motion(tiny_avatar, tmp_path / "motion.npz")
    command = ("render", tiny_avatar, "--motion", motion)
    path = tmp_path / "camera.json"
    path.write_text(json.dumps([{"time": 0, "eye": [0.3, 0, 0]}, {"time": 1, "eye": [-0.3, 0, 0], "focal": 200}]))
    corners = {}
    for name, options in {
        "orbit": ("--camera", "orbit"),
        "file": ("--camera", path, "--background", "#20304a"),
        "white": ("--background", "white"),
    }.items():
        run(capsys, *command, *options, "-o", tmp_path / f"{name}.mp4")
        corners[name] = next(iter(read_frames(tmp_path / f"{name}.mp4"))).image[:6, :6].reshape(-1, 3).mean(0)
    assert np.allclose(corners["orbit"], 128, atol=4)
    assert np.allclose(corners["file"], [0x20, 0x30, 0x4A], atol=4)
    assert np.allclose(corners["white"], 255, atol=4)


def test_a_camera_beyond_the_view_cone_is_told(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    motion = resting_motion(tiny_avatar, tmp_path / "motion.npz")
    narrow = Path(shutil.copytree(tiny_avatar, tmp_path / "narrow"))
    manifest = json.loads((narrow / "avatar.json").read_text())
    manifest["view_cone"] = {"yaw": [-12, 15], "pitch": [-10, 20]}
    (narrow / "avatar.json").write_text(json.dumps(manifest))
    camera = tmp_path / "camera.json"
    # 30 degrees to the head's left.
    camera.write_text(json.dumps([{"time": 0, "eye": [0.4, 0, -0.107]}]))
    command = ["render", str(narrow), "--motion", str(motion), "-o", str(tmp_path / "a.mp4"), "--json"]
    cli.main(command)
    said = capsys.readouterr()
    assert json.loads(said.out)["degrees_beyond_view_cone"] == 0 and "guessed" not in said.err
    cli.main([*command, "--camera", str(camera)])
    said = capsys.readouterr()
    assert 13 < json.loads(said.out)["degrees_beyond_view_cone"] < 19
    assert "12° right to 15° left, 10° below to 20° above" in " ".join(said.err.split())


def test_the_head_is_rendered_without_the_clothes(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    command = ("render", tiny_avatar, "--motion", resting_motion(tiny_avatar, tmp_path / "motion.npz"), "--transparent")
    run(capsys, *command, "-o", tmp_path / "bust")
    run(capsys, *command, "--part", "head", "-o", tmp_path / "head")
    bust, head = (cv2.imread(str(tmp_path / part / "00000.png"), cv2.IMREAD_UNCHANGED) for part in ("bust", "head"))
    assert bust is not None and head is not None
    assert (bust[-4:, 40, 3] > 200).all() and not head[-4:, :, 3].any()
    assert np.abs(bust[30:40, 35:45].astype(int) - head[30:40, 35:45]).max() <= 1


def resting_motion(avatar: Path, path: Path) -> Path:
    """Three moments of a head at rest in front of the camera."""
    gaussians = load_avatar(avatar).gaussians
    three = np.zeros((3, 3), np.float32)
    Motion(
        time=np.arange(3) / 4,
        betas=gaussians.betas.numpy(),
        expression=np.zeros((3, gaussians.head.exprdirs.shape[-1]), np.float32),
        global_orient=three,
        neck_pose=three,
        jaw_pose=three,
        leye_pose=three,
        reye_pose=three,
        eyelids=np.zeros((3, 2), np.float32),
        transl=three + np.array([0, 0, -0.8], np.float32),
        head_id=gaussians.head.id,
        head_hash=gaussians.head.hash,
    ).save(path)
    return path


def test_transparent_pictures_go_into_a_mov(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    motion = resting_motion(tiny_avatar, tmp_path / "motion.npz")
    output = tmp_path / "talk.mov"
    run(capsys, "render", tiny_avatar, "--motion", motion, "--background", "transparent", "-o", output)
    info = probe(output)
    assert (info.width, info.height, info.frames, info.codec) == (80, 80, 3, "prores")


def test_a_folder_takes_pictures_depth_and_normals(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    motion = resting_motion(tiny_avatar, tmp_path / "motion.npz")
    command = ("render", tiny_avatar, "--motion", motion, "--transparent", "--depth", "--normals", "--size", 48)
    said = run(capsys, *command, "--camera", "dolly", "-o", tmp_path / "out")
    assert said["depth"] == str(tmp_path / "out_depth") and said["normals"] == str(tmp_path / "out_normals")
    stored = {
        name: cv2.imread(str(tmp_path / name / "00001.png"), cv2.IMREAD_UNCHANGED)
        for name in ("out", "out_depth", "out_normals")
    }
    shapes = {name: (picture.dtype.name, picture.shape) for name, picture in stored.items() if picture is not None}
    assert shapes == {
        "out": ("uint8", (48, 48, 4)),
        "out_depth": ("uint16", (48, 48)),
        "out_normals": ("uint16", (48, 48, 3)),
    }
    facts = json.loads((tmp_path / "out_depth" / "sequence.json").read_text())
    middle = stored["out_depth"][24, 24] * facts["depth_unit_scale_factor"]
    assert 0.5 < middle < 0.8


def test_two_eyes_and_layers_beside_a_video(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    motion = resting_motion(tiny_avatar, tmp_path / "motion.npz")
    for stereo, size in (("sbs", (96, 32)), ("tb", (48, 64)), ("180", (96, 48))):
        output = tmp_path / f"{stereo}.mp4"
        shape = ("--size", "48x32") if stereo != "180" else ("--size", 48)
        said = run(
            capsys, "render", tiny_avatar, "--motion", motion, "--stereo", stereo, *shape, "--depth", "-o", output
        )
        layers = (probe(output), probe(tmp_path / f"{stereo}_depth.mp4"))
        assert [(info.width, info.height) for info in layers] == [size] * 2
        assert said["depth_near"] < said["depth_far"]
    with av.open(str(tmp_path / "tb.mp4")) as container:
        assert "STEREO3D" in str(list(next(container.decode(video=0)).side_data.keys()))


def test_a_written_camera_path_gives_the_same_film(
    capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path
) -> None:
    motion, path = resting_motion(tiny_avatar, tmp_path / "motion.npz"), tmp_path / "path.json"
    command = ("render", tiny_avatar, "--motion", motion, "--transparent")
    options = ("--camera", "orbit", "--look-at-face", "--fov", 12, "--size", "64x48")
    run(capsys, *command, *options, "--camera-out", path, "-o", tmp_path / "first")
    said = run(capsys, *command, "--camera", path, "-o", tmp_path / "second")
    assert (said["width"], said["height"]) == (64, 48)
    for name in ("00000.png", "00001.png"):
        first, second = (cv2.imread(str(tmp_path / folder / name), -1) for folder in ("first", "second"))
        assert first is not None and second is not None
        assert np.abs(first.astype(int) - second).max() <= 2 and first[..., 3].max() > 200


def test_an_avatar_knows_what_it_was_trained_on(tiny_avatar: Path, tiny_gaussians: GaussianHead) -> None:
    tensors = load_file(tiny_avatar / "weights.safetensors")
    assert len(tensors["gaussians.offsets"]) == len(tiny_gaussians)
    assert not any(name.startswith("speech.") for name in tensors)
    assert any(name.startswith("life.") for name in tensors)


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_its_function_and_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, module, function = cli.COMMANDS[name]
    assert callable(getattr(importlib.import_module(f"avatar.commands.{module}"), function))
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: avatar {name}" in capsys.readouterr().out
