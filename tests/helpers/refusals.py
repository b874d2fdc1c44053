"""Commands that end in an error: what runs them, and the input that they refuse."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avatar import cli
from avatar.io.video import VideoWriter

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that ends with a code, 2 unless told; gives its error text."""

    def run(*arguments: str | Path, code: int = 2) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert stop.value.code == code, said.err
        assert said.out == "" and "Traceback" not in said.err
        return said.err

    return run


@pytest.fixture(scope="module")
def faceless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a moving gradient with a little noise, and nobody in it."""
    path = tmp_path_factory.mktemp("clips") / "garden.mp4"
    ramp = np.linspace(40, 200, 160)[None, :, None] + np.linspace(-30, 30, 120)[:, None, None]
    noise = np.random.default_rng(0).normal(size=(120, 160, 3)) * 8
    with VideoWriter(path, fps=Fraction(25), width=160, height=120) as video:
        for index in range(75):
            video.write((np.roll(ramp + noise, index, axis=1).clip(0, 255)).astype(np.uint8))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def speech_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of sound."""
    from avatar.io.audio import write_wav

    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    write_wav(path, np.sin(np.arange(8000) / 9).astype(np.float32) / 2)
    return path
