"""Blinks, head motion and gaze: statistics of the take, no pops, no loops, same seed same motion."""

from dataclasses import replace

import numpy as np
import pytest

from avatar.errors import FormatError, InputError
from avatar.speech._wander import wander
from avatar.speech.blinks import TEXTBOOK_RATE, blink_curve, blink_statistics, draw_blinks, find_blinks
from avatar.speech.drive import motion_from_audio
from avatar.speech.fitting import SpeechConfig, fit_speech_model
from avatar.speech.life import natural_motion
from avatar.speech.life_model import LifeModel
from avatar.speech.mouth import mouth_map

POSES = ("global_orient", "neck_pose", "leye_pose", "reye_pose", "transl")


@pytest.fixture(scope="module")
def life(subject, head) -> LifeModel:
    return LifeModel.from_motion(subject.motion, head=head)


@pytest.mark.parametrize("fps", [25.0, 30.0, 120.0])
def test_finds_the_blinks_of_a_track(fps: float) -> None:
    time = np.arange(int(40 * fps)) / fps
    moments = np.array([3.0, 9.02, 9.8, 20.5, 33.3])
    closure = 0.1 + 0.8 * blink_curve(time, moments, width=0.12)
    found, widths = find_blinks(time, closure)
    assert found == pytest.approx(moments, abs=0.6 / fps + 0.01)
    assert np.median(widths) == pytest.approx(0.12, abs=0.03)


def test_long_closures_and_noise_are_no_blinks() -> None:
    time = np.arange(1000) / 25
    closure = 0.05 * np.random.default_rng(0).standard_normal(1000)
    closure[300:360] = 1.0
    assert len(find_blinks(time, closure)[0]) == 0


def test_blink_statistics_follow_the_take_or_the_textbook() -> None:
    time = np.arange(60 * 25) / 25
    closure = blink_curve(time, np.arange(2.0, 58.0, 6.0), width=0.16)
    rate, width, depth = blink_statistics(time, np.stack([closure, closure], axis=1))
    assert rate == pytest.approx(10, abs=0.5)
    assert width == pytest.approx(0.16, abs=0.04)
    assert depth == pytest.approx(1.0, abs=0.1)
    assert blink_statistics(time, np.full((len(time), 2), 0.2))[0] == TEXTBOOK_RATE


def test_drawn_blinks_keep_their_rate_and_their_distance() -> None:
    moments = draw_blinks(6000.0, rate=18.0, rng=np.random.default_rng(0))
    assert 60 * len(moments) / 6000 == pytest.approx(18, rel=0.1)
    assert np.diff(moments).min() >= 0.5


def test_motion_is_as_smooth_as_the_take_and_within_its_range(life) -> None:
    fps = 25.0
    time = np.arange(int(70 * fps)) / fps
    made = natural_motion(life, time, seed=3)
    track = life.track
    for column, name, axis in ((0, "global_orient", 0), (4, "neck_pose", 1), (8, "transl", 2)):
        given, got = track[:, column], getattr(made, name)[:, axis].astype(np.float64)
        assert np.abs(np.diff(got, 2)).max() < 1.5 * np.abs(np.diff(given, 2)).max()
        assert np.ptp(got) <= 1.1 * np.ptp(given) + 1e-3
        assert got.std() > 0.5 * given.std()


def test_no_loop_shows(life) -> None:
    made = natural_motion(life, np.arange(2000) / 25, seed=0).global_orient[:, 0]
    similar = [np.corrcoef(made[:-lag], made[lag:])[0, 1] for lag in range(100, 1200)]
    assert max(similar) < 0.8


def test_frame_rate_does_not_change_the_motion(life) -> None:
    slow = natural_motion(life, np.arange(250) / 25, seed=1)
    fast = natural_motion(life, np.arange(1000) / 100, seed=1)
    for name in POSES:
        assert getattr(fast, name)[::4] == pytest.approx(getattr(slow, name), abs=1e-5)


def test_seeds_and_lengths(life) -> None:
    time = np.arange(500) / 25
    first, same, other = (natural_motion(life, time, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.global_orient, same.global_orient)
    assert not np.allclose(first.global_orient, other.global_orient, atol=1e-3)
    part = natural_motion(life, time[:100], seed=1)
    assert part.global_orient == pytest.approx(first.global_orient[:100], abs=1e-6)
    assert part.eyelids == pytest.approx(first.eyelids[:100], abs=1e-6)


def test_still_keeps_the_head_and_blinks(life, subject) -> None:
    made = natural_motion(life, np.arange(1000) / 25, pose="still")
    for name in ("global_orient", "neck_pose", "transl"):
        assert np.ptp(getattr(made, name), axis=0).max() < 1e-6
    assert made.transl[0] == pytest.approx(subject.motion.transl.mean(axis=0), abs=1e-3)
    assert made.eyelids.max() > 0.9
    with pytest.raises(InputError, match="natural"):
        natural_motion(life, np.arange(3) / 25, pose="dancing")  # type: ignore[arg-type]


def test_eyes_turn_against_the_head_as_in_the_take(life) -> None:
    made = natural_motion(life, np.arange(1500) / 25, seed=5)
    assert np.corrcoef(made.global_orient[:, 1], made.leye_pose[:, 1])[0, 1] < -0.7


def test_silence_calms_the_head(life) -> None:
    time = np.arange(1000) / 25
    calm = natural_motion(life, time, seed=1, speech_energy=np.zeros(1000)).global_orient
    lively = natural_motion(life, time, seed=1, speech_energy=np.ones(1000)).global_orient
    assert calm.std() == pytest.approx(0.6 * lively.std(), rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 30, 200])
