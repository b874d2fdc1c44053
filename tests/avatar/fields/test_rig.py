"""Triangle frames and quaternions against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from avatar.fields.rig import quat_multiply, quat_rotate, rotmat_to_quat, triangle_frames

SEEDS = st.integers(0, 10_000)


def random_rotations(seed: int, count: int = 16) -> Rotation:
    return Rotation.from_quat(np.random.default_rng(seed).normal(size=(count, 4)))


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_quaternions_of_matrices_agree_with_scipy(seed: int) -> None:
    rotations = random_rotations(seed)
    found = rotmat_to_quat(torch.tensor(rotations.as_matrix())).numpy()
    wanted = np.roll(rotations.as_quat(), 1, axis=1)
    assert np.abs((found * wanted).sum(1)) == pytest.approx(np.ones(len(found)), abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_have_a_quaternion(axis: int) -> None:
    vector = np.zeros(3)
    vector[axis] = np.pi
    quat = rotmat_to_quat(torch.tensor(Rotation.from_rotvec(vector).as_matrix()))
    assert abs(quat[1 + axis]) == pytest.approx(1)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_product_composes_rotations(seed: int) -> None:
    a, b = random_rotations(seed), random_rotations(seed + 1)
    quats = [torch.tensor(np.roll(r.as_quat(), 1, axis=1)) for r in (a, b)]
    product = np.roll(quat_multiply(*quats).numpy(), -1, axis=1)
    assert np.allclose(Rotation.from_quat(product).as_matrix(), (a * b).as_matrix(), atol=1e-9)


def test_frames_are_proper_rotations_that_turn_with_the_triangle() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.randn(32, 3, 3, generator=generator, dtype=torch.float64)
    turn = torch.tensor(random_rotations(3, 1).as_matrix()[0])
    frames, turned = triangle_frames(corners), triangle_frames(corners @ turn.T + 0.3)
    assert torch.allclose(torch.linalg.det(frames.rotations), torch.ones(32, dtype=torch.float64))
    assert torch.allclose(turn @ frames.rotations, turned.rotations, atol=1e-9)
    assert torch.allclose(frames.sizes, turned.sizes)
    assert torch.allclose(triangle_frames(2 * corners).sizes, 2 * frames.sizes)


def test_frames_have_gradients() -> None:
    corners = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(triangle_frames(x)), corners)


def test_degenerate_triangles_stay_finite() -> None:
    corners = torch.zeros(1, 3, 3, requires_grad=True)
    frames = triangle_frames(corners)
    (frames.rotations.sum() + frames.sizes.sum()).backward()
    assert torch.isfinite(frames.rotations).all()
    assert corners.grad is not None


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_quaternions_turn_vectors_as_scipy_does(seed: int) -> None:
    rotations = random_rotations(seed)
    vectors = np.random.default_rng(seed + 1).normal(size=(16, 3))
    quats = torch.tensor(np.roll(rotations.as_quat(), 1, axis=1))
    assert quat_rotate(quats, torch.tensor(vectors)).numpy() == pytest.approx(rotations.apply(vectors), abs=1e-12)
