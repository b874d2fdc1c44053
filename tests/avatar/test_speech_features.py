"""Log-mel, the encoder's parsing and the features' consistency over windows."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avatar.errors import FormatError, InputError
from avatar.speech import features as features_module
from avatar.speech.features import SpeechFeatures, speech_features, windows
from avatar.speech.whisper import log_mel, mel_filters, read_ctranslate2


@pytest.fixture
def voice(shared: Path) -> np.ndarray:
    return soundfile.read(shared / "speech" / "en_studio.wav", dtype="float32")[0]


def test_mel_filters_have_slaneys_breakpoints() -> None:
    bank = mel_filters().numpy()
    assert bank.shape == (80, 201)
    peaks = bank.argmax(axis=1) * 40.0
    # Linear below 1 kHz: 80 filters over 0 to 8 kHz are 37.24 Hz apart there, so that the first peak is nearest 40 Hz.
    assert peaks[0] == 40.0
    assert np.all(np.diff(peaks) >= 0) and 7600 < peaks[-1] < 8000
    # Area-normalised: the sum over 40 Hz bins of a wide filter times the bin's width is one.
    np.testing.assert_allclose(bank[-10:].sum(axis=1) * 40, 1, rtol=0.02)


def test_log_mel_of_a_tone_and_of_silence() -> None:
    time_axis = torch.arange(16000) / 16000
    mel = log_mel(torch.sin(2 * torch.pi * 1000 * time_axis) * 0.5)
    assert mel.shape == (80, 100)
    assert mel.mean(dim=1).argmax() == mel_filters()[:, 25].argmax()
    # Nothing lies more than 8 decades, scaled by four, under the loudest value.
    assert mel.max() - mel.min() <= 2 + 1e-5
    torch.testing.assert_close(log_mel(torch.zeros(3200)), torch.full((80, 20), -1.5))


def test_log_mel_in_pieces_equals_one_short_time_transform() -> None:
    samples = torch.randn(16000 * 35, generator=torch.Generator().manual_seed(0)) * 0.1
    power = torch.stft(samples, 400, 160, window=torch.hann_window(400), return_complex=True)[:, :-1].abs() ** 2
    expected = (mel_filters() @ power).clamp(min=1e-10).log10()
    expected = (torch.maximum(expected, expected.max() - 8) + 4) / 4
    torch.testing.assert_close(log_mel(samples), expected, atol=1e-5, rtol=0)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def test_read_ctranslate2_reads_chosen_variables_and_refuses_other_files(tmp_path: Path) -> None:
    first, second = np.arange(6, dtype=np.float16).reshape(2, 3), np.arange(4, dtype=np.float32)
    content = struct.pack("<I", 6) + _text("Spec") + struct.pack("<II", 3, 2)
    for name, values, code in (("decoder/a", second, 0), ("encoder/b", first, 4)):
        content += _text(name) + struct.pack("<B", values.ndim) + struct.pack(f"<{values.ndim}I", *values.shape)
        content += struct.pack("<BI", code, values.nbytes) + values.tobytes()
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    weights = read_ctranslate2(path, prefixes=("encoder/",))
    assert list(weights) == ["encoder/b"]
    np.testing.assert_array_equal(weights["encoder/b"].numpy(), first)
    path.write_bytes(content[:-5])
    with pytest.raises(FormatError, match="CTranslate2"):
        read_ctranslate2(path, prefixes=("encoder/",))


@pytest.mark.parametrize("count", [1, 1499, 1500, 1501, 2700, 2701, 9999])
def test_windows_cover_every_row_once_with_context(count: int) -> None:
    plan = windows(count)
    assert [start for _, start, _ in plan] == [0, *(stop for _, _, stop in plan[:-1])]
    assert plan[-1][2] == count
    for first, start, stop in plan:
        assert first <= start < stop <= first + 1500
        assert start == 0 or start - first >= 150
        assert stop == count or first + 1500 - stop >= 150


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 16000), np.float32), np.zeros(16000, np.int16), np.full(16000, np.nan, np.float32)]
)
def test_unusable_audio_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(InputError, match="audio"):
        speech_features(samples)


def test_features_between_rows_are_linear_and_held_at_the_ends() -> None:
    values = np.arange(4, dtype=np.float32)[:, None] * np.ones((1, 384), np.float32)
    found = SpeechFeatures(values).at(np.array([-1.0, 0.0, 0.03, 0.06, 9.0]))[:, 0]
    np.testing.assert_allclose(found, [0, 0, 1.5, 3, 3], atol=1e-6)
    assert SpeechFeatures(values[:1]).at(np.array([0.5]))[0, 0] == 0
    with pytest.raises(InputError, match="empty"):
        SpeechFeatures(values[:0]).at(np.array([0.0]))


@pytest.mark.usefixtures("speech_part")
def test_features_are_deterministic_and_have_a_row_every_20_ms(voice: np.ndarray) -> None:
    first = speech_features(voice[: 16000 * 3 + 319])
    assert first.values.shape == (150, 384) and first.values.dtype == np.float32 and first.rate == 50.0
    np.testing.assert_array_equal(first.values, speech_features(voice[: 16000 * 3 + 319]).values)
    assert speech_features(voice[:100]).values.shape == (0, 384)


@pytest.mark.usefixtures("speech_part")
def test_rows_are_centred_at_k_over_the_rate() -> None:
    encoder, _ = features_module._encoder(features_module._model_path())
    mel = torch.zeros(1, 80, 200)
    rest = encoder.stem(mel)
    mel[..., 80] = 1
    strength = (encoder.stem(mel) - rest).abs().sum(dim=-1)[0]
    # Column 80 of 10 ms lies at 0.8 s, which is row 40 at 50 rows a second.
    assert strength.argmax() == 40
    assert strength.nonzero().ravel().tolist() == [39, 40, 41]


@pytest.mark.usefixtures("speech_part")
def test_windows_agree_with_the_whole_within_the_spread_of_position(
    voice: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = voice[: 16000 * 29]
    whole = speech_features(samples).values
    planned = windows(len(whole), window=1000, context=150)
    monkeypatch.setattr(features_module, "WINDOW", 1000)
    monkeypatch.setattr(features_module, "windows", lambda count: planned)
    pieces = speech_features(samples).values
    spread = (whole - whole.mean(axis=0)).std()
    # Attention sees other neighbours and other positions: a quarter of the spread at most, 0.16 when written.
    assert np.sqrt(((pieces - whole) ** 2).mean()) / spread < 0.25


@pytest.mark.usefixtures("speech_part")
def test_features_hardly_depend_on_the_place_in_the_recording(voice: np.ndarray) -> None:
    clip = voice[: 16000 * 5]
    alone = speech_features(clip).values
    late = speech_features(np.concatenate([voice[: 16000 * 10], clip])).values[500:750]
    inner = slice(50, 200)
    spread = (alone - alone.mean(axis=0)).std()
    # Without taking off the encoder's answer to position this is 0.5 and more.
    assert np.sqrt(((late[inner] - alone[inner]) ** 2).mean()) / spread < 0.3


@pytest.mark.usefixtures("speech_part")
def test_features_are_far_faster_than_speech(voice: np.ndarray) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    speech_features(voice[:16000])
    start = time.perf_counter()
    speech_features(voice[: 16000 * 10])
    spent = time.perf_counter() - start
    torch.set_num_threads(threads)
    # About 130 times real time on one idle core; the bound leaves room for a busy one.
    assert 10 / spent > 20
