"""Speech features by name, as sound arrives, and where a network cannot be had."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avatar.errors import InputError, PartError
from avatar.speech import feature_kinds
from avatar.speech.feature_kinds import HAMA, at_hand, feature_kind, in_pieces
from avatar.speech.features import LOG_MEL, MODEL, SpeechFeatures, speech_features
from avatar.speech.streaming import FeatureStream


def sound(seconds: float) -> np.ndarray:
    """Noise that comes and goes like syllables."""
    rng = np.random.default_rng(0)
    count = round(seconds * 16000)
    level = 0.5 + 0.5 * np.sin(np.arange(count) / 16000 * 2 * np.pi * 4)
    return (0.1 * level * rng.standard_normal(count)).astype(np.float32)


def test_names_of_features() -> None:
    assert feature_kind("whisper") == MODEL and feature_kind("log-mel") == LOG_MEL
    assert feature_kind("transformers:facebook/hubert-base-ls960") == "transformers/facebook/hubert-base-ls960@middle"
    assert feature_kind("transformers:mine@6") == "transformers/mine@6"
    for wrong in ("mfcc", "transformers:", "transformers:a@b"):
        with pytest.raises(InputError, match=r"There are no speech features[\s\S]*whisper, log-mel, hama"):
            feature_kind(wrong)
    with pytest.raises(InputError, match="not known here"):
        speech_features(sound(0.1), kind="other/1")


def test_log_mel_rows_hear_their_own_moment() -> None:
    samples = sound(2.0)
    rows = speech_features(samples, kind=LOG_MEL)
    assert rows.values.shape == (100, 80) and rows.model == LOG_MEL and rows.rate == 50
    changed = samples.copy()
    changed[16000:] = 0
    assert np.array_equal(speech_features(changed, kind=LOG_MEL).values[:49], rows.values[:49])
    assert speech_features(samples[:100], kind=LOG_MEL).values.shape == (0, 80)


@pytest.mark.parametrize("chunk", [160, 1111, 16000])
def test_log_mel_streams_as_offline(chunk: int) -> None:
    samples = sound(5.0)
    stream = FeatureStream(LOG_MEL)
    parts = [stream.push(samples[i : i + chunk]).values for i in range(0, len(samples), chunk)]
    assert sum(map(len, parts)) == 249 and stream.delay == pytest.approx(0.02)
    rows = np.concatenate([*parts, stream.push(samples[:0], last=True).values])
    assert rows == pytest.approx(speech_features(samples, kind=LOG_MEL).values, abs=1e-5)


@pytest.mark.usefixtures("speech_part")
def test_whisper_streams_within_what_is_stated() -> None:
    samples = sound(6.0)
    stream, parts = FeatureStream(), []
    for start in range(0, len(samples), 4800):
        parts.append(stream.push(samples[start : start + 4800]).values)
        # What is given out waits for 300 ms of sound and no more.
        assert sum(map(len, parts)) == max(min(start + 4800, len(samples)) // 320 - 15, 0)
    rows = np.concatenate([*parts, stream.push(samples[:0], last=True).values])
    whole = speech_features(samples).values
    spread = (whole - whole.mean(axis=0)).std()
    assert len(rows) == len(whole)
    assert np.sqrt(((rows - whole) ** 2).mean()) / spread < 0.45


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    feature_kinds._hama.cache_clear()
    for name, kind in (("hama", HAMA), ("transformers", "transformers/none@middle")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(PartError, match=rf"need {name}[\s\S]*pip install {name}"):
            speech_features(sound(0.1), kind=kind)


def test_a_user_s_network_is_heard_on_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    def network(values: torch.Tensor, *, output_hidden_states: bool) -> SimpleNamespace:
        # Windows of 400 every 320 samples, as these networks have.
        level = values.unfold(1, 400, 320).abs().mean(2)[..., None].repeat(1, 1, 3)
        return SimpleNamespace(hidden_states=[level, 2 * level])

    monkeypatch.setattr(feature_kinds, "_transformers", lambda _: (network, 1))
    click = np.full(16000 * 3, 1e-3, np.float32)
    click[16000 * 2 : 16000 * 2 + 160] = 0.5
    rows = speech_features(click, kind="transformers/mine@middle")
    assert rows.values.shape == (150, 3)
    assert abs(int(rows.values[:, 0].argmax()) - 100) <= 1


def test_pieces_are_one_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_kinds, "PIECE", 60)
    samples = sound(4.0)
    level = in_pieces(samples, lambda piece: np.abs(piece[: len(piece) // 320 * 320]).reshape(-1, 320).mean(1)[:, None])
    assert level[:, 0] == pytest.approx(np.abs(samples).reshape(-1, 320).mean(1), abs=1e-6)


def test_log_mel_stands_in_for_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise PartError("gone")

    monkeypatch.setattr("avatar.models.fetch", missing)
    assert at_hand() == LOG_MEL and at_hand(HAMA) == HAMA


def test_other_features_than_those_learned_from_are_refused(subject, head) -> None:
    from avatar.speech.fitting import SpeechConfig, fit_speech_model

    config = SpeechConfig(steps=2, seeds=(0,), folds=2)
    model = fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, config=config)
    with pytest.raises(InputError, match=r"do not fit this avatar's speech model[\s\S]*synthetic/1 at 50 Hz[\s\S]*log"):
        model.predict(SpeechFeatures(np.zeros((50, 80), np.float32), 50.0, LOG_MEL), fps=25.0)
