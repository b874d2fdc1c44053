"""Residuals that hear: what they listen to, when they are silent, and what becomes of a foreign sound."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.errors import InputError
from avatar.fields import listening
from avatar.fields.condition import LIMIT, MotionCondition, motion_features
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.listening import with_sound
from avatar.fields.speech_condition import TAPS, SpeechCondition
from avatar.motion import Motion
from avatar.speech.features import SpeechFeatures

CHANNELS, HEARD, SECONDS = 12, 3, 8
# Four features that are components already.
PLAIN = MotionCondition(torch.zeros(4), torch.eye(4))


@pytest.fixture(scope="module")
def features() -> SpeechFeatures:
    """Eight seconds of smooth noise whose first four channels are nearly one."""
    generator = np.random.default_rng(1)
    steps = generator.normal(size=(50 * SECONDS + 8, CHANNELS))
    smooth = np.stack([np.convolve(column, np.ones(9) / 3, mode="valid") for column in steps.T], axis=1)
    smooth[:, :4] = 0.3 * smooth[:, :4] + smooth[:, :1]
    return SpeechFeatures(smooth.astype(np.float32))


@pytest.fixture(scope="module")
def times() -> np.ndarray:
    return np.arange(0.2, SECONDS - 0.2, 0.04)


@pytest.fixture(scope="module")
def condition(features: SpeechFeatures, times: np.ndarray) -> np.ndarray:
    """A motion that follows the first channel and has three more of its own."""
    own = np.random.default_rng(2).normal(size=(len(times), 3))
    return np.column_stack([features.at(times)[:, 0], own]).astype(np.float32)


@pytest.fixture(scope="module")
def heard(features: SpeechFeatures, times: np.ndarray, condition: np.ndarray) -> SpeechCondition:
    return SpeechCondition.fit(features, times, condition, PLAIN, HEARD)


@pytest.fixture
def listener(tiny_gaussians: GaussianHead, features: SpeechFeatures, tiny_motion: Motion) -> GaussianHead:
    """The tiny avatar with arbitrary residuals that listen."""
    copy = tiny_gaussians.subset(torch.ones(len(tiny_gaussians), dtype=torch.bool))
    moved = motion_features(tiny_motion, copy.head)
    assert isinstance(copy.condition, MotionCondition)
    copy.listen(SpeechCondition.fit(features, tiny_motion.time, moved, copy.condition, HEARD))
    with torch.no_grad():
        copy.residuals[..., -HEARD:].normal_(generator=torch.Generator().manual_seed(3))
    return copy.requires_grad_(False)


def test_components_are_standardised_and_not_told_by_the_motion(
    heard: SpeechCondition, features: SpeechFeatures, times: np.ndarray, condition: np.ndarray
) -> None:
    values = heard(features, times, condition)
    assert values.shape == (len(times), HEARD) and np.abs(values).max() <= LIMIT
    assert np.allclose(values.std(0), 1, atol=0.1) and np.allclose(values.mean(0), 0, atol=0.1)
    crossed = np.corrcoef(values.T, condition.T)[:HEARD, HEARD:]
    assert np.abs(crossed).max() < 0.2
    # Where the motion says nothing, what it would have told leads.
    alone = SpeechCondition.fit(features, times, 0 * condition, PLAIN, HEARD)(features, times, 0 * condition)
    assert np.abs(np.corrcoef(alone.T, condition.T)[:HEARD, HEARD]).max() > 0.7


def test_nothing_is_heard_outside_the_sound_and_in_silence(
    heard: SpeechCondition, features: SpeechFeatures, condition: np.ndarray
) -> None:
    outside = np.array([-1.0, -0.01, SECONDS + 0.1, SECONDS + 9])
    assert not heard(features, outside, condition[:4]).any()
    empty = SpeechFeatures(np.zeros((0, CHANNELS), np.float32))
    assert not heard(empty, np.zeros(4), condition[:4]).any()
    times = np.array([1.0, 3.0, 5.0, 6.0])
    full = heard(features, times, condition[:4])
    activity = np.ones(100 * SECONDS)
    activity[250:350], activity[450:550] = 0, 0.5
    assert np.allclose(heard(features, times, condition[:4], activity), full * np.array([[1], [0], [0.5], [1]]))


@pytest.mark.parametrize(("model", "rate"), [("hubert", 50.0), (SpeechFeatures.model, 25.0)])
def test_other_features_are_refused(
    heard: SpeechCondition, features: SpeechFeatures, condition: np.ndarray, model: str, rate: float
) -> None:
    foreign = SpeechFeatures(features.values, rate, model)
    with pytest.raises(InputError, match="do not fit this avatar"):
        heard(foreign, np.zeros(2), condition[:2])


def test_an_avatar_that_begins_to_listen_is_as_it_was(
    tiny_gaussians: GaussianHead, features: SpeechFeatures, tiny_motion: Motion, listener: GaussianHead
) -> None:
    assert listener.sound is not None
    silent = with_sound(tiny_motion, tiny_gaussians, features)
    assert silent is tiny_motion
    spoken = with_sound(tiny_motion, listener, features)
    assert spoken.sound.any() and spoken.sound_id == listener.sound.id
    for before, quiet, loud in zip(
        tiny_gaussians.poses(tiny_motion), listener.poses(tiny_motion), listener.poses(spoken), strict=True
    ):
        assert torch.equal(quiet.condition[:-HEARD], before.condition) and not quiet.condition[-HEARD:].any()
        assert torch.allclose(tiny_gaussians.residual(before.condition), listener.residual(quiet.condition), atol=1e-5)
        assert torch.equal(loud.condition[:-HEARD], before.condition)
    index = int(np.abs(spoken.sound).sum(1).argmax())
    quiet, loud = (listener.residual(listener.poses(m)[index].condition) for m in (tiny_motion, spoken))
    assert (loud - quiet).abs().max() > 0.1


def test_the_sound_of_another_avatar_is_silence(listener: GaussianHead, tiny_motion: Motion) -> None:
    assert listener.sound is not None
    count = len(tiny_motion)
    for sound, name in ((np.ones((count, HEARD)), "another"), (np.ones((count, HEARD + 1)), listener.sound.id)):
        foreign = replace(tiny_motion, sound=sound.astype(np.float32), sound_id=name)
        assert not torch.stack([pose.condition[-HEARD:] for pose in listener.poses(foreign)]).any()
    own = replace(tiny_motion, sound=9 * np.ones((count, HEARD), np.float32), sound_id=listener.sound.id)
    assert listener.poses(own)[0].condition[-HEARD:].tolist() == [LIMIT] * HEARD


def test_a_subset_listens_as_the_whole(listener: GaussianHead, tiny_motion: Motion) -> None:
    kept = torch.arange(len(listener)) % 3 == 0
    part = listener.subset(kept)
    assert part.sound is listener.sound and torch.equal(part.residuals, listener.residuals[kept])
    assert part.motion_residuals.shape[2] == part.condition.basis.shape[1]


def test_long_sound_is_heard_in_stretches(listener: GaussianHead, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(samples: np.ndarray) -> SpeechFeatures:
        rows = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        return SpeechFeatures(np.tile(rows.mean(1, keepdims=True), (1, CHANNELS)).astype(np.float32))

    monkeypatch.setattr(listening, "speech_features", loud)
    samples = np.sin(np.arange(16000 * 25) / 16000).astype(np.float32)
    motion = _held(listener, np.arange(0, 25, 0.2))
    whole = with_sound(motion, listener, loud(samples))
    monkeypatch.setattr(listening, "STRETCH_SECONDS", 7)
    activity = np.ones(2500)
    pieces = with_sound(motion, listener, samples, activity=activity)
    assert np.allclose(pieces.sound, whole.sound, atol=1e-4) and np.abs(whole.sound).max() > 0.1


def _held(gaussians: GaussianHead, times: np.ndarray) -> Motion:
    from avatar.render.motions import neutral_motion

    return neutral_motion(gaussians).resample(times)


def test_sound_goes_with_its_moments(tiny_motion: Motion) -> None:
    sound = np.random.default_rng(0).normal(size=(len(tiny_motion), 2)).astype(np.float32)
    motion = replace(tiny_motion, sound=sound, sound_id="it")
    assert np.array_equal(motion[3:7].sound, sound[3:7])
    between = (motion.time[4] + motion.time[5]) / 2
    assert np.allclose(motion.resample(np.array([between])).sound, sound[4:6].mean(0), atol=1e-6)
    assert tiny_motion.sound.shape == (len(tiny_motion), 0)
    assert tiny_motion.resample(np.array([between])).sound.shape == (1, 0)
    with pytest.raises(InputError, match="sound"):
        replace(motion, sound=sound[:-1])


def test_a_motion_file_keeps_the_sound(tiny_motion: Motion, tmp_path) -> None:
    sound = np.ones((len(tiny_motion), 2), np.float32)
    replace(tiny_motion, sound=sound, sound_id="it").save(tmp_path / "spoken.npz")
    tiny_motion.save(tmp_path / "plain.npz")
    spoken, plain = (Motion.load(tmp_path / f"{name}.npz") for name in ("spoken", "plain"))
    assert np.array_equal(spoken.sound, sound) and spoken.sound_id == "it"
    assert plain.sound.shape == (len(plain), 0) and plain.sound_id == ""
    with np.load(tmp_path / "plain.npz") as stored:
        assert "sound" not in stored and "sound_id" not in stored


def test_the_taps_lie_evenly_around_the_moment() -> None:
    assert tuple(-tap for tap in reversed(TAPS)) == TAPS
