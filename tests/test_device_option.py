"""The option --device: what a command does elsewhere is what it does on the CPU, and what cannot be is told at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from avatar import cli
from avatar.commands import _device
from avatar.errors import BackendError
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.render import _gsplat, devices
from avatar.render.devices import resolve_device
from avatar.train import showcase

Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, device: torch.device) -> Run:
    """Runs a command that prints JSON, where ``there`` with `--device cuda`, which is whatever device is tested.

    It is looked at that it draws there, and only then.
    """
    drawn, draw = [], _gsplat.render
    monkeypatch.setattr(_gsplat, "render", lambda *a, **b: drawn.append(a) or draw(*a, **b))
    monkeypatch.setattr(_device, "resolve_device", lambda name: device if name == "cuda" else torch.device("cpu"))

    def call(*arguments: object, there: bool) -> Any:
        capsys.readouterr()
        drawn.clear()
        cli.main([*map(str, arguments), "--json", "--device", "cuda" if there else "cpu"])
        assert bool(drawn) == there
        return json.loads(capsys.readouterr().out)

    return call


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["create", "preprocess", "takes", "train", "demo", "eval", "render", "dub", "view"])
def test_without_a_gpu_nothing_is_begun(
    command: str, tiny_take: Take, tiny_avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "talk.csv").write_text("Timecode,BlendShapeCount,JawOpen\n00:00:00:00.0,61,0.1\n")
    arguments: dict[str, list[object]] = {
        "create": [tmp_path / "clip.mp4"],
        "preprocess": [tmp_path / "clip.mp4"],
        "takes": ["import", tmp_path / "talk.csv"],
        "train": [tiny_take.path],
        "demo": [],
        "eval": [tiny_avatar, "--take", tiny_take.path],
        "render": [tiny_avatar, "--motion", tiny_take.path / "motion.npz"],
        "dub": [tiny_avatar, "--video", tmp_path / "clip.mp4", "--audio", tmp_path / "clip.mp4"],
        "view": [tiny_avatar],
    }
    output = [] if command in ("eval", "view") else ["-o", tmp_path / "out"]
    with pytest.raises(SystemExit) as stop:
        cli.main([command, *map(str, arguments[command]), *map(str, output), "--device", "cuda"])
    text = capsys.readouterr().err
    assert stop.value.code == 2
    assert text.startswith("error: the gsplat backend cannot run on this machine.\n  Expected: an NVIDIA GPU")
    assert "stay on the CPU (no --device;" in text and text.count("\n") == 4
    assert not (tmp_path / "out").exists()


def test_auto_takes_what_works_and_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise BackendError("the gsplat backend is not installed", found="No module named 'gsplat'")

    caplog.set_level("INFO", devices.__name__)
    monkeypatch.setattr(_gsplat, "load_rasterization", fail)
    assert resolve_device("auto") == torch.device("cpu")
    assert caplog.messages == ["Everything runs on the CPU: No module named 'gsplat'"]
    assert _device.chosen_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err == "Everything runs on the CPU.\n"
    with pytest.raises(BackendError, match="not installed"):
        resolve_device("cuda")
    monkeypatch.setattr(_gsplat, "load_rasterization", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("cuda") == resolve_device("auto") == torch.device("cuda", 1)
    assert _device.chosen_device("auto").index == 1
    assert capsys.readouterr().err == "The GPU is used (cuda:1).\n"


def pictures(folder: Path) -> np.ndarray:
    """All pictures of a folder, as numbers from 0 to 1."""
    found = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))]
    assert found and all(picture is not None for picture in found)
    return np.stack([picture / np.iinfo(picture.dtype).max for picture in found])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "shot",
    [
        ["--background", "plate", "--gaze", "camera", "--emotion", "happy"],
        ["--camera", "orbit", "--transparent", "--depth", "--normals", "--part", "head"],
        ["--stereo", "sbs", "--look-at-face", "--size", "64"],
        ["--stereo", "180", "--size", "64"],
    ],
    ids=lambda shot: shot[1],
)
def test_a_film_is_the_same(run: Run, shot: list[str], tiny_avatar: Path, tiny_motion: Motion, tmp_path: Path) -> None:
    tiny_motion[np.array([3, 9])].save(tmp_path / "two.npz")
    for name, there in (("here", False), ("there", True)):
        output = ["--motion", tmp_path / "two.npz", "--fps", 1, "-o", tmp_path / name]
        run("render", tiny_avatar, *output, *shot, there=there)
    folders = [path.name for path in tmp_path.iterdir() if path.name.startswith("here")]
    assert len(folders) == (3 if "--depth" in shot else 1)
    for name in folders:
        ours, theirs = pictures(tmp_path / name), pictures(tmp_path / name.replace("here", "there"))
        assert np.abs(ours - theirs).mean() < 2e-3, name


def test_an_avatar_is_trained_and_judged(
    run: Run, take_copy: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The report's films.
    monkeypatch.setattr(showcase, "SECONDS", 0.5)
    settings = ["steps=6", "gaussians=400", "torso_gaussians=80", "residual_start=2", "feature_weight=0"]
    settings += ["draft_share=0"]
    report = run("train", take_copy.path, "-o", tmp_path / "me", "--force", "--set", *settings, there=True)
    assert report["held_out"]["frames"]["count"] == 3
    assert load_avatar(tmp_path / "me").gaussians.offsets.device.type == "cpu"
    ours, theirs = (
        run("eval", tmp_path / "me", "--take", take_copy.path, "--brief", there=there)["held_out"]["video_driven"]
        for there in (False, True)
    )
    assert theirs["psnr"] == pytest.approx(ours["psnr"], abs=0.01)
    assert report["held_out"]["video_driven"]["psnr"] == pytest.approx(ours["psnr"], abs=0.01)
