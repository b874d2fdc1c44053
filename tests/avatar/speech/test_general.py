"""The general speech model: whoever was never heard speaks, within what the take or the head allows."""

from dataclasses import replace

import numpy as np
import pytest

from avatar.errors import FormatError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.speech._space import mouth_of
from avatar.speech.features import LOG_MEL, SpeechFeatures
from avatar.speech.general import CLOSED, GeneralSpeech, general_speech, general_speech_of
from avatar.speech.life_model import LifeModel
from avatar.speech.mouth import mouth_map
from avatar.speech.prior import PriorReading, load_prior

JAW = ARKIT_NAMES.index("jawOpen")


@pytest.fixture(scope="module")
def life(subject, head) -> LifeModel:
    return LifeModel.from_motion(subject.motion, head=head)


@pytest.fixture
def heard(monkeypatch) -> PriorReading:
    """What a pretended prior hears: a jaw that opens and closes; the lips are free to be closed."""
    weights = np.zeros((200, 52))
    weights[:, JAW] = 0.3 + 0.3 * np.sin(np.arange(200) / 8)
    reading = PriorReading(weights, np.zeros(200), np.zeros(200))
    monkeypatch.setattr("avatar.speech.prior.SpeechPrior.__call__", lambda *_, **__: reading)
    return reading


def said(model: GeneralSpeech, head) -> np.ndarray:
    """(200,) openings of what the model says, metres."""
    motion = model.predict(SpeechFeatures(np.zeros((200, 80), np.float32), 50.0, LOG_MEL), fps=50.0)
    return mouth_of(motion, mouth_map(head))[1]


def test_the_mouth_follows_the_prior_and_closes_where_it_hears_a_closure(subject, head, life, heard) -> None:
    model = general_speech(head, betas=subject.motion.betas, life=life, feature_model=LOG_MEL)
    before = said(model, head)
    assert np.corrcoef(before, heard.weights[:, JAW])[0, 1] > 0.99 and np.ptp(before) > 0.005
    heard.closed[90:110] = 1
    after = said(model, head)
    neutral = mouth_of(model.rest(np.zeros(1)), mouth_map(head))[1][0]
    assert after[91:109].max() < neutral + 1e-4
    assert np.allclose(after[:89], before[:89])


def test_a_take_bounds_the_mouth_and_shows_it_at_rest(subject, head, life, heard) -> None:
    heard.weights[:, JAW] = np.linspace(0, 1, 200)
    own = general_speech_of(subject.motion, head=head, life=life, feature_model=LOG_MEL)
    _, opening = mouth_of(subject.motion, mouth_map(head))
    assert said(own, head).max() < np.percentile(opening, 99.5) + 1e-3
    free = general_speech(head, betas=subject.motion.betas, life=life, feature_model=LOG_MEL)
    assert said(free, head).max() > said(own, head).max()
    # A mouth that hardly moved in a silent take still speaks, by six tenths of the usual at least.
    still = replace(
        subject.motion, jaw_pose=subject.motion.jaw_pose * 0, expression=np.zeros_like(subject.motion.expression)
    )
    calm = general_speech_of(still, head=head, life=life, feature_model=LOG_MEL)
    assert np.ptp(said(calm, head)) > 0.006 and calm.gain == pytest.approx(0.6)


def test_what_is_stored_is_read_again(subject, head, life) -> None:
    model = general_speech_of(subject.motion, head=head, life=life)
    tensors, settings = model.to_tensors(), model.settings()
    again = GeneralSpeech.from_tensors(tensors, settings)
    assert np.allclose(again.matrix, model.matrix, atol=1e-6) and again.settings() == settings
    rows = np.tile(CLOSED, (3, 1))
    assert again.decode(rows) == pytest.approx(model.decode(rows), abs=1e-5)
    with pytest.raises(FormatError, match="cannot be read"):
        GeneralSpeech.from_tensors({}, settings)
    with pytest.raises(FormatError, match="format"):
        GeneralSpeech.from_tensors(tensors, settings | {"format": 99})


def test_it_listens_to_what_can_be_had(subject, head, life, monkeypatch) -> None:
    model = general_speech(head, betas=subject.motion.betas, life=life)
    monkeypatch.setattr("avatar.speech.general.at_hand", lambda _: LOG_MEL)
    ready = model.ready()
    assert ready.feature_model == LOG_MEL and ready.feature_width == 80
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert len(ready.predict(noise, fps=25.0)) == 25
    assert load_prior("none/1") is None
