"""The rigged Gaussians: they follow their triangles, the residuals their condition, the torso the root."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rebinding import bound_like
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.fields.condition import MotionCondition, feature_count
from avatar.fields.gaussian_head import REGIONS, TORSO_POSITION_UNIT, GaussianHead
from avatar.fields.rig import STRETCH_RANGE, triangle_frames
from avatar.gaussians import Gaussians
from avatar.heads import Head
from avatar.motion import Motion

SHEET = torch.tensor([[-0.1, -0.25, 0.0], [0.1, -0.25, 0.0], [0.0, -0.15, 0.05], [0.0, -0.3, 0.05]])
ON_HEAD, ON_TORSO, COMPONENTS = 40, 10, 3


@pytest.fixture(scope="module")
def gaussians(open_head: Head) -> GaussianHead:
    """A few Gaussians with arbitrary parameters on the head and on a sheet of two triangles."""
    generator = torch.Generator().manual_seed(0)
    faces, vertices = len(open_head.faces), len(open_head.v_template)
    on_head = torch.randint(0, faces, (ON_HEAD,), generator=generator)
    basis = torch.randn(feature_count(open_head), COMPONENTS, generator=generator) / 10
    result = GaussianHead(
        open_head,
        torch.linspace(-0.5, 0.5, 6),
        SHEET,
        torch.tensor([[0, 1, 2], [1, 0, 3]]) + vertices,
        MotionCondition(torch.zeros(len(basis)), basis),
        triangles=torch.cat([on_head, faces + torch.arange(ON_TORSO) % 2]),
        barycentric=torch.distributions.Dirichlet(torch.ones(3)).sample((ON_HEAD + ON_TORSO,)),
        regions=torch.tensor([REGIONS.index("skin")] * ON_HEAD + [REGIONS.index("torso")] * ON_TORSO),
    )
    with torch.no_grad():
        result.offsets.normal_(std=2e-3, generator=generator)
        result.log_scales.uniform_(-7, -5, generator=generator)
        result.quats.normal_(generator=generator)
        result.opacity_logits.normal_(generator=generator)
        result.color_logits.normal_(generator=generator)
        result.residuals.normal_(generator=generator)
    return result.requires_grad_(False)


def still(head: Head, count: int = 2) -> Motion:
    """A head at rest in front of the camera."""
    three = np.zeros((count, 3), np.float32)
    return Motion(
        time=np.arange(count) / 25,
        betas=np.zeros(6, np.float32),
        expression=np.zeros((count, head.exprdirs.shape[-1]), np.float32),
        global_orient=three,
        neck_pose=three,
        jaw_pose=three,
        leye_pose=three,
        reye_pose=three,
        eyelids=np.zeros((count, 2), np.float32),
        transl=three + np.array([0, 0, -0.7], np.float32),
        head_id=head.id,
        head_hash=head.hash,
    )


def covariances(world: Gaussians) -> torch.Tensor:
    quats = np.roll(world.quats.numpy(), -1, axis=1)
    axes = torch.as_tensor(Rotation.from_quat(quats).as_matrix(), dtype=torch.float32) * world.scales[:, None, :]
    return axes @ axes.mT


def test_one_row_for_each_gaussian(gaussians: GaussianHead, open_head: Head) -> None:
    world = gaussians(gaussians.poses(still(open_head))[0])
    count = ON_HEAD + ON_TORSO
    assert len(gaussians) == count
    assert world.means.shape == world.scales.shape == world.colors.shape == (count, 3)
    assert world.quats.shape == (count, 4) and world.opacities.shape == (count,)
    assert (world.scales > 0).all() and (world.colors > 0).all() and (world.colors < 1).all()


def test_turning_the_root_turns_means_and_covariances_rigidly(gaussians: GaussianHead, open_head: Head) -> None:
    turn = Rotation.from_rotvec([0.3, -0.8, 0.2])
    shift = np.array([0.05, -0.02, 0.1], np.float32)
    base = still(open_head)
    moved = replace(
        base,
        global_orient=np.tile(turn.as_rotvec().astype(np.float32), (2, 1)),
        transl=base.transl + shift,
    )
    # Without residuals: their condition knows how the head is turned.
    before, after = (gaussians(gaussians.poses(m)[0], torch.zeros(len(gaussians), 10)) for m in (base, moved))
    matrix = torch.as_tensor(turn.as_matrix(), dtype=torch.float32)
    root = gaussians._root + torch.as_tensor(base.transl[0])
    assert torch.allclose(after.means, (before.means - root) @ matrix.T + root + torch.as_tensor(shift), atol=1e-5)
    assert torch.allclose(covariances(after), matrix @ covariances(before) @ matrix.T, atol=1e-8)
    assert torch.allclose(after.colors, before.colors) and torch.allclose(after.opacities, before.opacities)


def test_a_gaussian_keeps_its_place_on_a_triangle_that_moves(gaussians: GaussianHead, open_head: Head) -> None:
    base = still(open_head)
    opened = replace(base, jaw_pose=np.tile(np.array([0.3, 0, 0], np.float32), (2, 1)))
    local = []
    for motion in (base, opened):
        pose = gaussians.poses(motion)[0]
        vertices = gaussians.vertices(pose)
        corners = vertices[torch.cat([open_head.faces, gaussians.torso_faces])[gaussians.triangles]]
        frames = triangle_frames(corners)
        world = gaussians(pose, torch.zeros(len(gaussians), 10))
        anchors = (corners * gaussians.barycentric[..., None]).sum(1)
        offset = (frames.rotations.mT @ (world.means - anchors)[..., None])[..., 0]
        stretch = (frames.sizes / gaussians._rest_sizes).clamp(*STRETCH_RANGE)
        local.append(offset / stretch[:, None])
    assert torch.allclose(local[0], gaussians.offsets, atol=1e-5)
    assert torch.allclose(local[1], gaussians.offsets, atol=1e-5)
    moved = gaussians.vertices(gaussians.poses(opened)[0]) - gaussians.vertices(gaussians.poses(base)[0])
    assert moved.norm(dim=1).max() > 0.01


def test_the_condition_drives_the_residuals_linearly_and_zero_adds_nothing(
    gaussians: GaussianHead, open_head: Head
) -> None:
    pose = gaussians.poses(still(open_head))[0]
    zero, ones = torch.zeros(COMPONENTS), torch.ones(COMPONENTS)
    assert torch.equal(gaussians.residual(zero), torch.zeros(len(gaussians), 10))
    assert torch.allclose(gaussians.residual(2 * ones), 2 * gaussians.residuals.sum(-1), atol=1e-5)
    plain = gaussians(replace(pose, condition=zero))
    driven = gaussians(replace(pose, condition=ones))
    residual = gaussians.residuals.sum(-1)
    logit = torch.logit(driven.opacities) - torch.logit(plain.opacities)
    assert torch.allclose(logit, 0.5 * residual[:, 6], atol=1e-4)
    assert torch.allclose((driven.scales / plain.scales).log(), 0.2 * residual[:, 3:6], atol=1e-4)
    moved = (driven.means - plain.means).norm(dim=1)
    unit = torch.where(gaussians.regions == REGIONS.index("torso"), TORSO_POSITION_UNIT, 1e-3)
    assert torch.allclose(moved, unit * residual[:, :3].norm(dim=1), atol=1e-6)


def test_the_shoulders_move_by_themselves(gaussians: GaussianHead, open_head: Head) -> None:
    base = still(open_head)
    shrug = np.array([0.01, 0.02, -0.005], np.float32)
    before, after = (gaussians(gaussians.poses(m)[0]) for m in (base, replace(base, torso=base.torso + shrug)))
    step = after.means - before.means
    assert torch.allclose(step[ON_HEAD:], torch.as_tensor(shrug).expand(ON_TORSO, 3), atol=1e-6)
    assert torch.equal(step[:ON_HEAD], torch.zeros(ON_HEAD, 3))


def test_the_neck_does_not_turn_the_torso(gaussians: GaussianHead, open_head: Head) -> None:
    base = still(open_head)
    nod = replace(base, neck_pose=np.tile(np.array([0.4, 0, 0], np.float32), (2, 1)))
    step = gaussians.vertices(gaussians.poses(nod)[0]) - gaussians.vertices(gaussians.poses(base)[0])
    assert torch.equal(step[-len(SHEET) :], torch.zeros_like(SHEET))
    assert step.norm(dim=1).max() > 0.01


def test_every_parameter_gets_a_gradient(gaussians: GaussianHead, open_head: Head) -> None:
    pose = gaussians.poses(still(open_head))[0]
    gaussians.requires_grad_(True)
    try:
        world = gaussians(replace(pose, condition=torch.ones(COMPONENTS)))
        total = sum(value.square().sum() for value in vars(world).values())
        assert isinstance(total, torch.Tensor)
        total.backward()
        for name in ("offsets", "log_scales", "quats", "opacity_logits", "color_logits", "residuals"):
            gradient = getattr(gaussians, name).grad
            assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0, name
    finally:
        gaussians.requires_grad_(False).zero_grad()


def test_the_motion_of_another_head_is_refused(gaussians: GaussianHead, open_head: Head) -> None:
    other = replace(still(open_head), head_id="flame-2023", head_hash="0123456789abcdef")
    with pytest.raises(InputError) as caught:
        gaussians.poses(other)
    assert str(caught.value) == (
        "The motion belongs to another head model.\n"
        f"  Expected: {open_head.id} ({open_head.hash[:12]}).\n"
        "  Found: flame-2023 (0123456789ab).\n"
        "  To do: use a motion that was tracked or made with this avatar's head."
    )


def test_a_motion_of_another_basis_is_refused(gaussians: GaussianHead, open_head: Head) -> None:
    short = replace(still(open_head), expression=np.zeros((2, 5), np.float32))
    with pytest.raises(InputError, match=r"expression coefficients[.\s]+Found: 5"):
        gaussians.poses(short)


def test_only_the_vertices_that_carry_gaussians_are_posed(gaussians: GaussianHead, open_head: Head) -> None:
    nod = replace(still(open_head), neck_pose=np.tile(np.array([0.4, 0, 0], np.float32), (2, 1)))
    pose = gaussians.poses(nod)[0]
    carriers, corners = gaussians.carriers(pose), gaussians.rigged().corners
    assert len(carriers) == len(corners.unique()) < len(open_head.v_template) / 10
    faces = torch.cat([open_head.faces, gaussians.torso_faces])
    assert torch.allclose(carriers[corners], gaussians.vertices(pose)[faces[gaussians.triangles]], atol=1e-6)


def test_a_driver_does_not_bring_its_own_offsets(gaussians: GaussianHead, open_head: Head) -> None:
    # An identity is the avatar's: what drives it may have been tracked on anybody.
    driver = replace(still(open_head), vertex_offsets=np.full(open_head.v_template.shape, 0.01, np.float32))
    poses = [gaussians.poses(motion)[0] for motion in (still(open_head), driver)]
    assert torch.equal(gaussians.vertices(poses[0]), gaussians.vertices(poses[1]))


def test_the_subjects_offsets_carry_the_gaussians(gaussians: GaussianHead, open_head: Head) -> None:
    shift = torch.zeros_like(open_head.v_template)
    shift[:, 0] = 0.01
    moved = bound_like(gaussians, vertex_offsets=shift).requires_grad_(False)
    pose = gaussians.poses(still(open_head))[0]
    away = moved.vertices(pose) - gaussians.vertices(pose)
    wanted = torch.cat([shift, torch.zeros_like(gaussians.torso_vertices)])
    torch.testing.assert_close(away, wanted, atol=1e-6, rtol=0)
