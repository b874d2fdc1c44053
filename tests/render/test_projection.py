"""Our projection against gsplat's own in torch: an independent reading of the same conventions."""

import sys

import pytest
import torch

from avatar.render import rasterize
from avatar.render._reference import project


@pytest.fixture(scope="module")
def torch_impl():
    """The projection of gsplat in plain torch; its import neither needs a GPU nor starts a build."""
    module = pytest.importorskip("gsplat.cuda._torch_impl", reason="needs gsplat: pip install 'headsplat[dev]'")
    assert torch.cuda.is_available() or "gsplat.cuda._backend" not in sys.modules
    return module


def project_theirs(torch_impl, scene, width, height, *, eps2d=0.3, near=0.01):
    covariances, _ = torch_impl._quat_scale_to_covar_preci(scene.quats, scene.scales, compute_preci=False)
    radii, means2d, depths, conics, _ = torch_impl._fully_fused_projection(
        scene.means, covariances, scene.viewmats[None], scene.Ks[None], width, height, eps2d=eps2d, near_plane=near
    )
    return radii[0], means2d[0], depths[0], conics[0]


@pytest.mark.parametrize("eps2d", [0.3, 0.05])
def test_centres_conics_and_depths_agree(eps2d, torch_impl, random_scene):
    scene = random_scene(500, 60, 44, seed=1).to(torch.float64)
    # Some lie far beside the image, where the Jacobian is taken at its bound.
    scene.means[:100] *= 3
    _, means2d, depths, conics = project_theirs(torch_impl, scene, 60, 44, eps2d=eps2d)
    ours = project(scene.means, scene.quats, scene.scales, scene.viewmats, scene.Ks, 60, 44, eps2d=eps2d)
    front = ours[2] > 0.01
    assert front.sum() > 400
    inverse = torch.linalg.inv(ours[1])
    a, b, c = (inverse[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    torch.testing.assert_close(ours[0][front], means2d[front])
    torch.testing.assert_close(torch.stack([a, b, c], -1)[front], conics[front], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(ours[2], depths)


def test_gradients_agree(torch_impl, random_scene):
    scene = random_scene(60, 60, 44, seed=2).to(torch.float64)
    g = torch.Generator().manual_seed(3)
    weights = [torch.randn(60, n, generator=g, dtype=torch.float64) for n in (2, 3, 1)]
    results = []
    for take_theirs in (False, True):
        means, quats, scales, _, _, viewmats = leaves = scene.leaves()
        if take_theirs:
            covariances, _ = torch_impl._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
            outputs = torch_impl._fully_fused_projection(means, covariances, viewmats[None], scene.Ks[None], 60, 44)
            centers, depths, conics = (t[0] for t in outputs[1:4])
        else:
            centers, covariance, depths = project(means, quats, scales, viewmats, scene.Ks, 60, 44, eps2d=0.3)
            conics = torch.linalg.inv(covariance).flatten(1)[:, [0, 1, 3]]
        sum((t * w).sum() for t, w in zip((centers, conics, depths[:, None]), weights, strict=True)).backward()
        results.append([leaves[i].grad for i in (0, 1, 2, 5)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_what_gsplat_culls_is_not_drawn_and_nothing_reaches_beyond_its_radii(backend, torch_impl, random_scene):
    scene = random_scene(200, 40, 32, seed=4)
    scene.means[:80] *= 2.5
    scene.opacities.fill_(1.0)
    radii, means2d, *_ = project_theirs(torch_impl, scene, 40, 32)
    culled = (radii == 0).any(-1)
    assert 20 < culled.sum() < 180
    columns, rows = torch.arange(40) + 0.5, torch.arange(32) + 0.5
    means, quats, scales, opacities, colors, viewmats = (t.detach() for t in scene.leaves())
    # One image for each Gaussian, alone.
    alone = [t[:, None] for t in (means, quats, scales, opacities, colors)]
    alpha = rasterize(*alone, viewmats, scene.Ks, 40, 32, backend=backend).alpha[..., 0]
    assert (alpha[culled] == 0).all()
    beyond = ((columns - means2d[:, None, :1]).squeeze(1).abs() > radii[:, :1])[:, None, :]
    beyond = beyond | ((rows - means2d[:, None, 1:]).squeeze(1).abs() > radii[:, 1:])[:, :, None]
    assert (alpha[beyond] == 0).all()
    assert (alpha[~culled].amax((1, 2)) > 0).float().mean() > 0.8
