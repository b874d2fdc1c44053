"""Measures of lips and of sync, by hand-made cases, and the rows of a synthetic subject."""

from dataclasses import replace

import numpy as np
import pytest

from avatar.cameras import Camera
from avatar.heads.head import Head
from avatar.speech import lip_quality
from avatar.speech.features import SpeechFeatures
from avatar.speech.fitting import SpeechConfig
from avatar.speech.held_out import SpokenTake, cross_splits, fit_folds, tail_split
from avatar.speech.lip_quality import ROWS, measure_lips
from avatar.speech.lips import (
    closed_threshold,
    closure_counts,
    closure_f1,
    landmark_track,
    lip_track,
    silence_motion_ratio,
    silent_and_spoken,
)
from avatar.speech.mouth import landmark_opening
from avatar.speech.phones import Phone, spoken_phones
from avatar.speech.sync import REACH, expected_mouth, mouth_signals, sync_curve

from .conftest import Subject, make_subject

FAST = SpeechConfig(steps=20, seeds=(0,), folds=2)
CAMERA = Camera.front(900.0, 256, 256)


def test_closures_are_counted_against_vowels() -> None:
    time = np.arange(0, 2, 0.04)
    opening = np.full(len(time), 0.2)
    opening[np.abs(time - 0.5) < 0.03] = 0.01
    opening[np.abs(time - 1.5) < 0.03] = 0.01
    phones = [Phone("B", 0.45, 0.55), Phone("M", 0.95, 1.05), Phone("AA", 1.4, 1.6), Phone("IY", 0.6, 0.8)]
    phones += [Phone("S", 0.45, 0.55), Phone("P", 3.0, 3.1)]
    assert closure_counts(time, opening, phones=phones, threshold=0.05) == (1, 1, 1, 2)
    # One of two bilabials is met, one of two vowels is closed: precision and recall 1/2.
    assert closure_f1(time, opening, phones=phones, threshold=0.05) == (0.5, 2)
    assert closure_f1(time, opening, phones=phones[:1], threshold=0.05) == (1.0, 1)
    assert closure_f1(time, opening, phones=phones[2:4], threshold=0.05) == (None, 0)


def test_a_mouth_is_closed_by_its_own_measure() -> None:
    opening = np.concatenate([np.full(20, 0.03), np.full(80, 0.12)])
    assert closed_threshold(opening) == pytest.approx(0.03 + 0.03)
    assert closed_threshold(opening + 0.1) == pytest.approx(closed_threshold(opening) + 0.1)


def test_motion_in_silence_is_stated_by_that_in_speech() -> None:
    time = np.arange(40) / 25
    place = np.concatenate([np.zeros(20), np.arange(20) * 0.1])
    place[1:20:2] = 0.01
    points = np.zeros((40, 2, 3))
    points[:, :, 1] = place[:, None]
    silent = np.arange(40) < 20
    spoken = np.arange(40) > 20
    assert silence_motion_ratio(time, points, silent=silent, spoken=spoken) == pytest.approx(0.1)
    assert silence_motion_ratio(time, points, silent=np.zeros(40, bool), spoken=spoken) is None


def test_silence_counts_once_the_mouth_had_time_to_rest() -> None:
    rate = 16000
    sound = 0.2 * np.sin(np.arange(3 * rate) / 5)
    sound[rate : 2 * rate] = 0
    time = np.arange(0, 3, 0.02)
    silent, spoken = silent_and_spoken(sound, time)
    assert not silent[time < 1.28].any() and silent[(time > 1.33) & (time < 1.85)].all()
    assert spoken[(time > 0.1) & (time < 0.95)].all() and not (silent & spoken).any()


def test_a_sync_curve_peaks_where_sound_and_mouth_belong_and_falls_frame_by_frame() -> None:
    rng = np.random.default_rng(0)
    rows = 40 * 50
    signals = np.stack([np.convolve(rng.standard_normal(rows), np.hanning(9), "same") for _ in range(8)], 1)
    values = signals @ rng.standard_normal((8, 64)) + 0.5 * rng.standard_normal((rows, 64))
    features = SpeechFeatures(values.astype(np.float32), 50.0, "synthetic/1")
    time = np.arange(0.5, 39, 0.04)
    opening = np.interp(time, np.arange(rows) / 50, signals[:, 0])
    train, test = time < 28, time > 29
    expected = expected_mouth(features, time, opening=opening, train=train, test=test)
    truth = sync_curve(expected, mouth_signals(time[test], opening[test]))
    assert truth.best_offset_frames == 0 and truth.score > 0.8
    for direction in (1, -1):
        beside = truth.scores[REACH + direction * np.arange(1, 6)]
        assert (beside < truth.score - 0.1).all()
    late = np.interp(time + 0.12, np.arange(rows) / 50, signals[:, 0])
    assert sync_curve(expected, mouth_signals(time[test], late[test])).best_offset_frames == 3
    held = sync_curve(expected, mouth_signals(time[test], np.full(int(test.sum()), 0.1)))
    assert held.score == 0


