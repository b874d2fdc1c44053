"""The gsplat backend against the reference: on a GPU, and without one by gsplat's own Python over kernels in torch."""

import importlib
import math
import types
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar.errors import BackendError, InputError
from avatar.render import Rendering, _gsplat, rasterization, rasterize
from avatar.render._reference import MIN_ALPHA, MIN_TRANSMITTANCE

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats")


@dataclass
class Target:
    """Where the backend runs, how near the reference it must be there, and what it gave gsplat at its last call."""

    device: torch.device
    value: float
    gradient: float
    flips: float
    given: dict[str, Any]

    def draw(self, *tensors: Tensor, **settings: Any) -> Rendering:
        return rasterize(*tensors, backend="gsplat", **settings)  # type: ignore[misc]


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def target(request, monkeypatch) -> Target:
    """The GPU, or gsplat's Python over kernels in torch, which needs gsplat installed but no GPU."""
    given: dict[str, Any] = {}
    if request.param == "gpu":
        request.getfixturevalue("cuda")
        function = _gsplat.load_rasterization()
        # gsplat's kernels are built with -use_fast_math, so a pixel may fall on the other side of a threshold.
        result = Target(torch.device("cuda"), 1e-4, 2e-3, 2e-3, given)
    else:
        pytest.importorskip("gsplat", reason="needs gsplat's Python: pip install 'headsplat[dev]'")
        modules = (importlib.import_module(name) for name in ("gsplat.rendering", "gsplat.cuda._torch_impl"))
        function = emulate_kernels(monkeypatch, *modules)
        monkeypatch.setattr(rasterization, "choose_backend", lambda backend, _: backend)
        result = Target(torch.device("cpu"), 2e-5, 2e-4, 0.0, given)

    def spy(**arguments):
        given.update(arguments)
        return function(**arguments)

    monkeypatch.setattr(_gsplat, "load_rasterization", lambda: spy)
    return result


def emulate_kernels(monkeypatch, gsplat_rendering, torch_impl):
    """Patches gsplat's rendering module; returns its `rasterization`, which then runs on the CPU."""
    projected = {}

    def project(means, covars, quats, scales, viewmats, Ks, width, height, *, opacities, packed, **settings):
        assert covars is None
        assert not packed
        for name in ("sparse_grad", "calc_compensations"):
            assert settings.pop(name) is False
        assert settings.pop("radius_clip") == 0
        covariances, _ = torch_impl._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
        results = torch_impl._fully_fused_projection(means, covariances, viewmats, Ks, width, height, **settings)
        radii, _, depths, *_ = results
        drawn = (radii > 0).all(-1) & (opacities[..., None, :] >= MIN_ALPHA)
        projected.update(drawn=drawn.flatten(0, -2), depths=depths.detach().flatten(0, -2))
        return results

    def intersect(means2d, *_, n_images, packed, **__):
        assert not packed
        assert means2d.shape[:-2].numel() == n_images
        return None, means2d.new_zeros(0), means2d.new_zeros(0)

    def offsets(_, images, tile_width, tile_height):
        return torch.zeros(images, tile_height, tile_width)

    def draw(means2d, conics, colors, opacities, width, height, *_, backgrounds, packed, absgrad):
        images, count, channels = means2d.shape[:-2], means2d.shape[-2], colors.shape[-1]
        assert (packed, absgrad) == (False, False)
        assert colors.shape == (*images, count, channels)
        assert opacities.shape == (*images, count)
        assert backgrounds.shape == (*images, channels)
        each = zip(
            *(t.reshape(-1, *t.shape[len(images) :]) for t in (means2d, conics, colors, opacities, backgrounds)),
            projected["drawn"],
            projected["depths"],
            strict=True,
        )
        pictures = [_draw_image(*image, width=width, height=height) for image in each]
        color, alpha = (torch.stack(t).reshape(*images, height, width, -1) for t in zip(*pictures, strict=True))
        return color, alpha

    monkeypatch.setattr(gsplat_rendering, "fully_fused_projection", project)
    monkeypatch.setattr(gsplat_rendering, "isect_tiles", intersect)
    monkeypatch.setattr(gsplat_rendering, "isect_offset_encode", offsets)
    monkeypatch.setattr(gsplat_rendering, "rasterize_to_pixels", draw)
    return gsplat_rendering.rasterization


