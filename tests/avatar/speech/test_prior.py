"""What any voice says of the mouth, and what a person's own model takes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr

from avatar.heads.arkit import ARKIT_NAMES
from avatar.speech import model as model_module
from avatar.speech._sampling import correlation
from avatar.speech._space import mouth_of
from avatar.speech.build.__main__ import learn_prior
from avatar.speech.build.voices import SpokenSentence, english
from avatar.speech.features import MODEL, SpeechFeatures, speech_features
from avatar.speech.fitting import SpeechConfig, fit_speech_model
from avatar.speech.model import SpeechModel
from avatar.speech.mouth import mouth_map
from avatar.speech.prior import PriorReading, SpeechPrior, load_prior
from avatar.speech.text.hibari import hibari_passages
from avatar.speech.text.utterance import Phone
from avatar.synthetic.speech import VISEME_OF, mouth_weights


def test_phones_of_other_languages_become_ones_whose_mouths_are_known() -> None:
    spoken = [
        Phone("ʁ", 0, 0.1),
        Phone("aɪ", 0.1, 0.3),
        Phone("mʲ", 0.3, 0.4),
        Phone("_", 0.4, 0.5),
        Phone("A", 0.5, 0.7),
    ]
    found = english(spoken)
    assert [phone.symbol for phone in found] == ["k", "a", "ɪ", "m", "", "e", "i"]
    assert [phone.end for phone in found] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def sentence(seed: int) -> SpokenSentence:
    """Random features: the first half of the channels opens the jaw, the other closes the lips."""
    rng = np.random.default_rng(seed)
    signals = np.repeat(rng.standard_normal((200, 2)), 6, axis=1)
    features = (signals + 0.3 * rng.standard_normal(signals.shape)).astype(np.float32)
    weights, sounds = np.zeros((200, len(ARKIT_NAMES)), np.float32), np.zeros((200, 3), np.float32)
    weights[:, ARKIT_NAMES.index("jawOpen")] = (0.3 + 0.1 * signals[:, 0]).clip(0, 1)
    sounds[:, 0] = signals[:, 6] > 0.5
    return SpokenSentence(f"voice {seed % 3}", features, weights, sounds)


def test_a_known_relation_is_learned_and_stored(tmp_path: Path) -> None:
    prior = learn_prior([sentence(seed) for seed in range(12)], seed=0, steps=300)
    assert prior.actions == ("jawOpen",)
    other = sentence(20)
    read = prior(other.features)
    jaw = ARKIT_NAMES.index("jawOpen")
    assert correlation(read.weights[:, jaw], other.weights[:, jaw]) > 0.8
    assert read.closed[other.sounds[:, 0] > 0].mean() > read.closed[other.sounds[:, 0] == 0].mean() + 0.3
    prior.save(tmp_path / "prior.npz")
    again = SpeechPrior.load(tmp_path / "prior.npz")(other.features)
    assert np.allclose(again.weights, read.weights, atol=0.01) and np.allclose(again.closed, read.closed, atol=0.02)


def test_the_shipped_one_hears_where_lips_close(speech_part: list[Path]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("hibari")
    text = "Pam may bump into a big brown puppy. Her aunt Ida owes all our old oak tables."
    passage = next(hibari_passages([(0, text)]))
    features = speech_features(soxr.resample(passage.samples, passage.rate, 16000).astype(np.float32))
    prior = load_prior()
    assert prior is not None
    read = prior(features.values)
    phones = english(passage.phones)
    kinds = np.full(len(features.times), "", object)
    for phone in phones:
        kinds[(features.times >= phone.start) & (features.times < phone.end)] = VISEME_OF.get(phone.symbol, "")
    closed, open_ = kinds == "closed", np.isin(kinds, ["wide_open", "half_open", "round"])
    assert closed.sum() > 20 and open_.sum() > 20
    assert read.closed[closed].mean() > 0.6 and read.closed[open_].mean() < 0.15
    jaw = ARKIT_NAMES.index("jawOpen")
    assert correlation(read.weights[:, jaw], mouth_weights(phones, features.times)[:, jaw]) > 0.7


def test_a_person_s_lips_close_where_it_hears_them_close(subject, head, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SpeechConfig(steps=20, seeds=(0,), folds=2)
    speech = replace(
        fit_speech_model(subject.features, subject.motion, offset=0.0, head=head, config=config), feature_model=MODEL
    )
    features = SpeechFeatures(subject.features.values, 50.0, MODEL)
    heard = np.zeros(len(features.values))

    class Prior:
        feature_model, statistics, scale = MODEL, None, 1.0

        def __call__(self, values: np.ndarray, *, statistics: object) -> PriorReading:
            return PriorReading(np.zeros((len(values), 52)), heard[: len(values)], np.zeros(len(values)))

    monkeypatch.setattr(model_module, "load_prior", lambda _: Prior())
    mouth = mouth_map(head)
    before = mouth_of(speech.predict(features, fps=50.0), mouth)[1]
    heard[200:260] = 1
    after = mouth_of(speech.predict(features, fps=50.0), mouth)[1]
    rest = mouth_of(speech.rest(np.zeros(1)), mouth)[1][0]
    assert np.allclose(after[:198], before[:198]) and np.allclose(after[262:], before[262:])
    assert after[202:258].max() < rest + 0.1 * (before[202:258].max() - rest)


def test_the_prior_helps_most_where_the_take_is_short(subject, head) -> None:
    config = SpeechConfig(steps=3, seeds=(0,), folds=2)
    features = SpeechFeatures(subject.features.values, 50.0, MODEL)
    models = [
        fit_speech_model(features, subject.motion[:count], offset=0.0, head=head, config=config) for count in (125, 400)
    ]
    short, long = (float(model.regressor.share[0]) for model in models)
    assert 0.5 < short < 0.7 and 0.3 < long < 0.4
    again = SpeechModel.from_tensors(models[0].to_tensors(), models[0].settings())
    one, other = (model.predict(features, fps=25.0) for model in (models[0], again))
    assert np.array_equal(one.jaw_pose, other.jaw_pose) and np.array_equal(one.expression, other.expression)
    # A model from before there was a prior in it is read as it was.
    old = {name: value for name, value in models[0].to_tensors().items() if not name.startswith("heard.")}
    assert SpeechModel.from_tensors(old, models[0].settings()).regressor.heard is None