def test_speed_is_not_taken_over_a_gap() -> None:
    time = np.array([0.0, 0.04, 0.08, 2.0, 2.04])
    signals = mouth_signals(time, np.array([0.0, 0.04, 0.08, 5.0, 5.04]))
    assert signals[:, 1] == pytest.approx([1, 1, 0.5, 0.5, 1])


def test_lips_are_where_the_landmarks_are(subject: Subject, head: Head) -> None:
    motion = subject.motion[::40]
    track = lip_track(head, motion, CAMERA)
    posed = landmark_track(head, motion)
    assert track.points.shape == (len(motion), 40, 3) and track.pixels.shape == (len(motion), 40, 2)
    # The opening knows nothing of the head's turn, and follows the jaw.
    assert np.abs(track.opening - landmark_opening(posed)).max() < 1e-3
    assert np.corrcoef(track.opening, motion.jaw_pose[:, 0])[0, 1] > 0.9
    assert (np.abs(track.pixels - 128) < 128).all() and (track.eyes > 30).all()


@pytest.fixture(scope="module")
def take(head: Head) -> SpokenTake:
    """The synthetic subject with the landmarks that a perfect detector would see, and a pause near the end."""
    made = make_subject(head, shift=0.2)
    points = landmark_track(head, made.motion)
    seen = (points @ CAMERA.viewmat[:3, :3].T) @ CAMERA.K.T
    landmarks = np.concatenate([seen[..., :2] / seen[..., 2:], np.zeros((*seen.shape[:2], 1))], axis=-1)
    samples = 0.1 * np.random.default_rng(0).standard_normal(16 * 16000).astype(np.float32)
    samples[14 * 16000 : 15 * 16000] = 0
    used = np.ones(len(made.motion), bool)
    return SpokenTake(made.features, samples, made.motion, landmarks, used, 0.2, head, CAMERA)


def test_the_model_s_lips_stand_between_the_truth_and_the_baselines(
    take: SpokenTake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lip_quality, "SHUFFLES", (0.5,))
    phones = [Phone("B", 14.9 + 0.1 * k, 14.95 + 0.1 * k) for k in range(8)]
    test = np.arange(len(take.motion)) >= 330
    splits = tail_split(take, test)
    assert take.time[splits[0][0]].max() < take.time[test].min() - 0.4
    found = measure_lips(take, fit_folds(take, splits, config=FAST), phones=phones)
    assert set(found) == {*ROWS, "protocol", "sync", "notes"}
    truth, model, mean = (found[row] for row in ("truth", "model_without_rest", "mean_face"))
    assert truth["mouth_opening_correlation"] > 0.99 and truth["lip_vertex_error_mm"] == 0
    assert truth["mouth_landmark_iod"] < 1e-3
    for metric in ("lip_vertex_error_mm", "mouth_landmark_iod", "mouth_opening_rmse_mm"):
        assert 0 < model[metric] < 0.8 * mean[metric] and model[metric] < found["shuffled"][metric]
        assert model[metric] < found["nearest_audio"][metric]
    assert model["mouth_opening_correlation"] > 0.8 > abs(found["shuffled"]["mouth_opening_correlation"])
    assert mean["mouth_opening_correlation"] is None and mean["sync_score"] is None
    assert truth["best_offset_frames"] == 0 == model["best_offset_frames"]
    assert model["sync_score"] > found["shuffled"]["sync_score"] + 0.3
    # As it is played, it rests in the pause.
    assert found["model"]["silence_motion_ratio"] < 0.02 < found["model_without_rest"]["silence_motion_ratio"]
    assert found["protocol"]["bilabials"] > 0 and found["protocol"]["silent_moments"] > 5
    assert len(found["sync"]["curves"]["truth"]) == len(found["sync"]["shift_frames"]) == 31


def test_blocks_cover_the_take_once_with_gaps(take: SpokenTake) -> None:
    splits = cross_splits(take)
    assert len(splits) == 5 and (np.sum([test for _, test in splits], axis=0) == 1).all()
    for train, test in splits:
        distance = np.abs(take.time[train][:, None] - take.time[test]).min()
        assert distance >= 0.4 - 1e-9


def test_without_pocketsphinx_all_but_the_closures_is_measured(
    take: SpokenTake, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    test = np.arange(len(take.motion)) >= 340
    folds = fit_folds(take, tail_split(take, test), config=replace(FAST, steps=2))
    monkeypatch.setattr(lip_quality, "SHUFFLES", (0.5,))
    found = measure_lips(take, folds)
    assert found["model"]["closure_f1"] is None and "headsplat[eval]" in found["notes"]["closure_f1"]
    assert found["model"]["lip_vertex_error_mm"] > 0


def test_sounds_are_found_where_the_demo_clip_says_them() -> None:
    """The demo clip's sentence is known (assets/demo.LICENSE.txt names its voice)."""
    pytest.importorskip("pocketsphinx")
    from avatar.assets import asset
    from avatar.io.audio import read_audio

    samples = read_audio(asset("demo.mp4"))
    assert samples is not None
    found = spoken_phones(samples[: 3 * 16000])
    assert len(found) > 8 and all(phone.end > phone.start for phone in found)
    assert found == sorted(found, key=lambda phone: phone.start)
    assert found[0].start >= -0.1 and found[-1].end <= 3.3
