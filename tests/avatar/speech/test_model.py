"""Speech to motion: a known relation is learned, stays in range, rests in silence, and survives storage."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from avatar.config import read_json, write_json
from avatar.errors import FormatError, InputError
from avatar.io.sound import StoredSound
from avatar.speech import model as model_module
from avatar.speech import speaker as speaker_module
from avatar.speech._calibration import fit_calibration
from avatar.speech._regressor import FeatureStatistics
from avatar.speech._sampling import correlation
from avatar.speech._space import mouth_of
from avatar.speech.evaluation import evaluate_speech
from avatar.speech.features import SpeechFeatures
from avatar.speech.fitting import SpeechConfig, fit_speech_model
from avatar.speech.model import SpeechModel
from avatar.speech.mouth import mouth_map
from avatar.speech.prior import PriorReading

from .conftest import make_subject

FAST = SpeechConfig(steps=40, seeds=(0,), folds=2)


@pytest.fixture(scope="module")
def speech(subject, head) -> SpeechModel:
    return fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, config=FAST)


@pytest.fixture
def fake_features(monkeypatch):
    """Features of samples without the encoder: the level of each 20 ms times a fixed row, plus the row's number."""

    def features(samples: np.ndarray, *, kind: str) -> SpeechFeatures:
        rows = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        direction = np.random.default_rng(5).standard_normal(384)
        return SpeechFeatures((rows.std(axis=1)[:, None] * direction).astype(np.float32), 50.0, "synthetic/1")

    monkeypatch.setattr(speaker_module, "speech_features", features)


def test_learns_a_known_relation_and_its_shift(speech, subject, head) -> None:
    other = make_subject(head, seed=1)
    mouth = mouth_map(head)
    _, said = mouth_of(speech.predict(other.features, fps=25.0), mouth)
    _, true = mouth_of(other.motion, mouth)
    assert correlation(said, true) > 0.85
    wrong = fit_speech_model(
        subject.features, subject.motion, offset=-0.2, head=head, config=replace(FAST, seeds=(), folds=2)
    )
    _, misled = mouth_of(wrong.predict(other.features, fps=25.0), mouth)
    assert correlation(misled, true) < 0.4


def test_restores_the_spread_and_follows_closures(speech, head) -> None:
    other = make_subject(head, seed=2)
    mouth = mouth_map(head)
    _, said = mouth_of(speech.predict(other.features, fps=25.0), mouth)
    _, true = mouth_of(other.motion, mouth)
    assert 0.8 < said.std() / true.std() < 1.2
    closed = true < np.percentile(true, 5)
    assert said[closed].mean() < np.percentile(true, 25)


def test_moves_the_mouth_only_and_stays_in_the_takes_range(speech, subject, head) -> None:
    loud = SpeechFeatures(20 * subject.features.values, 50.0, "synthetic/1")
    motion = speech.predict(loud, fps=30.0)
    speech_part = mouth_map(head).speech_part
    upper = motion.expression @ (np.eye(len(speech_part)) - speech_part).T
    assert np.ptp(upper, axis=0).max() < 1e-4
    _, said = mouth_of(motion, mouth_map(head))
    _, taken = mouth_of(subject.motion, mouth_map(head))
    room = 0.1 * np.ptp(taken)
    assert said.min() > taken.min() - room
    assert said.max() < taken.max() + room
    assert (motion.jaw_pose >= subject.motion.jaw_pose.min(axis=0) - 1e-6).all()
    assert (motion.jaw_pose <= subject.motion.jaw_pose.max(axis=0) + 1e-6).all()
    assert motion.head_hash == head.hash


@pytest.mark.parametrize("fps", [23.976, 25.0, 60.0])
@pytest.mark.parametrize("seconds", [0.1, 1.0, 70.0])
def test_any_length_at_any_frame_rate(speech, fake_features, seconds: float, fps: float) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * 16000)).astype(np.float32)
    motion = speech.predict(samples, fps=fps)
    assert len(motion) == max(round(seconds * fps), 1)
    assert motion.time[0] == 0.0
    assert len(motion) / fps == pytest.approx(seconds, abs=0.5 / fps + 1e-9)


def test_stretches_do_not_show(speech, fake_features, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(0.02, 0.3, 120), 1600)
    samples = (level * rng.standard_normal(len(level))).astype(np.float32)
    whole = speech.predict(samples, fps=25.0)
    monkeypatch.setattr(speaker_module, "STRETCH_SECONDS", 4)
    # The statistics come from the first stretch; equal ones leave nothing but the seams.
    monkeypatch.setattr(speaker_module, "STATISTICS_SECONDS", 4)
    pieces = speech.predict(samples, fps=25.0)
    monkeypatch.setattr(speaker_module, "STRETCH_SECONDS", 60)
    whole = speech.predict(samples, fps=25.0)
    assert pieces.expression == pytest.approx(whole.expression, abs=1e-4)
    assert pieces.jaw_pose == pytest.approx(whole.jaw_pose, abs=1e-4)


