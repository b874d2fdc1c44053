"""Copies of a voice: as asked for in level, pitch, room and noise, and never moved in time."""

import sys

import numpy as np
import pytest

from avatar.speech import augment
from avatar.speech.augment import LONGEST, augmented_features, recorded_anew, shifted_pitch
from avatar.speech.feature_kinds import HAMA
from avatar.speech.features import LOG_MEL, SAMPLE_RATE
from avatar.speech.silence import loudness


@pytest.fixture(scope="module")
def bursts() -> np.ndarray:
    """Three seconds of a tone of 220 Hz and its octave, that comes and goes."""
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.2 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 440 * time)
    return (tone * (np.sin(2 * np.pi * 1.5 * time) > 0)).astype(np.float32)


@pytest.mark.parametrize("semitones", [-2.0, 2.0])
def test_a_shifted_voice_is_higher_as_loud_and_where_it_was(bursts: np.ndarray, semitones: float) -> None:
    shifted = shifted_pitch(bursts, semitones)
    assert shifted.shape == bursts.shape and shifted.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(shifted))
    assert spectrum.argmax() / 3 == pytest.approx(220 * 2 ** (semitones / 12), rel=0.01)
    assert shifted.std() == pytest.approx(bursts.std(), rel=0.1)
    before, after = (loudness(sound) > -30 for sound in (bursts, shifted))
    # Edges may be soft by a frame of the vocoder, either side of three bursts.
    assert (before != after).sum() <= 6 * 3


def test_level_noise_and_room_are_those_asked_for(bursts: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert recorded_anew(bursts, rng, level=-6.0).std() / bursts.std() == pytest.approx(10 ** (-6 / 20), rel=1e-4)
    noise = recorded_anew(bursts, rng, noise=20.0) - bursts
    assert noise.std() / bursts.std() == pytest.approx(0.1, rel=0.02)
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[4000] = 0.5
    room = recorded_anew(click, rng, room=0.2)
    assert np.abs(room).argmax() == 4000 and np.abs(room[:4000]).max() < 1e-6
    early, late, after = (np.square(room[4000 + a : 4000 + b]).sum() for a, b in ((1, 500), (1500, 2000), (3200, 9000)))
    assert early > 5 * late > 0 and after < 1e-9
    assert np.array_equal(recorded_anew(bursts, rng), bursts)


def test_copies_of_features_keep_the_clock_and_the_first_minute(
    bursts: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms, copies = augmented_features(bursts, kind=LOG_MEL)
    assert len(rooms) == 2 and len(copies) == 6 and {len(copy.values) for copy in copies} == {150}
    assert all(np.isfinite(copy.values).all() and copy.model == LOG_MEL for copy in copies)
    assert len({copy.values.tobytes() for copy in copies}) == 6 and {id(copy) for copy in rooms} < set(map(id, copies))
    _, again = augmented_features(bursts, kind=LOG_MEL)
    assert all(np.array_equal(one.values, other.values) for one, other in zip(copies, again, strict=True))
    for name in ("VOICES", "NOISES"):
        monkeypatch.setattr(augment, name, ())
    long = np.zeros((LONGEST + 3) * SAMPLE_RATE, np.float32)
    assert {len(copy.values) for copy in augmented_features(long, kind=LOG_MEL)[1]} == {LONGEST * 50}


def test_a_library_that_is_not_here_leaves_the_recording_alone(
    bursts: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "hama", None)
    assert augmented_features(bursts, kind=HAMA) == ([], [])
    assert "hama" in caplog.text