def test_short_takes_still_move_gently(subject, head, count: int) -> None:
    model = LifeModel.from_motion(subject.motion[:count], head=head)
    made = natural_motion(model, np.arange(500) / 25)
    for name in POSES:
        assert np.isfinite(getattr(made, name)).all()
        assert np.abs(np.diff(getattr(made, name), axis=0)).max() < 0.1


@pytest.mark.parametrize("length", [150, 170, 400])
def test_wandering_never_leaves_the_track(length: int) -> None:
    track = np.cumsum(np.random.default_rng(0).standard_normal((length, 3)), axis=0)
    for seed in range(5):
        made = wander(track, 25.0, count=3000, matched=3, rng=np.random.default_rng(seed))
        assert made.shape == (3000, 3)
        assert (made >= track.min(axis=0) - 1e-9).all()
        assert (made <= track.max(axis=0) + 1e-9).all()


def test_a_stored_model_is_small_and_moves_the_same(subject, head, life) -> None:
    tensors = life.to_tensors()
    assert sum(t.numel() * t.element_size() for t in tensors.values()) < 100_000
    loaded = LifeModel.from_tensors(tensors)
    time = np.arange(300) / 25
    assert np.array_equal(natural_motion(life, time).transl, natural_motion(loaded, time).transl)
    long = replace(subject.motion, time=subject.motion.time * 10)
    assert len(LifeModel.from_motion(long, head=head).track) == 1500
    with pytest.raises(FormatError, match="gaze"):
        LifeModel.from_tensors({name: value for name, value in tensors.items() if name != "gaze"})
    with pytest.raises(FormatError, match="track"):
        LifeModel.from_tensors(tensors | {"track": tensors["track"][:, :5]})


def test_drives_a_whole_head(subject, head, life, monkeypatch) -> None:
    config = SpeechConfig(steps=3, seeds=(0,), folds=2)
    speech = fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, config=config)
    monkeypatch.setattr("avatar.speech.speaker.speech_features", lambda samples, *, kind: subject.features)
    samples = 0.1 * np.random.default_rng(0).standard_normal(16 * 16000 + 123).astype(np.float32)
    motion = motion_from_audio(speech, life, samples=samples, fps=29.97, seed=4)
    assert len(motion) == round(len(samples) / 16000 * 29.97)
    speech_part = mouth_map(head).speech_part
    alone = speech.predict(samples, fps=29.97)
    assert motion.expression @ speech_part.T == pytest.approx(alone.expression @ speech_part.T, abs=1e-4)
    brows = motion.expression @ (np.eye(len(speech_part)) - speech_part).T
    assert np.ptp(brows, axis=0).max() > 1e-3
    assert np.ptp(motion.global_orient, axis=0).max() > 1e-2


def test_blinks_and_breaths_begin_in_pauses(life) -> None:
    time = np.arange(2000) / 25
    talking = (time % 4 < 3).astype(float)
    tied = natural_motion(life, time, seed=2, pose="still", speech_energy=talking)
    free = natural_motion(life, time, seed=2, pose="still")

    (tied_at, free_at) = (find_blinks(time, each.eyelids[:, 0])[0] for each in (tied, free))
    assert len(tied_at) == len(free_at)
    tied_share, free_share = (float((np.abs(at % 4 - 3) < 0.08).mean()) for at in (tied_at, free_at))
    assert tied_share > free_share + 0.15
    # Breaths: the chest is emptiest where a pause begins.
    starts = 25 * np.arange(3, 79, 4)
    fullness = [np.median((each.torso - life.torso)[starts, 1]) for each in (tied, free)]
    assert fullness[0] < 2e-4 < fullness[1]


def test_breathing_moves_the_shoulders_alone_and_can_be_switched_off(life) -> None:
    time = np.arange(1500) / 25
    alive, strong, off = (natural_motion(life, time, seed=1, breathing=gain) for gain in (1.0, 2.0, 0.0))
    risen = (alive.torso - off.torso).astype(np.float64)
    assert 0.002 < risen[:, 1].max() < 0.003 and risen.min() > -1e-6
    assert strong.torso - off.torso == pytest.approx(2 * risen, abs=1e-6)
    breaths = int((np.diff((risen[:, 1] > 0.00125).astype(int)) > 0).sum())
    assert 10 <= breaths <= 20
    for name in (*POSES, "eyelids", "upper"):
        assert np.array_equal(getattr(alive, name), getattr(off, name))
    assert np.ptp(natural_motion(life, time, pose="still", breathing=0.0).torso, axis=0).max() == 0


def test_a_motion_lends_its_pose(life, subject) -> None:
    given = subject.motion[:200]
    length = float(given.time[-1] - given.time[0])
    time = np.arange(1500) / 25
    made = natural_motion(life, time, seed=4, pose=given)
    inside = time < length - 0.5
    aligned = given.resample(given.time[0] + time[inside])
    for name in ("global_orient", "neck_pose", "transl", "torso"):
        assert getattr(made, name)[inside] == pytest.approx(getattr(aligned, name), abs=1e-5)
        fastest = np.abs(np.diff(getattr(given, name), axis=0)).max()
        assert np.abs(np.diff(getattr(made, name), axis=0)).max() <= 1.1 * fastest
    assert np.array_equal(made.eyelids, natural_motion(life, time, seed=4).eyelids)