def test_one_stretch_of_a_take_is_enough(subject, head) -> None:
    used = np.zeros(len(subject.motion), bool)
    used[250:375] = True
    config = SpeechConfig(steps=2, seeds=(0,), folds=2)
    model = fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, used=used, config=config)
    assert np.isfinite(model.calibration.knots).all()
    assert np.ptp(_opening(model.predict(subject.features, fps=25.0), mouth_map(head))) > 1e-3


def test_same_input_same_motion(speech, subject, head) -> None:
    again = fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, config=FAST)
    first, second = (m.predict(subject.features, fps=25.0) for m in (speech, again))
    assert np.array_equal(first.expression, second.expression)
    assert np.array_equal(first.jaw_pose, second.jaw_pose)


def test_known_closures_close_the_lips_and_nothing_else(speech, subject, head) -> None:
    mouth = mouth_map(head)
    closures = np.zeros(1600)
    closures[400:420] = 1
    plain, closed = (speech.predict(subject.features, fps=25.0, closures=given) for given in (None, closures))
    inside = (plain.time >= 4.0) & (plain.time < 4.2)
    near = (plain.time > 3.95) & (plain.time < 4.25)
    assert (_opening(closed, mouth)[inside] <= _opening(speech.rest(np.zeros(1)), mouth) + 5e-4).all()
    for name in ("expression", "jaw_pose"):
        np.testing.assert_array_equal(getattr(closed, name)[~near], getattr(plain, name)[~near])
    assert (_opening(closed, mouth) <= _opening(plain, mouth) + 1e-6).all()


def _opening(motion, mouth) -> np.ndarray:
    return mouth_of(motion, mouth)[1]


def test_sound_on_disk_says_the_same_in_little_memory(speech, fake_features) -> None:
    rng = np.random.default_rng(0)
    minute = [rng.standard_normal(16000).astype(np.float32) * (second % 3) for second in range(60)]
    peaks = []
    for minutes in (3, 9):
        with StoredSound((block for _ in range(minutes) for block in minute), 16000) as stored:
            tracemalloc.start()
            motion = speech.predict(stored, fps=25.0)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            if minutes == 3:
                array = speech.predict(np.asarray(stored), fps=25.0)
                np.testing.assert_array_equal(motion.expression, array.expression)
            assert len(motion) == minutes * 60 * 25
    # Six minutes more of sound are 23 MB; what is kept of them is their motion.
    assert peaks[1] - peaks[0] < 15e6


def test_rests_in_silence(speech, fake_features, head) -> None:
    rng = np.random.default_rng(0)
    samples = np.zeros(16000 * 5, np.float32)
    samples[2 * 16000 : 3 * 16000] = 0.2 * rng.standard_normal(16000)
    motion = speech.predict(samples, fps=50.0)
    rest = speech.rest(np.zeros(1))
    quiet = (motion.time < 1.82) | (motion.time > 3.33)
    assert motion.jaw_pose[quiet] == pytest.approx(np.tile(rest.jaw_pose, (quiet.sum(), 1)), abs=1e-6)
    assert motion.expression[quiet] == pytest.approx(np.tile(rest.expression, (quiet.sum(), 1)), abs=1e-6)
    loud = (motion.time > 2.1) & (motion.time < 2.9)
    assert np.abs(motion.jaw_pose[loud] - rest.jaw_pose).max() > 1e-3


def test_silence_alone_is_a_still_mouth(speech, fake_features) -> None:
    motion = speech.predict(np.zeros(16000, np.float32), fps=25.0)
    assert np.ptp(motion.expression, axis=0).max() == 0
    assert np.ptp(motion.jaw_pose, axis=0).max() == 0


def test_a_stored_model_says_the_same(speech, subject, tmp_path) -> None:
    save_file(speech.to_tensors(), tmp_path / "speech.safetensors")
    write_json(tmp_path / "speech.json", speech.settings())
    loaded = SpeechModel.from_tensors(
        load_file(tmp_path / "speech.safetensors"), read_json(tmp_path / "speech.json", dict)
    )
    first, second = (m.predict(subject.features, fps=25.0) for m in (speech, loaded))
    assert np.array_equal(first.expression, second.expression)
    assert np.array_equal(first.jaw_pose, second.jaw_pose)


def test_a_stored_net_takes_two_bytes_a_weight(speech) -> None:
    tensors = speech.to_tensors()
    nets = [value for name, value in tensors.items() if name.startswith("net")]
    assert nets and all(value.element_size() == 2 for value in [*nets, tensors["components.basis"]])


