import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.heads import Head, load_head, rotation_matrices
from avatar.heads.lbs import blend, joint_transforms, lbs

torch.set_num_threads(1)
ANGLES = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head("open")


@pytest.fixture
def coefficients(head: Head) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "betas": normal(3, 20),
        "expression": normal(3, head.exprdirs.shape[-1]),
        "pose": 0.3 * normal(3, 5, 3),
        "eyelids": normal(3, 2).abs(),
        "transl": normal(3, 3),
    }


@settings(deadline=None, max_examples=40)
@given(ANGLES)
def test_rotations_are_scipys(axis_angle):
    ours = rotation_matrices(torch.tensor(axis_angle, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(ours, Rotation.from_rotvec(axis_angle).as_matrix(), atol=1e-8)


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1e-4, 1.0])
def test_rotation_gradients_hold_near_zero(scale):
    axis_angle = scale * torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)
    assert torch.autograd.gradcheck(rotation_matrices, axis_angle.requires_grad_(), eps=1e-7, atol=1e-5)


def test_lbs_gradcheck():
    torch.manual_seed(0)
    weights = torch.rand(4, 5, dtype=torch.float64)
    weights /= weights.sum(1, keepdim=True)
    shaped, joints, pose, posedirs, offsets = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((1, 4, 3), (1, 5, 3), (2, 5, 3), (4, 3, 36), (2, 4, 3))
    )

    def run(shaped, joints, pose, posedirs, offsets):
        return lbs(shaped, joints, pose=0.3 * pose, posedirs=posedirs, weights=weights, offsets=offsets)

    assert torch.autograd.gradcheck(run, (shaped, joints, pose, posedirs, offsets))


def test_lbs_matches_a_vertex_by_vertex_loop(head, coefficients):
    """A plain loop over joints with 4x4 matrices, in the textbook order, gives the same head."""
    small = head.subset(torch.arange(0, len(head.v_template), 400)).double()
    given_ = {name: value[:1].double() for name, value in coefficients.items()}
    found = small(**given_)[0].numpy()
    turns = Rotation.from_rotvec(given_["pose"][0].numpy()).as_matrix()
    rest = small.joints(given_["betas"])[0].numpy()
    world: list[np.ndarray] = []
    for joint, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    feature = (turns[1:] - np.eye(3)).ravel()
    for index, vertex in enumerate(found):
        point = small.v_template[index].numpy() + small.shapedirs[index, :, :20].numpy() @ given_["betas"][0].numpy()
        point = point + small.exprdirs[index].numpy() @ given_["expression"][0].numpy()
        point = point + small.eyelid_dirs[index].numpy() @ given_["eyelids"][0].numpy()
        point = point + small.posedirs[index].numpy() @ feature
        share = small.weights[index].numpy()
        moved = sum(share[j] * (world[j][:3, :3] @ (point - rest[j]) + world[j][:3, 3]) for j in range(5))
        np.testing.assert_allclose(vertex, moved + given_["transl"][0].numpy(), atol=1e-9)


def test_nothing_given_is_the_template(head):
    assert torch.equal(head()[0], head.v_template)
    posed = head(pose=torch.zeros(1, 5, 3), betas=torch.zeros(1, 4), eyelids=torch.zeros(1, 2))
    torch.testing.assert_close(posed[0], head.v_template, atol=1e-6, rtol=0)


def test_batches_equal_single_heads(head, coefficients):
    together = head(**coefficients)
    for index in range(3):
        alone = head(**{name: value[index : index + 1] for name, value in coefficients.items()})
        torch.testing.assert_close(together[index], alone[0], atol=2e-6, rtol=0)


def test_one_identity_serves_all_poses(head, coefficients):
    shared = head(**coefficients | {"betas": coefficients["betas"][:1]})
    repeated = head(**coefficients | {"betas": coefficients["betas"][:1].repeat(3, 1)})
    torch.testing.assert_close(shared, repeated, atol=2e-6, rtol=0)
    baked = head.with_identity(coefficients["betas"][0])
    without = {name: value for name, value in coefficients.items() if name != "betas"}
    torch.testing.assert_close(baked(**without), shared, atol=2e-6, rtol=0)


