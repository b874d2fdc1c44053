"""The whole pipeline on three seconds of the embedded clip: a video and its sound in, a talking avatar out."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from avatar import cli
from avatar.assets import asset
from avatar.fields.sampling import Sampling
from avatar.io.audio import read_audio
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.io.video import VideoWriter, probe, read_frames
from avatar.preprocess import photometric
from avatar.preprocess.refinement_config import FINE, RefinementConfig
from avatar.speech.general import speaks_generally
from avatar.train import config as train_config
from avatar.train.config import TrainConfig

QUICK = TrainConfig(
    gaussians=2500,
    torso_gaussians=500,
    components=4,
    steps=60,
    residual_start=30,
    lr_colors=4e-2,
    close_pinholes=False,
)
# Refinement has tests of its own; here one small level stands for it.
SAMPLING = Sampling(gaussians=800, torso_gaussians=200, components=4, closed=False)
REFINEMENT = RefinementConfig(levels=(replace(FINE, sampling=SAMPLING, first_steps=60, later_steps=30),), key_frames=2)
SECONDS = 3


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The beginning of the embedded clip."""
    source, path = asset("demo.mp4"), tmp_path / "clip.mp4"
    info, sound = probe(source), read_audio(source)
    assert sound is not None
    count = round(SECONDS * info.fps)
    audio = (sound[: SECONDS * 16000], 16000)
    with VideoWriter(path, fps=Fraction(info.fps), width=info.width, height=info.height, audio=audio) as video:
        for frame in islice(read_frames(source), count):
            video.write(frame.image)
    return path


@pytest.mark.usefixtures("perception_parts", "speech_part")
def test_a_video_becomes_an_avatar_that_says_something_else(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(train_config.PRESETS, "fast", QUICK)
    monkeypatch.setattr(photometric, "RefinementConfig", lambda: REFINEMENT)
    output = tmp_path / "me"
    command = ["create", str(clip), "-o", str(output), "--preset", "fast", "--size", "128", "--json"]
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    refusal = capsys.readouterr().err
    assert stop.value.code == 2 and "the recording is short: 3.0 s with a face" in refusal and "--force" in refusal
    assert list(json.loads((output / "job.json").read_text())["stages"]) == ["ingest"]
    assert "No-go" in (output / "take" / "report.html").read_text()

    cli.main([*command, "--force"])
    said = capsys.readouterr()
    report = json.loads(said.out)
    capture = json.loads((output / "take" / "report.json").read_text())
    assert capture["forced"] and capture["verdict"] == "no-go" and capture["tracking"]["error"] < 0.04
    stages = [
        "ingest",
        "capture",
        "tracking",
        "shoulders",
        "detail",
        "covered",
        "refinement",
        "overlay",
        "features",
        "verdict",
    ]
    stages += ["draft", "alignment", "training", "realignment", "speech", "evaluation"]
    assert list(report["stages"]) == stages == list(json.loads((output / "job.json").read_text())["stages"])
    assert report["held_out"]["video_driven"]["psnr"] > 15
    assert report["tracking"]
    take = Take.open(output / "take")
    assert len(take) == round(SECONDS * probe(clip).fps) and take.info.width <= 128

    # With so little speech the avatar may get no model of its own; either way it says so and can be moved by a motion.
    driver = ["--audio", str(clip)] if report["speech"]["driven"] else ["--motion", str(output / "take" / "motion.npz")]
    assert driver[0] in said.err
    assert speaks_generally(load_avatar(output)) != report["speech"]["driven"]
    talk = tmp_path / "talk.mp4"
    cli.main(["render", str(output), *driver, "-o", str(talk)])
    info = probe(talk)
    assert info.has_audio == report["speech"]["driven"]
    assert info.frames / info.fps == pytest.approx(SECONDS, abs=0.2)
    pictures = np.stack([frame.image for frame in read_frames(talk)]).astype(float)
    assert np.abs(np.diff(pictures, axis=0)).mean() > 0.05
    assert np.abs(pictures[0] - take.background()).mean() > 5

    # Nothing is left to do.
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    cli.main(command)
    assert json.loads(capsys.readouterr().out)["held_out"] == report["held_out"]
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == before
