"""Who speaks where the network that an avatar learned from cannot be had."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar import cli
from avatar.errors import PartError
from avatar.io.audio import write_wav
from avatar.io.avatar import load_avatar, save_avatar
from avatar.io.take import Take
from avatar.speech._space import mouth_of
from avatar.speech.features import LOG_MEL, MODEL, SpeechFeatures
from avatar.speech.fitting import SpeechConfig, fit_speech_model
from avatar.speech.general import GENERAL_NOTE, GeneralSpeech
from avatar.speech.mouth import mouth_map
from avatar.speech.stand_in import DEAF_NOTE, OWN_NOTE, able_speaker
from avatar.speech.take import take_features


@pytest.fixture(scope="module")
def whisper_avatar(tiny_avatar: Path, subject, head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny avatar with a speech model that was learned from features of Whisper's."""
    stored = load_avatar(tiny_avatar)
    features = SpeechFeatures(subject.features.values, 50.0, MODEL)
    config = SpeechConfig(steps=2, seeds=(0,), folds=2)
    model = fit_speech_model(features, subject.motion, offset=0.2, head=head, config=config)
    folder = tmp_path_factory.mktemp("own") / "me"
    info = replace(stored.info, speech=model.settings())
    tensors, plate = model.to_tensors(), stored.plate
    save_avatar(folder, info, stored.gaussians, speech=tensors, life=stored.life, plate=plate, preview=plate)
    return folder


@pytest.fixture
def no_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PartError(f"The pretrained part {name} could not be had", fix="go online")

    monkeypatch.setattr("avatar.models.fetch", missing)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A second of silence, and one of noise that comes and goes."""
    rng, moments = np.random.default_rng(0), np.arange(16000) / 16000
    noise = 0.2 * rng.standard_normal(16000) * (1 + np.sin(2 * np.pi * 4 * moments)) / 2
    write_wav(tmp_path / "speech.wav", np.concatenate([np.zeros(16000), noise]).astype(np.float32))
    return tmp_path / "speech.wav"


@pytest.mark.usefixtures("no_whisper")
def test_the_general_model_speaks_from_log_mel_and_says_so(
    whisper_avatar: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["render", str(whisper_avatar), "--audio", str(sound), "-o", str(tmp_path / "talk.mp4"), "--json"])
    said = capsys.readouterr()
    assert " ".join(said.err.split()).count("Whisper") == 1 and OWN_NOTE in " ".join(said.err.split())
    assert json.loads(said.out)["notes"] == [OWN_NOTE]
    for part in ("whisper_tiny_en", "log-mel", "follow less exactly", "avatar models fetch whisper_tiny_en"):
        assert part in OWN_NOTE


@pytest.mark.usefixtures("no_whisper")
def test_it_keeps_to_the_persons_range(whisper_avatar: Path, subject, head) -> None:
    stored = load_avatar(whisper_avatar)
    able = able_speaker(stored)
    speaker = able.speaker
    assert isinstance(speaker, GeneralSpeech) and speaker.feature_model == LOG_MEL and able.notes == (OWN_NOTE,)
    rng = np.random.default_rng(0)
    samples = np.concatenate([np.zeros(16000), 0.3 * rng.standard_normal(16000)]).astype(np.float32)
    motion = speaker.predict(samples, fps=25.0)
    own = mouth_map(head)
    _, opening = mouth_of(motion, own)
    _, taken = mouth_of(subject.motion, own)
    assert np.ptp(opening[:15]) < 1e-6 and np.ptp(opening) > 1e-3
    assert opening[:15].max() < np.percentile(taken, 10) and opening.max() < taken.max() + 1e-3
    assert np.allclose(speaker.pose, able_speaker(stored).speaker.pose)


@pytest.mark.usefixtures("no_whisper")
def test_an_avatar_of_a_silent_clip_says_both(tiny_avatar: Path) -> None:
    able = able_speaker(load_avatar(tiny_avatar))
    assert able.notes == (GENERAL_NOTE, DEAF_NOTE) and able.speaker.feature_model == LOG_MEL


def test_where_it_can_be_had_the_own_model_speaks(whisper_avatar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar.models.fetch", lambda _: Path("whisper.bin"))
    able = able_speaker(load_avatar(whisper_avatar))
    assert not isinstance(able.speaker, GeneralSpeech) and able.notes == ()


@pytest.mark.usefixtures("no_whisper")
def test_who_asks_for_whisper_gets_an_error(take_copy: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar.speech.features._encoder", lambda _: pytest.fail("nothing was to be loaded"))
    take_copy.write_speech(0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32))
    with pytest.raises(PartError, match=r"whisper_tiny_en could not be had[\s\S]*go online"):
        take_features(take_copy, MODEL)
    assert take_copy.speech_track() is None
