"""The voice's melody and what follows it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from avatar.errors import FormatError
from avatar.speech._track import BROWS
from avatar.speech.life import natural_motion
from avatar.speech.life_model import LifeModel
from avatar.speech.prosody import SIGNALS, Prosody, default_prosody, fit_prosody, melody_of

PITCH = SIGNALS.index("pitch")


@pytest.fixture(scope="module")
def life(subject, head) -> LifeModel:
    return LifeModel.from_motion(subject.motion, head=head)


def voice(hertz: np.ndarray) -> np.ndarray:
    """A buzz of a changing pitch, 16 kHz, that breathes every second."""
    phase = np.cumsum(hertz) / 16000
    buzz = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 8))
    breath = (np.arange(len(hertz)) % 16000) > 3200
    return (0.1 * buzz * gaussian_filter1d(breath.astype(float), 100)).astype(np.float32)


def test_pitch_and_pauses_are_heard() -> None:
    time = np.arange(16000 * 8) / 16000
    rise = 0.3 * np.sin(2 * np.pi * 0.3 * time)
    melody = melody_of(voice(120 * 2**rise))
    clock = np.arange(len(melody.values)) / 25
    # Between breaths the pitch is that of the buzz.
    inside = (clock % 1 > 0.45) & (clock % 1 < 0.85)
    assert np.corrcoef(melody.values[inside, PITCH], np.interp(clock[inside], time, rise))[0, 1] > 0.95
    pauses = melody.values[:, SIGNALS.index("pause")]
    assert len(melody.values) == 200 and np.abs(melody.values).max() <= 3
    assert pauses.min() >= 0
    silent = melody_of(np.zeros(16000, np.float32))
    assert np.allclose(silent.values[:, :-1], 0) and len(melody_of(np.zeros(0, np.float32)).values) == 1


def followed(subject, head, strength: float) -> tuple:
    """A take whose brows follow a melody by so much, its life model and the melody."""
    rng = np.random.default_rng(4)
    values = np.zeros((500, len(SIGNALS)))
    values[:, PITCH] = gaussian_filter1d(rng.standard_normal(500), 6)
    values[:, PITCH] /= values[:, PITCH].std()
    raised = head.arkit_to_psi.numpy()[:, list(head.arkit_names).index("browInnerUp")]
    follow = np.interp(subject.motion.time, np.arange(500) / 25, values[:, PITCH])
    noise = 0.02 * np.random.default_rng(6).standard_normal(len(follow))
    added = np.outer(strength * follow + noise, raised)
    calm = np.zeros_like(subject.motion.expression)
    motion = replace(subject.motion, expression=(calm + added).astype(np.float32))
    return motion, LifeModel.from_motion(motion, head=head), Prosody(values)


def test_a_coupling_is_learned_and_chance_is_not(subject, head) -> None:
    motion, life, melody = followed(subject, head, 0.15)
    model = fit_prosody(life, motion, melody, head=head, offset=0.0)
    assert model.share[BROWS] > 0.6
    moved = model(melody, np.arange(300) / 25)[:, BROWS]
    assert np.corrcoef(moved, life.track[:300, BROWS])[0, 1] > 0.9
    other = Prosody(np.random.default_rng(9).permutation(melody.values))
    assert fit_prosody(life, motion, other, head=head, offset=0.0).share[BROWS] < 0.3


def test_brows_rise_with_the_pitch_by_default_and_can_be_switched_off(subject, head, life) -> None:
    alive = replace(life, prosody=default_prosody(life, head)).rounded()
    values = np.zeros((250, len(SIGNALS)))
    values[100:150, PITCH] = 2
    melody, time = Prosody(values), np.arange(200) / 25
    off = natural_motion(alive, time, seed=3, melody=melody, prosody=0.0)
    on = natural_motion(alive, time, seed=3, melody=melody)
    again = natural_motion(alive, time, seed=3, melody=melody)
    assert np.array_equal(on.upper, again.upper)
    assert np.array_equal(off.upper, natural_motion(life, time, seed=3).upper)
    change = on.upper - off.upper
    assert np.abs(change[110:140]).max() > 1e-3 and np.allclose(change[:90], 0, atol=1e-6)
    # More of it with a gain, and the lids with it.
    strong = natural_motion(alive, time, seed=3, melody=melody, prosody=2.0)
    assert np.abs(strong.upper - off.upper).max() >= np.abs(change).max()
    assert (on.eyelids <= off.eyelids + 1e-6).all() and (on.eyelids < off.eyelids).any()


def test_the_model_is_stored_with_the_life(subject, head, life) -> None:
    alive = replace(life, prosody=default_prosody(life, head)).rounded()
    tensors = alive.to_tensors()
    again = LifeModel.from_tensors(tensors)
    assert again.prosody is not None and alive.prosody is not None
    assert np.array_equal(again.prosody.weight, alive.prosody.weight)
    assert LifeModel.from_tensors(life.to_tensors()).prosody is None
    with pytest.raises(FormatError, match="melody"):
        LifeModel.from_tensors(tensors | {"prosody.weight": tensors["prosody.weight"][:, :3]})
