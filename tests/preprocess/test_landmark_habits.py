"""Where the detector puts landmarks: the shipped habits, their file, how they are learnt, and what they do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.errors import FormatError
from avatar.heads import load_head
from avatar.heads.lbs import rotation_matrices
from avatar.preprocess._landmark_model import PointModel
from avatar.preprocess.habits_build import Sightings, fitted_habits
from avatar.preprocess.landmark_habits import ROWS, LandmarkHabits, load_landmark_habits
from avatar.preprocess.tracking import Observations, TrackingConfig, tracking_problem


@pytest.fixture
def habits() -> LandmarkHabits:
    """Habits of a centimetre at most, of no head."""
    rng = np.random.default_rng(0)
    rows = {name: rng.uniform(-0.01, 0.01, (count, 3, 478)).astype(np.float32) for name, count in ROWS.items()}
    return LandmarkHabits(head_id="none", **rows)


def test_shipped_habits_are_of_the_open_head_and_small() -> None:
    shipped = load_landmark_habits()
    assert shipped.head_id == load_head().id
    moved = np.linalg.norm(shipped.constant[0], axis=0)
    assert 5e-4 < np.median(moved) < 4e-3


def test_habits_come_back_from_their_file(habits: LandmarkHabits, tmp_path: Path) -> None:
    habits.save(tmp_path / "habits.npz")
    stored = load_landmark_habits(tmp_path / "habits.npz")
    assert stored.head_id == "none"
    for name in ROWS:
        np.testing.assert_allclose(getattr(stored, name), getattr(habits, name), atol=5e-6)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(FormatError, match="holds no landmark habits"):
        load_landmark_habits(tmp_path / "other.npz")


def test_habits_of_another_shape_are_refused(habits: LandmarkHabits, tmp_path: Path) -> None:
    replace(habits, neck=habits.neck[:3]).save(tmp_path / "short.npz")
    with pytest.raises(FormatError, match=r"neck of shape \(9, 3, 478\)"):
        load_landmark_habits(tmp_path / "short.npz")


def test_displacements_follow_neck_and_jaw(habits: LandmarkHabits) -> None:
    head = load_head()
    plain = PointModel.landmarks(head, components=3)
    moved = plain.detected(habits)
    pose = torch.zeros(1, 5, 3)
    pose[0, 1] = torch.tensor([0.2, -0.5, 0.1])
    pose[0, 2, 0] = 0.15
    feature = (rotation_matrices(pose)[:, 1:] - torch.eye(3)).reshape(1, -1)
    change = feature @ (moved.deform - plain.deform)[-36:]
    change = change.reshape(3, -1) + moved.rest - plain.rest
    turned, jaw = feature[0, :9].numpy(), np.sin([-0.15, 0.15])
    expected = habits.constant[0] + np.tensordot(turned, habits.neck, 1) + np.tensordot(jaw, habits.jaw, 1)
    np.testing.assert_allclose(change.numpy(), expected, atol=1e-6)
    assert torch.equal(moved.deform[:-36], plain.deform[:-36])


def test_only_the_head_they_were_learnt_for_has_them() -> None:
    head, other = load_head(), load_head()
    other.id = "another"
    pixels = np.random.default_rng(2).uniform(100, 300, (4, 478, 2)).astype(np.float32)
    ones = np.ones(4)
    observed = Observations(ones.cumsum(), pixels, np.zeros((4, 52)), ones, ones > 0, 400, 400)
    config = TrackingConfig()
    rest = [
        tracking_problem(observed, model, config=chosen).model.rest
        for model, chosen in ((head, config), (other, config), (head, replace(config, detector_habits=False)))
    ]
    torch.testing.assert_close(rest[1], rest[2])
    torch.testing.assert_close(rest[0] - rest[2], torch.from_numpy(load_landmark_habits().constant[0]))


def test_known_displacements_are_learnt() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(-0.01, 0.01, (14, 3, 478))
    seen = []
    for _ in range(30):
        features = np.concatenate([np.ones((20, 1)), rng.standard_normal((20, 13))], axis=1)
        slopes = rng.standard_normal((20, 2, 3, 478))
        errors = np.einsum("nk,nicl,kcl->nil", features, slopes, truth)
        seen.append(Sightings(errors, slopes, features))
    learnt = fitted_habits(seen, head_id="open-1")
    found = np.concatenate([learnt.constant, learnt.neck, learnt.jaw])
    np.testing.assert_allclose(found, np.delete(truth, [1, 2], axis=0), atol=1e-4)