def test_baked_offsets_move_vertices_at_rest_and_no_joint(head, coefficients):
    offsets = torch.zeros_like(head.v_template)
    offsets[5] = torch.tensor([0.01, -0.02, 0.03])
    betas = coefficients["betas"][0]
    plain, shifted = head.with_identity(betas), head.with_identity(betas, offsets)
    torch.testing.assert_close(shifted.v_template - plain.v_template, offsets, atol=1e-7, rtol=0)
    torch.testing.assert_close(shifted.joints(), plain.joints())
    # A subset has its own vertices' offsets.
    torch.testing.assert_close(shifted.subset([5, 3])(), shifted()[:, [5, 3]])
    with pytest.raises(InputError, match="vertex offsets"):
        head.with_identity(betas, offsets[:-1])


def test_one_pose_serves_all_identities(head, coefficients):
    shared = head(**coefficients | {"pose": coefficients["pose"][:1]})
    repeated = head(**coefficients | {"pose": coefficients["pose"][:1].repeat(3, 1, 1)})
    torch.testing.assert_close(shared, repeated, atol=2e-6, rtol=0)


def test_root_rotation_is_rigid_about_the_root_joint(head):
    pose = torch.zeros(1, 5, 3)
    pose[0, 0] = torch.tensor([0.2, -0.7, 0.4])
    transl = torch.tensor([[0.1, -0.2, 0.3]])
    turn = rotation_matrices(pose[0, 0])
    root = head.joints()[0, 0]
    expected = (head.v_template - root) @ turn.T + root + transl[0]
    torch.testing.assert_close(head(pose=pose, transl=transl)[0], expected, atol=1e-6, rtol=0)


def test_joint_transforms_leave_their_joints_in_place():
    torch.manual_seed(1)
    rotations = rotation_matrices(torch.randn(2, 5, 3, dtype=torch.float64))
    joints = torch.randn(2, 5, 3, dtype=torch.float64)
    world, shift = joint_transforms(rotations, joints)
    moved = (world @ joints[..., None])[..., 0] + shift
    # A child's joint is moved by its parent alone.
    for joint, parent in ((1, 0), (2, 1), (3, 1), (4, 1)):
        by_parent = (world[:, parent] @ joints[:, joint, :, None])[..., 0] + shift[:, parent]
        torch.testing.assert_close(moved[:, joint], by_parent)


def test_subset_is_the_whole_head_at_its_vertices(head, coefficients):
    ids = torch.randperm(len(head.v_template), generator=torch.Generator().manual_seed(5))[:700]
    part = head.subset(ids)
    torch.testing.assert_close(part(**coefficients), head(**coefficients)[:, ids], atol=2e-6, rtol=0)
    torch.testing.assert_close(part.joints(coefficients["betas"]), head.joints(coefficients["betas"]))
    assert torch.equal(part.vertex_ids, ids)
    assert torch.equal(ids[part.faces], head.faces[(torch.isin(head.faces, ids)).all(1)])


def test_landmark_subset_gives_the_same_landmarks(head, coefficients):
    small = head.landmark_subset()
    assert len(small.v_template) < 0.25 * len(head.v_template)
    whole = head.landmark_positions(head(**coefficients))
    torch.testing.assert_close(small.landmark_positions(small(**coefficients)), whole, atol=2e-6, rtol=0)


def test_subset_without_landmarks_says_so(head):
    with pytest.raises(InputError, match="no lmk478 landmarks"):
        _ = head.subset([0, 1, 2]).landmarks


def test_gradients_reach_every_argument(head, coefficients):
    leaves = {name: value.clone().requires_grad_() for name, value in coefficients.items()}
    head.landmark_subset()(**leaves).square().sum().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None and leaf.grad.abs().sum() > 0, name


def test_blend_takes_fewer_coefficients():
    directions = torch.randn(4, 3, 6)
    few = torch.randn(2, 2)
    torch.testing.assert_close(blend(directions, few), torch.einsum("vck,bk->bvc", directions[..., :2], few))


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("betas", (2, 1000), "up to"),
        ("expression", (3,), "expression cannot be used"),
        ("pose", (2, 15), r"shape \(2, 15\)"),
        ("eyelids", (2, 1), "eyelids cannot be used"),
    ],
)
def test_wrong_shapes_are_named(head, name, shape, text):
    with pytest.raises(InputError, match=text):
        head(**{name: torch.zeros(shape)})


def test_batches_that_do_not_fit_are_named(head):
    with pytest.raises(InputError, match="'eyelids': 2"):
        head(eyelids=torch.zeros(2, 2), transl=torch.zeros(3, 3))