def _draw_image(
    means2d: Tensor,
    conics: Tensor,
    colors: Tensor,
    opacities: Tensor,
    background: Tensor,
    drawn: Tensor,
    depths: Tensor,
    *,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor]:
    order = torch.nonzero(drawn).squeeze(-1)
    order = order[torch.argsort(depths[order], stable=True)]
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = means2d[order, 0] - columns[..., None], means2d[order, 1] - rows[..., None]
    a, b, c = conics[order].unbind(-1)
    alpha = (opacities[order] * torch.exp(-0.5 * (a * x * x + c * y * y) - b * x * y)).clamp(max=0.999)
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0)
    alpha = torch.where(torch.cumprod(1 - alpha, -1) > MIN_TRANSMITTANCE, alpha, 0)
    passed = torch.cumprod(torch.cat([torch.ones(height, width, 1), 1 - alpha], -1), -1)
    color = (alpha * passed[..., :-1]) @ colors[order]
    return color + passed[..., -1:] * background, 1 - passed[..., -1:]


def on(target: Target, leaves: list[Tensor]) -> list[Tensor]:
    return [t.detach().to(target.device).requires_grad_() for t in leaves]


def assert_agree(target: Target, leaves, Ks, width, height, *, gradient=None, **settings) -> Rendering:
    """Values but for a few flips, and gradients relative to their norms, are those of the reference in float64."""
    g = torch.Generator().manual_seed(7)
    ours, theirs = on(target, leaves), [t.detach().double().requires_grad_() for t in leaves]
    backgrounds = torch.linspace(0.2, 0.4, leaves[4].shape[-1])
    found = target.draw(
        *ours, Ks.to(target.device), width=width, height=height, backgrounds=backgrounds.to(target.device), **settings
    )
    expected = rasterize(
        *theirs, Ks.double(), width, height, backgrounds=backgrounds.double(), backend="torch", **settings
    )
    covered = expected.alpha > 0.02
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if b is not None]
    totals = [0.0, 0.0]
    for i, (a, b) in enumerate(pairs):
        visible = covered if i >= 2 else torch.ones_like(covered)
        error = (a.cpu().double() - b).abs() * visible
        tolerance = target.value * (10 if i >= 2 else 1)
        assert a.shape == b.shape
        assert (error > tolerance).double().mean() <= target.flips, f"output {i}: error {error.max():.2e}"
        assert error.max() <= max(tolerance, 0.02 if target.flips else 0)
        weight = torch.randn(b.shape, generator=g)
        totals[0] = totals[0] + (a * (weight * visible).to(target.device)).sum()
        totals[1] = totals[1] + (b * weight * visible).sum()
    for total in totals:
        total.backward()
    for name, a, b in zip(NAMES, ours, theirs, strict=True):
        error, size = (a.grad.cpu().double() - b.grad).norm(), b.grad.norm()
        assert error <= (gradient or target.gradient) * size + 1e-6, f"{name}: error {error:.2e} of {size:.2e}"
    return found


@pytest.mark.parametrize(
    ("count", "width", "height", "seed"), [(300, 72, 56, 0), (1000, 64, 48, 1), (150, 33, 17, 2), (20, 16, 16, 3)]
)
def test_agrees_with_the_reference(count, width, height, seed, target, random_scene):
    scene = random_scene(count, width, height, seed=seed)
    assert_agree(target, scene.leaves(), scene.Ks, width, height)


