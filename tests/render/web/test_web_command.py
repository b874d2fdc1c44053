"""``avatar export --format web``."""

import json
from pathlib import Path

import numpy as np
import pytest

from avatar import cli
from avatar.io.audio import write_wav
from avatar.motion import Motion


def test_the_command_writes_the_page(
    tiny_avatar: Path, tiny_motion: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_motion.save(tmp_path / "motion.npz")
    write_wav(tmp_path / "hum.wav", np.sin(np.arange(32_000) / 20) / 4)
    given = ["--motion", str(tmp_path / "motion.npz"), "--audio", str(tmp_path / "hum.wav"), "--json"]
    cli.main(["export", str(tiny_avatar), "--format", "web", "-o", str(tmp_path / "site"), *given])
    assert json.loads(capsys.readouterr().out)["frames"] == len(tiny_motion)
    assert json.loads((tmp_path / "site" / "avatar.json").read_text())["track"]["sound"] == "sound.mp3"


def test_a_webcam_is_for_pages_that_have_what_it_takes(
    tiny_avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("spz", "error: The format spz follows no face."), ("web", "is not MediaPipe for the web.")):
        output = tmp_path / ("a.spz" if name == "spz" else "site")
        with pytest.raises(SystemExit):
            cli.main(["export", str(tiny_avatar), "--format", name, "-o", str(output), "--webcam", str(tmp_path)])
        assert text in capsys.readouterr().err and not output.exists()


def test_a_sound_that_cannot_be_used(tiny_avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "hum.wav", np.sin(np.arange(32_000) / 20) / 4)
    before = sorted(tmp_path.iterdir())
    output = tmp_path / "a.ply"
    with pytest.raises(SystemExit) as stop:
        cli.main(
            ["export", str(tiny_avatar), "--format", "ply", "-o", str(output), "--audio", str(tmp_path / "hum.wav")]
        )
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: The format ply has no sound.")
    assert sorted(tmp_path.iterdir()) == before
