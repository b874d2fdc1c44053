"""The offset of picture and sound: known shifts, and no offset where there is none to find."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from avatar.errors import InputError
from avatar.speech.features import SpeechFeatures
from avatar.speech.mouth import landmark_opening
from avatar.speech.offset import estimate_offset


def recording(seconds: float, shift: float, fps: float, seed: int = 0) -> tuple[SpeechFeatures, np.ndarray, np.ndarray]:
    """Features, picture times and openings; the sound of the picture at t is at t + shift."""
    rng = np.random.default_rng(seed)
    rows = int(seconds * 50)
    signals = gaussian_filter1d(rng.standard_normal((rows, 6)), 2, axis=0)
    values = signals @ rng.standard_normal((6, 64)) + 0.05 * rng.standard_normal((rows, 64))
    time = np.arange(int(seconds * fps)) / fps
    opening = np.interp(time + shift, np.arange(rows) / 50, signals[:, 0])
    return (
        SpeechFeatures(values.astype(np.float32), 50.0, "synthetic/1"),
        time,
        opening + 0.02 * rng.standard_normal(len(time)),
    )


@pytest.mark.parametrize("fps", [24.0, 29.97, 60.0])
@pytest.mark.parametrize("shift", [-0.3, -0.05, 0.0, 0.12, 0.25])
def test_finds_a_known_shift_at_any_frame_rate(shift: float, fps: float) -> None:
    features, time, opening = recording(20.0, shift, fps)
    found = estimate_offset(features, time, opening=opening)
    assert found.seconds == pytest.approx(shift, abs=0.02)
    assert found.confidence > 0.8
    assert not found.note


def test_positive_means_that_the_picture_is_early() -> None:
    features, time, opening = recording(20.0, 0.0, 25.0)
    # The same picture shown 0.2 s before its sound.
    early = estimate_offset(features, time[5:] - 0.2, opening=opening[5:])
    assert early.seconds == pytest.approx(0.2, abs=0.02)


def test_unrelated_sound_gives_no_offset() -> None:
    for seed in range(6):
        features, time, _ = recording(20.0, 0.0, 25.0, seed)
        _, _, other = recording(20.0, 0.0, 25.0, seed + 100)
        found = estimate_offset(features, time, opening=other)
        assert found.seconds == 0.0
        assert found.confidence < 0.5
        assert found.note


def test_a_shift_beyond_the_limit_is_not_taken_for_the_limit() -> None:
    features, time, opening = recording(20.0, 0.44, 25.0)
    found = estimate_offset(features, time, opening=opening, limit=0.4)
    assert found.seconds == 0.0
    assert "beyond" in found.note


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_short_recording_is_left_alone(seconds: float) -> None:
    features, time, opening = recording(seconds, 0.1, 25.0)
    found = estimate_offset(features, time, opening=opening)
    assert (found.seconds, found.confidence) == (0.0, 0.0)


def test_untrusted_moments_are_not_used() -> None:
    features, time, opening = recording(20.0, 0.12, 25.0)
    used = np.ones(len(time), bool)
    used[100:200] = False
    opening[100:200] = 1e3
    assert estimate_offset(features, time, opening=opening, used=used).seconds == pytest.approx(0.12, abs=0.02)


def test_lengths_must_agree() -> None:
    features, time, opening = recording(6.0, 0.0, 25.0)
    with pytest.raises(InputError, match="one mouth opening per picture"):
        estimate_offset(features, time, opening=opening[1:])


def test_landmark_opening_is_free_of_scale() -> None:
    points = np.random.default_rng(0).standard_normal((4, 478, 3))
    assert landmark_opening(3 * points) == pytest.approx(landmark_opening(points))
    points[:, [14, 87, 312 + 5]] = points[:, [13, 82, 312]]
    assert landmark_opening(points) == pytest.approx(np.zeros(4))
