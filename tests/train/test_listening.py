"""Avatars that listen: which takes make them, that held-out frames have no part in it, and steps without sound."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.sampling import initial_head
from avatar.heads import Head
from avatar.io.take import Take
from avatar.speech.features import SpeechFeatures
from avatar.train import listening
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar
from avatar.train.listening import listen, muted

HEARD = 2


@pytest.fixture
def start(tiny_take: Take, open_head: Head, tiny_config: TrainConfig) -> GaussianHead:
    return initial_head(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"], tiny_config)


@pytest.fixture
def spoken_take(tiny_take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    """The tiny take with a second of made-up sound for each of its own, which fits its picture."""
    folder = shutil.copytree(tiny_take.path, tmp_path / "take")
    take = Take.open(folder)
    seconds, generator = float(take.times[-1]) + 1, np.random.default_rng(0)
    take.write_speech(0.1 * generator.normal(size=round(16000 * seconds)).astype(np.float32))
    values = np.cumsum(generator.normal(size=(round(50 * seconds), 16)), axis=0) / 5
    take.write_speech_track({"features": values.astype(np.float16), "rate": 50.0, "model": SpeechFeatures.model})
    monkeypatch.setattr(listening, "LEAST_FRAMES", 10)
    monkeypatch.setattr(listening, "training_offset", lambda *_: 0.1)
    return Take.open(folder)


def test_a_silent_take_makes_an_avatar_that_moves_by_motion_alone(start: GaussianHead, tiny_take: Take) -> None:
    motion = listen(tiny_take, start, tiny_take.split()["train"], HEARD)
    assert start.sound is None and not motion.sound.size


def test_sound_that_does_not_belong_is_not_listened_to(
    start: GaussianHead, spoken_take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "training_offset", lambda *_: None)
    listen(spoken_take, start, spoken_take.split()["train"], HEARD)
    assert start.sound is None


def test_held_out_frames_do_not_change_what_is_heard(
    start: GaussianHead, spoken_take: Take, open_head: Head, tiny_config: TrainConfig
) -> None:
    train = spoken_take.split()["train"]
    motion = listen(spoken_take, start, train, HEARD)
    assert start.sound is not None and motion.sound_id == start.sound.id
    assert motion.sound.shape == (len(motion), HEARD) and motion.sound[train].any()
    track = dict(spoken_take.speech_track() or {})
    late = round(50 * (float(spoken_take.times[train[-1]]) + 0.1 + 0.2))
    track["features"] = np.array(track["features"])
    track["features"][late:] += 5
    spoken_take.write_speech_track(track)  # pyright: ignore[reportArgumentType]
    other = initial_head(spoken_take, open_head, spoken_take.motion(), train, tiny_config)
    listen(Take.open(spoken_take.path), other, train, HEARD)
    assert other.sound is not None and other.sound.id == start.sound.id


def test_a_share_of_the_steps_sees_no_sound(start: GaussianHead, spoken_take: Take) -> None:
    motion = listen(spoken_take, start, spoken_take.split()["train"], HEARD)
    pose = start.poses(motion)[3]
    assert pose.condition[-HEARD:].any()
    seen = [muted(pose, start, 0.3, seed=0, step=step).condition for step in range(200)]
    silent = [not condition[-HEARD:].any() for condition in seen]
    assert 0.2 < np.mean(silent) < 0.4
    assert all(np.array_equal(condition[:-HEARD], pose.condition[:-HEARD]) for condition in seen)
    again = [not muted(pose, start, 0.3, seed=0, step=step).condition[-HEARD:].any() for step in range(200)]
    assert silent == again
    assert all(muted(pose, start, 0.0, seed=0, step=step) is pose for step in range(20))


def test_training_with_sound_moves_the_residuals_that_hear(
    spoken_take: Take, open_head: Head, tiny_config: TrainConfig
) -> None:
    from dataclasses import replace

    config = replace(tiny_config, steps=60, residual_start=10, sound_components=HEARD)
    fitted = fit_avatar(spoken_take, open_head, config, threads=1)
    assert fitted.sound is not None and fitted.residuals[..., -HEARD:].abs().max() > 1e-3