def test_damaged_models_are_refused(speech) -> None:
    tensors, settings = speech.to_tensors(), speech.settings()
    with pytest.raises(FormatError, match="format 1"):
        SpeechModel.from_tensors(tensors, settings | {"format": 99})
    with pytest.raises(FormatError, match="complete"):
        SpeechModel.from_tensors({k: v for k, v in tensors.items() if k != "space.rest"}, settings)
    with pytest.raises(FormatError, match="complete"):
        SpeechModel.from_tensors(tensors | {"net0.enter.weight": tensors["net0.enter.weight"][:5]}, settings)


@pytest.mark.parametrize(("rate", "name"), [(25.0, "synthetic/1"), (50.0, "another/2")])
def test_other_features_are_refused(speech, subject, rate: float, name: str) -> None:
    with pytest.raises(InputError, match=r"synthetic/1 at 50 Hz[\s\S]*To do"):
        speech.predict(SpeechFeatures(subject.features.values, rate, name), fps=25.0)


def test_unusable_requests_are_refused(speech, subject, head) -> None:
    with pytest.raises(InputError, match="too short"):
        speech.predict(np.zeros(10, np.float32), fps=25.0)
    with pytest.raises(InputError, match="positive"):
        speech.predict(subject.features, fps=0.0)
    with pytest.raises(InputError, match="another head model"):
        fit_speech_model(subject.features, replace(subject.motion, head_hash="x"), offset=0.0, head=head)
    with pytest.raises(InputError, match="too little speech"):
        fit_speech_model(subject.features, subject.motion[:20], offset=0.0, head=head)


def test_progress_ends_at_one(subject, head) -> None:
    seen: list[float] = []
    config = SpeechConfig(steps=3, seeds=(0,), folds=2)
    fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, config=config, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 3 * 3 + 1
    assert seen[-1] == 1.0


def test_scores_tell_a_right_offset_from_a_wrong_one(subject, head) -> None:
    right, wrong = (
        evaluate_speech(subject.features, subject.motion, offset=offset, head=head, config=replace(FAST, steps=12))
        for offset in (0.2, -0.3)
    )
    assert right.correlation > 0.8 > 0.4 > wrong.correlation
    assert right.rmse_mm < 0.6 * right.rmse_mean_face_mm
    assert right.rmse_mm < right.rmse_nearest_frame_mm
    assert right.closure_f1 > wrong.closure_f1


def test_regions_split_a_head_without_arkit_names(head) -> None:
    named = mouth_map(head)
    nameless = head.subset(np.arange(len(head.v_template)).tolist())
    nameless.arkit_names = ()
    found = mouth_map(nameless)
    actions = head.arkit_to_psi.numpy()
    jaw_free = actions[:, [list(head.arkit_names).index(n) for n in ("mouthFunnel", "mouthSmileLeft", "browInnerUp")]]
    scale = np.linalg.norm(jaw_free, axis=0)
    kept = [np.linalg.norm(m.speech_part @ jaw_free, axis=0) / scale for m in (named, found)]
    assert kept[0] == pytest.approx([1, 1, 0], abs=1e-4)
    assert kept[1][0] > 0.6
    assert kept[1][1] > 0.6
    assert kept[1][2] < 0.4


def test_a_calibration_stretches_about_the_mean_and_blows_up_no_guess() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((500, 2))
    held_out = 0.5 * truth + 0.2 * rng.standard_normal((500, 2))
    shown = fit_calibration(held_out, truth, restore=1.0)(held_out)
    assert shown.std(axis=0) == pytest.approx(truth.std(axis=0), rel=0.02)
    # One factor: the shape of the motion is the prediction's own.
    assert correlation(shown[:, 0], held_out[:, 0]) == pytest.approx(1)
    guess = 0.01 * rng.standard_normal((500, 2))
    assert fit_calibration(guess, truth, restore=1.0)(guess).std(axis=0)[0] < 0.01


def test_a_doubtful_closure_closes_less_than_it_is_sure(speech, subject, monkeypatch) -> None:
    rows = {}
    for sure in (0.0, 0.5, 1.0):
        count = len(subject.features.values)
        heard = PriorReading(np.zeros((count, 52)), np.full(count, sure), np.zeros(count))
        monkeypatch.setattr(model_module, "load_prior", lambda _, heard=heard: _Hears(heard))
        values = subject.features.values
        rows[sure] = speech.rows(values, np.arange(0.1, 4, 0.04), values)[:, 0]
    above = np.maximum(rows[0.0] - speech.resting[0], 0)
    np.testing.assert_allclose(rows[0.0] - rows[0.5], 0.25 * above, atol=1e-6)
    np.testing.assert_allclose(rows[0.0] - rows[1.0], above, atol=1e-6)


class _Hears:
    """A prior that reads the same from everything."""

    scale, statistics = 1.0, None

    def __init__(self, reading: PriorReading) -> None:
        self._reading = reading

    def __call__(self, values: np.ndarray, *, statistics: FeatureStatistics | None = None) -> PriorReading:
        return self._reading
