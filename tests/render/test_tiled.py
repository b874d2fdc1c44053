"""The tiled torch rasteriser is the dense reference, and stands in where the native library is missing."""

import warnings

import pytest
import torch

from avatar.errors import BackendError, SlowBackendWarning
from avatar.render import _native, _tiled, rasterize
from avatar.render._reference import rasterize_reference
from avatar.render._tiled import rasterize_tiled
from avatar.render.losses import l1_dssim
from avatar.render.optim import FusedAdam


def gradients(render, scene, width, height, **settings):
    """Image, alpha and the gradients of all tensors, the background's last."""
    leaves = scene.leaves()
    background = torch.linspace(-0.5, 1, scene.colors.shape[-1], dtype=scene.means.dtype).requires_grad_()
    image, alpha = render(*leaves, scene.Ks, width, height, background=background, **settings)
    weights = torch.cos(torch.arange(image.numel(), dtype=image.dtype)).view(image.shape)
    ((image * weights).sum() + (alpha * weights[..., :1]).sum()).backward()
    return [image.detach(), alpha.detach(), *(t.grad for t in (*leaves, background))]


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("recompute", [True, False])
def test_tiles_are_the_dense_reference(channels, recompute, random_scene):
    scene = random_scene(300, 50, 37, seed=3).to(torch.float64)
    scene.scales[::7] *= 8
    scene.means[::11, 2] -= 1.0
    scene.opacities[::5] = 1.0
    colors = torch.rand(300, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scene = type(scene)(**{**vars(scene), "colors": colors})
    settings = {"near": 0.05, "eps2d": 0.2, "alpha_max": 0.9}
    expected = gradients(rasterize_reference, scene, 50, 37, **settings)
    ours = gradients(rasterize_tiled, scene, 50, 37, recompute=recompute, **settings)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_crowded_tile_is_blended_in_parts(random_scene, monkeypatch):
    scene = random_scene(200, 33, 20, seed=4).to(torch.float64)
    whole = gradients(rasterize_tiled, scene, 33, 20)
    monkeypatch.setattr(_tiled, "MAX_PAIRS", 1000)
    for a, b in zip(gradients(rasterize_tiled, scene, 33, 20), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.fixture
def no_library(monkeypatch, tmp_path):
    """A machine on which no library was built."""
    cached = (_native.is_installed, _native.available_isas, _native.load_library, _native._warn_of_torch)
    monkeypatch.setattr(_native, "library_path", lambda isa: tmp_path / f"{isa}.so")
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_without_a_library_torch_renders_and_says_so_once(no_library, random_scene):
    scene = random_scene(40, 20, 20)
    with pytest.warns(SlowBackendWarning, match=r"about 100 times slower.*apt install g\+\+") as caught:
        image, alpha, *_ = rasterize(*scene.leaves(), scene.Ks, 20, 20)
    assert len(caught) == 1
    expected = rasterize_reference(*scene.leaves(), scene.Ks, 20, 20)
    torch.testing.assert_close((image, alpha), expected, rtol=1e-5, atol=1e-6)
    with warnings.catch_warnings(record=True) as later:
        warnings.simplefilter("always")
        rasterize(*scene.to(torch.float64).leaves(), scene.Ks.double(), 20, 20)
    assert not later


def test_without_a_library_the_cpu_backend_is_refused_with_what_to_do(no_library, random_scene):
    scene = random_scene(5, 20, 20)
    with pytest.raises(BackendError, match=r"native rasteriser is missing[\s\S]*apt install g\+\+"):
        rasterize(*scene.leaves(), scene.Ks, 20, 20, backend="cpu")
    with pytest.raises(BackendError, match="missing"):
        rasterize(*scene.to(torch.float64).leaves(), scene.Ks.double(), 20, 20, backend="cpu")
    assert _native.available_isas() == ()


def fit(scene):
    """The colours after three steps, and the losses."""
    target = torch.full((24, 30, 3), 0.4)
    leaves = scene.leaves()
    optimizer, losses = FusedAdam({"colors": leaves[4]}, lr=0.05), []
    for _ in range(3):
        optimizer.zero_grad()
        loss = l1_dssim(rasterize(*leaves, scene.Ks, 30, 24)[0], target)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return leaves[4].detach(), torch.stack(losses)


@pytest.fixture
def fit_of_the_library(random_scene):
    return fit(random_scene(60, 30, 24))


@pytest.mark.filterwarnings("ignore::avatar.errors.SlowBackendWarning")
def test_without_a_library_fitting_goes_the_same_way(fit_of_the_library, no_library, random_scene):
    torch.testing.assert_close(fit(random_scene(60, 30, 24)), fit_of_the_library, rtol=1e-4, atol=1e-4)