def test_dense_scene_stops_where_the_reference_stops(target, random_scene):
    scene = random_scene(600, 32, 32, seed=4)
    scene.opacities.copy_((scene.opacities * 1.3).clamp(max=1.0))
    scene.scales.mul_(4)
    # The kernels recover the light that passes from alpha, which is all but 1 here.
    assert_agree(target, scene.leaves(), scene.Ks, 32, 32, gradient=1e-3 if target.flips == 0 else 2e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": [[0.3, 1e-4, 1e-4]], "quats": [[0.9, 0.1, 0.2, 0.3]]},
        {"scales": [[2.0, 3.0, 1.0]]},
        {"opacities": [1.0]},
        {"means": [[0.9, 0.3, 1.0]], "scales": [[0.3, 0.1, 0.2]]},
        {"quats": [[3.0, -4.0, 5.0, 1.0]], "scales": [[0.2, 0.1, 0.05]]},
    ],
    ids=["needle", "huge", "opaque", "jacobian bound", "long quaternion"],
)
def test_single_gaussians_agree(changes, target, front_scene):
    scene = front_scene(1, **changes)
    assert_agree(target, scene.leaves(), scene.Ks, 32, 32, gradient=1e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"means": [[0.0, 0.0, -1.0]]},
        {"means": [[0.0, 0.0, 0.009]]},
        {"means": [[50.0, 0.0, 1.0]]},
        {"opacities": [0.0]},
        {"opacities": [0.99 / 255]},
    ],
    ids=["behind", "nearer than near", "beside", "opacity 0", "below 1/255"],
)
def test_what_is_not_drawn_leaves_the_background_and_no_gradient(changes, target, front_scene):
    scene = front_scene(1, **changes)
    leaves, background = on(target, scene.leaves()), torch.tensor([0.1, 0.2, 0.3], device=target.device)
    drawn = target.draw(*leaves, scene.Ks.to(target.device), width=20, height=30, backgrounds=background)
    assert torch.equal(drawn.image, background.expand(30, 20, 3))
    assert torch.equal(drawn.alpha, torch.zeros_like(drawn.alpha))
    (drawn.image.sum() + drawn.alpha.sum()).backward()
    assert all((t.grad == 0).all() for t in leaves)


def test_near_and_eps2d_are_those_given(target, random_scene):
    scene = random_scene(200, 40, 30, seed=5)
    assert_agree(target, scene.leaves(), scene.Ks, 40, 30, near=1.0, eps2d=0.1)


@pytest.mark.parametrize("channels", [1, 2, 4, 7, 40])
def test_any_number_of_channels(channels, target, random_scene):
    scene = random_scene(90, 30, 26, seed=6)
    *rest, _, viewmats = scene.leaves()
    colors = torch.rand(90, channels, generator=torch.Generator().manual_seed(2))
    assert_agree(target, [*rest, colors, viewmats], scene.Ks, 30, 26)


def test_depth_and_normals(target, random_scene):
    scene = random_scene(200, 40, 34, seed=7)
    found = assert_agree(target, scene.leaves(), scene.Ks, 40, 34, depth=True, normal=True, gradient=5e-3)
    assert found.depth.shape == (34, 40, 1)
    assert found.normal.shape == (34, 40, 3)


def batched(leaves: list[Tensor], timesteps: int, cameras: int) -> list[Tensor]:
    """Means that move and opacities that change, seen by cameras that move; the other tensors are shared."""
    means, quats, scales, opacities, colors, viewmats = (t.detach() for t in leaves)
    along = torch.linspace(0.9, 1.1, timesteps)
    views = viewmats.repeat(timesteps, cameras, 1, 1)
    views[..., 0, 3] = torch.linspace(-0.1, 0.1, timesteps * cameras).view(timesteps, cameras)
    return [means * along.view(-1, 1, 1, 1), quats, scales, opacities * along.view(-1, 1, 1) * 0.9, colors, views]


