"""Depth, normals and any number of channels, from every backend that runs here."""

import pytest
import torch
from torch.nn import functional as F

from avatar.render import Rendering, rasterize
from avatar.render._reference import rotation_matrices

BACKENDS = ("cpu", "torch")
NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats")


def turned(angle: float, axis: int) -> torch.Tensor:
    """A unit quaternion that turns about one of the axes."""
    quat = torch.zeros(4)
    quat[0], quat[1 + axis] = torch.tensor(angle / 2).cos(), torch.tensor(angle / 2).sin()
    return quat


def test_gives_what_was_asked_for(front_scene):
    scene = front_scene(2)
    plain = rasterize(*scene.leaves(), scene.Ks, 16, 12)
    assert isinstance(plain, Rendering)
    assert plain.depth is None
    assert plain.normal is None
    full = rasterize(*scene.leaves(), scene.Ks, 16, 12, depth=True, normal=True)
    assert [tuple(t.shape) for t in full] == [(12, 16, 3), (12, 16, 1), (12, 16, 1), (12, 16, 3)]
    torch.testing.assert_close(full.image, plain.image, atol=1e-6, rtol=0)
    torch.testing.assert_close(full.alpha, plain.alpha, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_channels_are_drawn_alike(channels, backend, random_scene):
    scene = random_scene(80, 30, 26, seed=1)
    *leaves, _, viewmats = scene.leaves()
    colors = torch.rand(80, channels, generator=torch.Generator().manual_seed(2))
    backgrounds = torch.linspace(0.1, 0.9, channels)
    together = rasterize(*leaves, colors, viewmats, scene.Ks, 30, 26, backgrounds=backgrounds, backend=backend)
    assert together.image.shape == (26, 30, channels)
    for i in range(channels):
        alone = rasterize(
            *leaves,
            colors[:, i : i + 1],
            viewmats,
            scene.Ks,
            30,
            26,
            backgrounds=backgrounds[i : i + 1],
            backend="torch",
        )
        torch.testing.assert_close(together.image[..., i : i + 1], alone.image, atol=2e-5, rtol=0)
        torch.testing.assert_close(together.alpha, alone.alpha, atol=2e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_gaussian_has_the_depth_of_its_centre(backend, front_scene):
    scene = front_scene(1, means=[[0.1, -0.05, 1.3]], viewmats=torch.eye(4))
    scene.viewmats[2, 3] = 0.4
    drawn = rasterize(*scene.leaves(), scene.Ks, 32, 32, depth=True, backend=backend)
    inside = drawn.alpha > 0
    assert 0 < inside.sum() < 32 * 32
    torch.testing.assert_close(drawn.depth[inside], torch.full_like(drawn.depth[inside], 1.7), atol=1e-5, rtol=0)
    assert (drawn.depth[~inside] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_weighs_layers_as_their_colours(backend, front_scene):
    # An odd size puts a pixel centre on the optical axis, where both alphas are the opacities.
    scene = front_scene(2, size=33, means=[[0, 0, 1.0], [0, 0, 3.0]], opacities=[0.5, 0.8])
    drawn = rasterize(*scene.leaves(), scene.Ks, 33, 33, depth=True, backgrounds=torch.ones(3), backend=backend)
    near, far = 0.5, 0.5 * 0.8
    expected = (near * 1 + far * 3) / (near + far)
    torch.testing.assert_close(drawn.depth[16, 16], torch.tensor([expected]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("angle", [0.4, 0.4 + torch.pi])
def test_a_disc_has_its_own_normal_in_world_axes(angle, backend, front_scene):
    scene = front_scene(1, quats=[turned(angle, 1).tolist()], scales=[[0.1, 0.1, 0.001]])
    drawn = rasterize(*scene.leaves(), scene.Ks, 32, 32, normal=True, backend=backend)
    inside = drawn.alpha[..., 0] > 0
    # Both discs are the same: the sign comes from the camera, which stands at negative z of them.
    expected = -torch.tensor([torch.tensor(0.4).sin(), 0, torch.tensor(0.4).cos()])
    assert inside.any()
    torch.testing.assert_close(drawn.normal[inside], expected.expand(int(inside.sum()), 3), atol=1e-5, rtol=0)
    assert (drawn.normal[~inside] == 0).all()


def test_depth_stays_and_normals_turn_with_the_world(random_scene):
    scene = random_scene(60, 28, 24, seed=3)
    quat = F.normalize(torch.tensor([0.8, 0.3, -0.4, 0.2]), dim=0)
    rotation, shift = rotation_matrices(quat), torch.tensor([0.3, -0.1, 0.5])
    means, quats, scales, opacities, colors, viewmats = scene.leaves()
    before = rasterize(means, quats, scales, opacities, colors, viewmats, scene.Ks, 28, 24, depth=True, normal=True)
    move = torch.eye(4)
    move[:3, :3], move[:3, 3] = rotation, shift
    w, x, y, z = quat
    left = torch.stack([torch.stack(r) for r in ((w, -x, -y, -z), (x, w, -z, y), (y, z, w, -x), (z, -y, x, w))])
    after = rasterize(
        means @ rotation.T + shift,
        quats @ left.T,
        scales,
        opacities,
        colors,
        viewmats @ move.inverse(),
        scene.Ks,
        28,
        24,
        depth=True,
        normal=True,
    )
    torch.testing.assert_close(after.depth, before.depth, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.normal, before.normal @ rotation.T, atol=1e-3, rtol=0)
    drawn = before.alpha[..., 0] > 0
    torch.testing.assert_close(before.normal[drawn].norm(dim=-1), torch.ones(int(drawn.sum())), atol=1e-5, rtol=0)


def test_gradients_of_all_outputs_agree_with_the_reference(random_scene):
    scene = random_scene(120, 40, 34, seed=4)
    g = torch.Generator().manual_seed(5)
    weights = [torch.randn(34, 40, channels, generator=g) for channels in (3, 1, 1, 3)]
    ours, theirs = scene.leaves(), scene.to(torch.float64).leaves()
    drawn = rasterize(*ours, scene.Ks, 40, 34, depth=True, normal=True, backend="cpu")
    expected = rasterize(*theirs, scene.Ks.double(), 40, 34, depth=True, normal=True, backend="torch")
    # Where a pixel is hardly covered, its depth and normal are ratios of roundings.
    covered = expected.alpha > 0.02
    for a, b, tolerance in zip(drawn, expected, (2e-5, 2e-5, 2e-4, 2e-4), strict=True):
        torch.testing.assert_close(a.double() * covered, b * covered, atol=tolerance, rtol=0)
    for outputs in (drawn, expected):
        sum((output * weight * covered).sum() for output, weight in zip(outputs, weights, strict=True)).backward()
    for name, a, b in zip(NAMES, ours, theirs, strict=True):
        error, size = (a.grad.double() - b.grad).norm(), b.grad.norm()
        assert error <= 1e-3 * size, f"{name}: error {error:.2e} of {size:.2e}"


def test_reference_passes_gradcheck_with_depth_and_normals(random_scene):
    scene = random_scene(4, 6, 5, seed=5).to(torch.float64)
    scene.scales.mul_(2)

    def render(*leaves):
        return rasterize(*leaves, scene.Ks, 6, 5, depth=True, normal=True, backend="torch")

    assert torch.autograd.gradcheck(render, scene.leaves(), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_nothing_is_drawn_all_is_zero_and_so_are_the_gradients(backend, front_scene):
    scene = front_scene(1, means=[[50.0, 0, 1]])
    leaves = scene.leaves()
    drawn = rasterize(*leaves, scene.Ks, 8, 8, depth=True, normal=True, backend=backend)
    assert all(torch.equal(output, torch.zeros_like(output)) for output in drawn)
    sum(output.sum() for output in drawn).backward()
    for name, leaf in zip(NAMES, leaves, strict=True):
        assert leaf.grad is None or torch.equal(leaf.grad, torch.zeros_like(leaf)), name


def test_batches_have_the_depth_and_normals_of_their_own_camera(random_scene):
    scene = random_scene(40, 20, 18, seed=6)
    *gaussians, _ = scene.leaves()
    views = scene.viewmats.repeat(2, 1, 1)
    views[1, 2, 3] += 0.3
    moved = torch.stack([gaussians[0], gaussians[0] * 0.9, gaussians[0] * 1.1])[:, None]
    together = rasterize(moved, *gaussians[1:], views, scene.Ks, 20, 18, depth=True, normal=True)
    assert together.depth.shape == (3, 2, 18, 20, 1)
    assert together.normal.shape == (3, 2, 18, 20, 3)
    for i in range(3):
        for j in range(2):
            alone = rasterize(moved[i, 0], *gaussians[1:], views[j], scene.Ks, 20, 18, depth=True, normal=True)
            for name in Rendering._fields:
                torch.testing.assert_close(getattr(together, name)[i, j], getattr(alone, name), atol=1e-6, rtol=0)
