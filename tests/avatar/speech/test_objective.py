"""What a net's errors cost: metres of lips above all, more where lips meet lips or teeth, and the nets learn by it."""

from typing import Any

import numpy as np
import pytest
import torch

from avatar.face_mesh import LIPS as OUTLINES
from avatar.speech import _lesson
from avatar.speech._net import train_net
from avatar.speech._objective import CONTACT, LIPS, Objective, speech_objective
from avatar.speech._space import MouthSpace, fit_mouth_space, mouth_of
from avatar.speech.features import MODEL, SpeechFeatures
from avatar.speech.fitting import SpeechConfig, fit_speech_model
from avatar.speech.mouth import MouthMap, mouth_map
from avatar.speech.prior import PriorReading, load_prior


@pytest.fixture(scope="module")
def own(subject, head) -> MouthMap:
    return mouth_map(head, jaw=subject.motion.jaw_pose.mean(axis=0))


@pytest.fixture(scope="module")
def space(subject, own) -> MouthSpace:
    return fit_mouth_space(*mouth_of(subject.motion, own), own)


def objective_of(subject, space: MouthSpace, own: MouthMap, heard: PriorReading | None = None) -> Objective:
    targets = space.encode(*mouth_of(subject.motion, own))
    return speech_objective(
        space,
        own,
        targets=targets,
        mask=np.ones(len(targets), bool),
        position=50 * subject.motion.time,
        heard=heard,
    )


def test_directions_are_what_decoding_does(space) -> None:
    inside = 0.1 * np.random.default_rng(0).standard_normal((5, len(space.rest)))
    moved = space.decode(inside) - space.decode(np.zeros((1, len(space.rest))))
    np.testing.assert_allclose(moved, inside @ space.directions(), atol=1e-12)


def test_the_lips_metric_is_how_far_the_posed_lips_move(head) -> None:
    names = ("mouthFunnel", "mouthSmileLeft", "cheekPuff")
    actions = head.arkit_to_psi[:, [list(head.arkit_names).index(name) for name in names]].T
    with torch.no_grad():
        points = head.landmark_positions(head(expression=torch.cat([torch.zeros_like(actions[:1]), actions])))
    moved = (points[1:] - points[0])[:, list(OUTLINES)].square().sum(dim=2).mean(dim=1).numpy()
    metric = mouth_map(head).lip_metric[:-3, :-3]
    assert np.einsum("ij,jk,ik->i", actions, metric, actions) == pytest.approx(moved, rel=1e-3)


def test_errors_cost_ten_parts_of_lips_to_one_of_targets(subject, space, own) -> None:
    objective = objective_of(subject, space, own)
    forms = space.directions()
    metric = forms @ own.lip_metric @ forms.T
    spread = np.cov(space.encode(*mouth_of(subject.motion, own)).T, bias=True)
    shares = np.eye(len(forms)) / np.trace(spread), LIPS * metric / np.trace(metric @ spread)
    wanted = sum(shares) / (1 + LIPS) * np.trace(spread)
    np.testing.assert_allclose(objective.shape @ objective.shape.T, wanted, atol=1e-6)


def test_the_lower_lip_bites_where_teeth_are(head, own) -> None:
    """An opening jaw and a lowered lip leave the teeth; brows do nothing, and a head without teeth knows none."""
    names = list(head.arkit_names)
    psi = head.arkit_to_psi.numpy()
    assert own.bite[:-3] @ psi[:, names.index("mouthLowerDownLeft")] < -5e-4
    assert abs(own.bite[:-3] @ psi[:, names.index("browInnerUp")]) < 1e-4
    assert own.bite[-3] < -0.02
    part = head.subset(np.arange(len(head.v_template)).tolist())
    assert not mouth_map(part).bite.any()