@pytest.mark.parametrize(
    ("timesteps", "cameras", "count"), [(2, 3, 60), (3, 1, 60), (3, 2, 10), (1, 3, 60), (3, 1, 64)]
)
def test_batches_of_timesteps_and_cameras(timesteps, cameras, count, target, random_scene):
    scene = random_scene(count, 24, 20, seed=8)
    leaves = batched(scene.leaves(), timesteps, cameras)
    assert_agree(target, leaves, scene.Ks, 24, 20, depth=True, gradient=5e-3)
    # Where a warp could hold two scenes, the Gaussians are filled up to whole warps.
    filled = timesteps > 1 and (count < 32 or cameras == 1)
    drawn = -(-count // 32) * 32 if filled else count
    assert target.given["means"].shape == (timesteps, drawn, 3)
    assert target.given["colors"].shape == (timesteps, *([cameras] if cameras > 1 else []), drawn, 4)
    assert target.given["viewmats"].shape == (timesteps, cameras, 4, 4)


def test_a_batch_without_camera_gradients_is_not_filled_up(target, random_scene):
    scene = random_scene(60, 24, 20, seed=8)
    *leaves, views = (t.to(target.device) for t in batched(scene.leaves(), 3, 1))
    target.draw(*leaves, views, scene.Ks.to(target.device), width=24, height=20)
    assert target.given["means"].shape == (3, 60, 3)
    assert target.given["colors"].shape == (3, 60, 3)


def test_cameras_share_gaussians_without_a_copy(target, random_scene):
    scene = random_scene(50, 24, 20, seed=9)
    leaves = [t.detach() for t in scene.leaves()]
    leaves[5] = leaves[5].repeat(5, 2, 1, 1)
    leaves[5][..., 1, 3] = torch.linspace(-0.1, 0.1, 10).view(5, 2)
    found = assert_agree(target, leaves, scene.Ks, 24, 20)
    assert found.image.shape == (5, 2, 20, 24, 3)
    assert target.given["means"].shape == (1, 50, 3)
    assert target.given["colors"].shape == (1, 50, 3)
    assert target.given["viewmats"].shape == (1, 10, 4, 4)


def test_colours_of_their_own_for_each_camera(target, random_scene):
    scene = random_scene(50, 24, 20, seed=10)
    leaves = [t.detach() for t in scene.leaves()]
    leaves[4] = torch.rand(4, 50, 2, generator=torch.Generator().manual_seed(3))
    assert_agree(target, leaves, scene.Ks, 24, 20)
    assert target.given["means"].shape == (1, 50, 3)
    assert target.given["colors"].shape == (1, 4, 50, 2)


def test_no_gaussians_and_no_images(target, front_scene):
    *gaussians, viewmats = (t.detach().to(target.device) for t in front_scene(0).leaves())
    Ks, ones = front_scene().Ks.to(target.device), torch.ones(3, device=target.device)
    drawn = target.draw(*gaussians, viewmats, Ks, width=5, height=4, backgrounds=ones, depth=True, normal=True)
    assert torch.equal(drawn.image, ones.expand(4, 5, 3))
    assert all((output == 0).all() for output in drawn[1:])
    *gaussians, viewmats = (t.detach().to(target.device) for t in front_scene(2).leaves())
    drawn = target.draw(*gaussians, viewmats.expand(0, 4, 4), Ks, width=5, height=4)
    assert drawn.image.shape == (0, 4, 5, 3)
    assert not target.given


def test_refuses_what_the_kernels_cannot_do(target, front_scene):
    scene = front_scene(1)
    tensors = [t.to(target.device) for t in (*scene.leaves(), scene.Ks)]
    with pytest.raises(BackendError, match=r"alpha_max 0\.999[\s\S]*alpha_max 0\.99\.[\s\S]*backend=\"torch\""):
        target.draw(*tensors, width=8, height=8, alpha_max=0.99)
    with pytest.raises(InputError, match=r"at once[\s\S]*1 images of 65535x65535[\s\S]*split the batch"):
        target.draw(*tensors, width=65535, height=65535)
    with pytest.raises(InputError, match=r"`means`[\s\S]*float32[\s\S]*float64[\s\S]*backend=\"torch\""):
        target.draw(*(t.double() for t in tensors), width=8, height=8)


def test_looks_for_nan_when_told_to(target, front_scene):
    scene = front_scene(1, scales=[[0.1, math.nan, 0.1]])
    tensors = [t.to(target.device) for t in (*scene.leaves(), scene.Ks)]
    with pytest.raises(InputError, match=r"cannot use `scales`[\s\S]*nan at \[0, 1\]"):
        target.draw(*tensors, width=8, height=8, check_finite=True)


@pytest.mark.gpu
def test_the_device_chooses_the_backend(cuda, random_scene):
    scene = random_scene(60, 24, 20)
    tensors = [t.detach().to(cuda) for t in (*scene.leaves(), scene.Ks)]
    chosen, named = rasterize(*tensors, 24, 20), rasterize(*tensors, 24, 20, backend="gsplat")
    slow = rasterize(*tensors, 24, 20, backend="torch")
    assert chosen.image.is_cuda
    assert torch.equal(chosen.image, named.image)
    torch.testing.assert_close(chosen.alpha, slow.alpha, atol=5e-3, rtol=0)
    with pytest.raises(BackendError, match=r'"cpu" takes CPU tensors[\s\S]*means on cuda:0'):
        rasterize(*tensors, 24, 20, backend="cpu")
    with pytest.raises(BackendError, match=r'"gsplat" takes CUDA tensors[\s\S]*means on cpu'):
        rasterize(*(t.cpu() for t in tensors), 24, 20, backend="gsplat")
    for index, name in enumerate((*NAMES, "Ks")):
        mixed = [t.cpu() if i == index else t for i, t in enumerate(tensors)]
        if name == "means":
            with pytest.raises(InputError, match=r"`quats`[\s\S]*device cpu, where means is[\s\S]*device cuda:0"):
                rasterize(*mixed, 24, 20)
        else:
            with pytest.raises(InputError, match=rf"`{name}`[\s\S]*device cuda:0, where means is[\s\S]*device cpu"):
                rasterize(*mixed, 24, 20)


@pytest.mark.gpu
def test_our_part_of_a_call_does_not_wait_for_the_gpu(cuda, refuse_waits, random_scene, monkeypatch):
    scene = random_scene(60, 24, 20)
    leaves = [t.to(cuda).requires_grad_() for t in batched(scene.leaves(), 3, 1)]
    Ks = scene.Ks.to(cuda)

    def draw_nothing(*, viewmats, colors, width, height, **_):
        picture = viewmats.sum() * torch.zeros(*viewmats.shape[:2], height, width, colors.shape[-1], device=cuda)
        return picture, picture[..., :1], {}

    monkeypatch.setattr(_gsplat, "load_rasterization", lambda: draw_nothing)
    rasterize(*leaves, Ks, 24, 20, depth=True, normal=True)
    with refuse_waits():
        sum(output.sum() for output in rasterize(*leaves, Ks, 24, 20, depth=True, normal=True)).backward()


@pytest.fixture
def fresh_loader(monkeypatch):
    """The loader without what it remembers, in a process that seems to have a GPU."""
    _gsplat.load_rasterization.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    yield _gsplat.load_rasterization
    _gsplat.load_rasterization.cache_clear()


@pytest.mark.parametrize(
    ("built", "expected"),
    [(None, "built without CUDA[\\s\\S]*install a CUDA build of torch"), ("12.6", "sees none[\\s\\S]*nvidia-smi")],
)
def test_without_a_gpu_nothing_is_imported(built, expected, fresh_loader, monkeypatch, front_scene):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(_gsplat.importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
    scene = front_scene(1)
    with pytest.raises(BackendError, match=f"an NVIDIA GPU that torch can use[\\s\\S]*{expected}"):
        rasterize(*scene.leaves(), scene.Ks, 8, 8, backend="gsplat")


def module(**contents) -> types.SimpleNamespace:
    return types.SimpleNamespace(**contents)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (ImportError("No module named 'gsplat'"), r"No module named 'gsplat'[\s\S]*pip install 'headsplat\[gpu\]'"),
        (
            RuntimeError("Error building extension\nlong"),
            r"could not be built[\s\S]*Found: Error building extension\.\n",
        ),
        ({"__version__": "1.4.0", "_C": object()}, r"Expected: gsplat 1\.5\.3[\s\S]*Found: gsplat 1\.4\.0"),
        ({"__version__": "1.5.3", "_C": None}, r"no CUDA kernels[\s\S]*install the CUDA 12\.6 toolkit"),
    ],
    ids=["missing", "build fails", "other version", "no compiler"],
)
def test_says_what_gsplat_lacks(modules, expected, fresh_loader, monkeypatch):
    def import_module(name):
        if isinstance(modules, Exception):
            raise modules
        return module(**modules)

    monkeypatch.setattr(_gsplat.importlib, "import_module", import_module)
    with pytest.raises(BackendError, match=expected):
        fresh_loader()


def test_a_prebuilt_wheel_is_taken(fresh_loader, monkeypatch):
    found = module(__version__="1.5.3+pt26cu124", rasterization=print, _C=object())
    monkeypatch.setattr(_gsplat.importlib, "import_module", lambda name: found)
    assert fresh_loader() is print
