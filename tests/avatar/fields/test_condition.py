"""The condition: principal components of what the face does, standardised and held within the take."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.fields.condition import LIMIT, SMALLEST_DEVIATION, MotionCondition, feature_count, motion_features
from avatar.heads import Head
from avatar.motion import Motion


@pytest.fixture
def features() -> np.ndarray:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(4, 12)) * [[3], [1], [0.5], [0.2]]
    return (generator.normal(size=(200, 4)) @ mixing + 5).astype(np.float32)


def test_components_are_standardised_and_uncorrelated(features: np.ndarray) -> None:
    condition = MotionCondition.fit(features, 4)
    found = condition(torch.as_tensor(features)).numpy()
    assert found.shape == (200, 4)
    # The limit holds the few samples beyond three deviations back, which costs a little of the variance.
    assert np.abs(found.mean(0)).max() < 0.05
    assert np.allclose(np.cov(found.T), np.eye(4), atol=0.06)


def test_the_mean_is_zero_and_nothing_leaves_the_limit(features: np.ndarray) -> None:
    condition = MotionCondition.fit(features, 4)
    assert torch.allclose(condition(condition.mean[None]), torch.zeros(1, 4))
    far = condition(torch.as_tensor(features.mean(0) + 100 * (features[:3] - features.mean(0))))
    assert far.abs().max() == LIMIT
    assert (far.abs() == LIMIT).any(dim=1).all()


def test_directions_that_hardly_move_are_not_blown_up() -> None:
    steady = np.ones((50, 3), np.float32)
    steady[:, 0] += np.linspace(-1e-5, 1e-5, 50, dtype=np.float32)
    condition = MotionCondition.fit(steady, 3)
    assert torch.isfinite(condition.basis).all()
    assert condition(torch.as_tensor(steady)).abs().max() <= 1e-5 / SMALLEST_DEVIATION * 1.1


def test_there_are_no_more_components_than_frames_or_features(features: np.ndarray) -> None:
    assert MotionCondition.fit(features[:5], 16).basis.shape == (12, 5)
    assert MotionCondition.fit(features, 16).basis.shape == (12, 12)


def test_features_say_what_the_face_does_and_not_where_it_is(tiny_motion: Motion, open_head: Head) -> None:
    found = motion_features(tiny_motion, open_head)
    assert found.shape == (len(tiny_motion), feature_count(open_head)) and found.dtype == np.float32
    elsewhere = replace(tiny_motion, transl=tiny_motion.transl + 1, torso=tiny_motion.torso + 1)
    assert np.array_equal(motion_features(elsewhere, open_head), found)
    blink = replace(tiny_motion, eyelids=tiny_motion.eyelids + 0.5)
    assert np.abs(motion_features(blink, open_head) - found).max() == pytest.approx(0.5)


def test_expression_features_are_the_arkit_weights(tiny_motion: Motion, open_head: Head) -> None:
    weights = np.random.default_rng(1).random((len(tiny_motion), len(open_head.arkit_names))).astype(np.float32)
    spoken = replace(tiny_motion, expression=weights @ open_head.arkit_to_psi.numpy().T)
    assert np.allclose(motion_features(spoken, open_head)[:, : weights.shape[1]], weights, atol=1e-3)