def test_contacts_count_where_they_are_heard(subject, space, own) -> None:
    rows = len(subject.features.values)
    closed, teeth = np.zeros(rows), np.zeros(rows)
    closed[100:110], teeth[300:310] = 1.0, 0.5
    objective = objective_of(subject, space, own, PriorReading(np.zeros((rows, 52)), closed, teeth))
    time = subject.motion.time
    inside = (time >= 2.0) & (time < 2.18), (time >= 6.0) & (time < 6.18)
    for column, (moments, share) in enumerate(zip(inside, (CONTACT, CONTACT / 4), strict=True)):
        assert objective.shares[moments, column] == pytest.approx(share)
        assert not objective.shares[~moments & (np.abs(time - time[moments].mean()) > 0.2), column].any()
    spread = np.cov(space.encode(*mouth_of(subject.motion, own)).T, bias=True)
    assert np.einsum("mj,jk,mk->m", objective.contacts, spread, objective.contacts) == pytest.approx([1, 1])
    assert not objective_of(subject, space, own).shares.any()


def test_a_net_learns_most_where_errors_cost_most() -> None:
    """Two targets ask the same constant input for opposite things: it gives in to the dearer one."""
    values, position = torch.ones(60, 4), torch.arange(60.0)
    targets = torch.stack([torch.where(position < 30, 1.0, -1.0)] * 2, dim=1)
    shares = np.zeros((60, 2))
    shares[:30, 0] = 20.0
    given = {"mask": torch.ones(60).bool(), "adjacent": torch.zeros(59).bool(), "window": 100, "seed": 0, "steps": 80}

    def learned(objective: Objective) -> np.ndarray:
        net = train_net(values, targets, position=position, objective=objective, **given)
        return net(values[None])[0, 20:40].mean(dim=0).numpy()

    plain = learned(Objective(np.eye(2), np.eye(2), np.zeros((60, 2))))
    dearer = learned(Objective(np.eye(2), np.eye(2), shares))
    assert np.abs(plain).max() < 0.3
    assert dearer[0] > 0.6 and abs(dearer[1]) < 0.3


def test_nets_hear_groups_of_copies_in_turn(subject, head) -> None:
    config = SpeechConfig(steps=3, seeds=(0, 1), folds=2)
    other = SpeechFeatures(np.random.default_rng(3).standard_normal((400, 384)).astype(np.float32), 50.0, "synthetic/1")
    plain, heard = (
        fit_speech_model(subject.features, subject.motion, offset=0.2, head=head, config=config, copies=copies)
        for copies in (((),), ((), (other,)))
    )
    same = [
        all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
        for one, two in zip(plain.regressor.nets, heard.regressor.nets, strict=True)
    ]
    assert same == [True, False]


def test_a_take_is_learned_by_what_the_prior_hears_in_it(subject, head, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def recorded(*args: Any, **options: Any) -> Objective:
        given.append((options["heard"], objective := speech_objective(*args, **options)))
        return objective

    monkeypatch.setattr(_lesson, "speech_objective", recorded)
    features = SpeechFeatures(subject.features.values, 50.0, MODEL)
    config = SpeechConfig(steps=2, seeds=(0,), folds=2)
    fit_speech_model(features, subject.motion, offset=0.2, head=head, config=config)
    prior = load_prior(MODEL)
    assert prior is not None
    read = prior.whole(features.values)
    heard, objective = given[0]
    assert np.array_equal(heard.closed, read.closed) and heard.lip_teeth.max() <= 1
    rows = np.round(50 * (subject.motion.time + 0.2)).astype(int)
    rows = rows[rows < len(read.closed)]
    np.testing.assert_allclose(objective.shares[: len(rows), 0], CONTACT * read.closed[rows] ** 2, atol=1e-9)
    np.testing.assert_allclose(objective.shares[: len(rows), 1], CONTACT * read.lip_teeth[rows] ** 2, atol=1e-9)


def test_a_mouth_that_never_moved_costs_finite(space, own) -> None:
    count, size = 50, len(space.rest)
    objective = speech_objective(
        space, own, targets=np.zeros((count, size)), mask=np.ones(count, bool), position=np.arange(50.0), heard=None
    )
    assert 0.1 < np.linalg.norm(objective.shape) < 10 * size and np.isfinite(objective.contacts).all()
