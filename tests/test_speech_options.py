"""Options of speech on the command line: what it is learned from, and how the head follows the voice."""

from pathlib import Path

import numpy as np
import pytest

from avatar import cli
from avatar.commands._job import Job
from avatar.commands.create import TakeOptions
from avatar.io.take import Take
from avatar.speech.features import LOG_MEL
from avatar.speech.take import take_features


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == "" and "Traceback" not in said.err
    return said.err


def test_features_that_do_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "me.mp4").write_bytes(b"")
    text = refused(capsys, "create", tmp_path / "me.mp4", "-o", tmp_path / "me", "--speech-features", "mfcc")
    assert "There are no speech features 'mfcc'" in text and "To do: leave --speech-features out for whisper" in text
    assert not (tmp_path / "me").exists()


def test_too_much_prosody(capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path) -> None:
    text = refused(capsys, "render", tiny_avatar, "--audio", "a.wav", "--prosody", "9", "-o", tmp_path / "a.mp4")
    assert "The option --prosody cannot be used.\n  Expected: 0 (off) to 3.\n  Found: 9.\n" in text


def test_other_features_make_an_avatar_learn_again(tmp_path: Path) -> None:
    rows = {name: {} for name in ("ingest", "tracking", "features", "training", "speech", "evaluation")}
    before = TakeOptions().settings()
    job = Job.open(tmp_path, "a.mp4", "0", before)
    job.stages = dict(rows)
    job.apply(tmp_path, before)
    assert set(job.stages) == set(rows)
    job.apply(tmp_path, TakeOptions(speech_features=LOG_MEL).settings())
    assert set(job.stages) == {"ingest", "tracking"}
    # A folder from before there was a choice.
    del job.settings["speech_features"]
    job.stages = dict(rows)
    job.apply(tmp_path, TakeOptions(speech_features=LOG_MEL).settings())
    assert set(job.stages) == {"ingest", "tracking"}


def test_a_take_keeps_the_features_it_was_given(take_copy: Take) -> None:
    take_copy.write_speech(0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32))
    first = take_features(take_copy, LOG_MEL)
    again = take_features(take_copy)
    assert first is not None and again is not None
    assert (again.model, again.rate) == (LOG_MEL, 50.0) and again.values.shape == (100, 80)
    assert again.values == pytest.approx(first.values, abs=0.01)
