"""The gate between speech and rest: its times, and recordings that fool simple thresholds."""

import numpy as np
import pytest

from avatar.speech.silence import loudness, mouth_activity, speech_activity


def test_loudness_of_a_known_signal() -> None:
    level = loudness(np.full(16000, 0.1, np.float32))
    assert len(level) == 100
    assert level == pytest.approx(np.full(100, -20.0), abs=0.01)
    assert len(loudness(np.zeros(0, np.float32))) == 0


def test_rises_before_speech_and_falls_after_it() -> None:
    level = np.full(400, -90.0)
    level[150:250] = -20
    weight = speech_activity(level)
    assert (weight[150:250] == 1).all()
    assert (weight[:138] == 0).all()
    assert (weight[270:] == 0).all()
    assert weight[144] == pytest.approx(0.5, abs=0.01)
    assert weight[259] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(weight)).max() < 0.15


def test_a_mouth_leaves_rest_before_its_voice_and_has_300_ms_to_close() -> None:
    level = np.full(400, -90.0)
    level[150:250] = -20
    weight = mouth_activity(level)
    assert (weight[150:259] == 1).all()
    assert (weight[:135] == 0).all() and (weight[280:] == 0).all()
    assert weight[142] < 0.5 < weight[143]
    assert weight[269] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(weight)).max() < 0.12
    assert (weight >= speech_activity(level)).all()
    assert mouth_activity(np.full(100, -75.0)).max() == 0 and len(mouth_activity(np.zeros(0))) == 0


@pytest.mark.parametrize(("gap", "closes"), [(10, False), (60, True)])
def test_a_stop_consonant_is_no_silence(gap: int, closes: bool) -> None:
    level = np.full(400, -20.0)
    level[200 : 200 + gap] = -80
    assert (speech_activity(level).min() < 0.01) == closes


def test_noisy_rooms_and_unbroken_speech() -> None:
    rng = np.random.default_rng(0)
    noisy = np.where(np.arange(1000) % 250 < 150, -20.0, -42.0) + rng.standard_normal(1000)
    weight = speech_activity(noisy)
    assert weight[100] == 1
    assert weight[200] < 0.05
    unbroken = -20.0 + 3 * rng.standard_normal(1000)
    assert speech_activity(unbroken).min() == 1


def test_minutes_do_not_show() -> None:
    samples = np.random.default_rng(0).standard_normal(int(60.5 * 16000)).astype(np.float32)
    whole, part = loudness(samples), loudness(samples[59 * 16000 :])
    assert len(whole) == 6050
    # Away from the cut, which the second recording begins with.
    np.testing.assert_allclose(whole[5902:], part[2:], atol=1e-6)
    assert len(loudness(samples[:0])) == 0


def test_silence_is_silent() -> None:
    assert speech_activity(np.full(100, -75.0)).max() == 0
    assert len(speech_activity(np.zeros(0))) == 0
