"""The rasteriser against the reference in double precision, and what it does with odd input."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from agreement import NAMES, assert_agree, render_cpu

from avatar.errors import BackendError, InputError
from avatar.render import _cpu, _native, rasterize
from avatar.render._reference import rasterize_reference


@pytest.mark.parametrize(
    ("count", "width", "height", "seed"), [(300, 72, 56, 0), (1000, 64, 48, 1), (150, 33, 17, 2), (40, 16, 16, 3)]
)
def test_agrees_with_the_reference(count, width, height, seed, isa, random_scene):
    assert_agree(random_scene(count, width, height, seed=seed), width, height, isa=isa)


def test_dense_scene_stops_where_the_reference_stops(isa, random_scene):
    scene = random_scene(600, 32, 32, seed=4)
    scene.opacities.copy_((scene.opacities * 1.3).clamp(max=1.0))
    scene.scales.mul_(4)
    alpha = rasterize(*scene.leaves(), scene.Ks, 32, 32).alpha
    assert alpha.max() > 0.999, "the scene must drive pixels to the stop"
    assert_agree(scene, 32, 32, isa=isa, gradient=1e-3)


@pytest.mark.parametrize("alpha_max", [0.99, 0.5])
def test_alpha_max_clamps_and_stops_the_gradient(alpha_max, isa, front_scene):
    scene = front_scene(2, opacities=[1.0, 0.6], means=[[0, 0, 1], [0.1, 0, 1.2]])
    assert_agree(scene, 32, 32, isa=isa, alpha_max=alpha_max)
    leaves = front_scene(1, opacities=[1.0], scales=[[1e3] * 3]).leaves()
    alpha = rasterize(*leaves, front_scene().Ks, 32, 32, alpha_max=alpha_max).alpha
    torch.testing.assert_close(alpha, torch.full_like(alpha, alpha_max), atol=1e-6, rtol=0)
    alpha.sum().backward()
    assert leaves[3].grad.abs().max() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": [[0.3, 1e-4, 1e-4]], "quats": [[0.9, 0.1, 0.2, 0.3]]},
        {"scales": [[2.0, 3.0, 1.0]]},
        {"opacities": [1.0]},
        {"opacities": [1.01 / 255]},
        {"means": [[0.9, 0.3, 1.0]], "scales": [[0.3, 0.1, 0.2]]},
        {"means": [[0.0, 0.0, 0.0101]], "scales": [[1e-4, 2e-4, 1e-4]]},
        {"quats": [[3.0, -4.0, 5.0, 1.0]], "scales": [[0.2, 0.1, 0.05]]},
    ],
    ids=["needle", "huge", "opaque", "faint", "jacobian bound", "near plane", "long quaternion"],
)
def test_single_gaussians_agree(changes, isa, front_scene):
    assert_agree(front_scene(1, **changes), 32, 32, isa=isa, gradient=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"means": [[0.0, 0.0, -1.0]]},
        {"means": [[0.0, 0.0, 0.009]]},
        {"means": [[50.0, 0.0, 1.0]]},
        {"opacities": [0.0]},
        {"opacities": [0.99 / 255]},
        {"quats": [[0.0, 0.0, 0.0, 0.0]], "means": [[0.0, 0.0, -1.0]]},
    ],
    ids=["behind", "nearer than near", "beside", "opacity 0", "below 1/255", "zero quaternion behind"],
)
def test_what_is_not_drawn_leaves_the_background_and_no_gradient(changes, isa, front_scene):
    scene, background = front_scene(1, **changes), torch.tensor([0.1, 0.2, 0.3])
    leaves = scene.leaves()
    image, alpha = render_cpu(leaves, scene.Ks, 20, 30, background=background, isa=isa)
    assert torch.equal(image, background.expand(30, 20, 3))
    assert torch.equal(alpha, torch.zeros(30, 20, 1))
    (image.sum() + alpha.sum()).backward()
    assert all(torch.equal(t.grad, torch.zeros_like(t)) for t in leaves)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_no_gaussians(backend, front_scene):
    leaves = front_scene(0).leaves()
    image, alpha, *_ = rasterize(*leaves, front_scene().Ks, 5, 4, backgrounds=torch.ones(3), backend=backend)
    assert torch.equal(image, torch.ones(4, 5, 3))
    assert torch.equal(alpha, torch.zeros(4, 5, 1))
    if backend == "cpu":
        image.sum().backward()
        assert leaves[0].grad.shape == (0, 3)
        assert torch.equal(leaves[5].grad, torch.zeros(4, 4))


def test_a_centred_gaussian_has_its_opacity_and_colour(front_scene):
    # An odd size puts a pixel centre on the optical axis.
    scene = front_scene(1, size=33)
    image, alpha, *_ = rasterize(*scene.leaves(), scene.Ks, 33, 33)
    torch.testing.assert_close(alpha[16, 16], torch.tensor([0.7]), atol=1e-6, rtol=0)
    torch.testing.assert_close(image[16, 16], 0.7 * scene.colors[0], atol=1e-6, rtol=0)


def test_runaway_scales_stay_finite(isa, front_scene):
    for size in (1e2, 1e6, 1e12, 1e18):
        scene = front_scene(1, scales=[[size, 1e-5, 1e-5]], quats=[[0.8, 0.3, 0.4, 0.1]])
        leaves = scene.leaves()
        image, _ = render_cpu(leaves, scene.Ks, 40, 40, isa=isa)
        image.sum().backward()
        assert image.isfinite().all()
        assert image.max() <= 1
        assert leaves[0].grad.isfinite().all()


def test_reference_passes_gradcheck(random_scene):
    scene = random_scene(6, 7, 6, seed=5).to(torch.float64)
    scene.scales.mul_(2)

    def render(*leaves):
        return rasterize(*leaves, scene.Ks, 7, 6, backgrounds=leaves[4][0], backend="torch")[:2]

    assert torch.autograd.gradcheck(render, scene.leaves(), eps=1e-7, atol=1e-4)


def test_kernels_pass_gradcheck_in_double_precision(random_scene):
    scene = random_scene(6, 21, 18, seed=5).to(torch.float64)

    def render(*leaves):
        return rasterize(*leaves, scene.Ks, 21, 18, backgrounds=leaves[4][0], backend="cpu")[:2]

    assert torch.autograd.gradcheck(render, scene.leaves(), eps=1e-7, atol=1e-4)


def test_kernels_in_double_precision_are_the_reference(random_scene):
    scene = random_scene(200, 50, 40, seed=13).to(torch.float64)
    results = []
    for backend in ("cpu", "torch"):
        leaves = scene.leaves()
        image, alpha, *_ = rasterize(*leaves, scene.Ks, 50, 40, backend=backend)
        (image.square().sum() + alpha.sum()).backward()
        results.append([image.detach(), alpha.detach(), *(t.grad for t in leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def with_channels(scene, channels: int):
    """The scene with colours of that many channels."""
    g = torch.Generator().manual_seed(channels)
    colors = torch.rand(len(scene.means), channels, generator=g) * 1.5 - 0.25
    return replace(scene, colors=colors.to(scene.means.dtype))


@pytest.mark.parametrize("channels", [1, 2, 4, 7, 8, 19])
def test_any_number_of_channels_agrees_with_the_reference(channels, isa, random_scene):
    scene, width, height = with_channels(random_scene(300, 50, 37, seed=14), channels), 50, 37
    g = torch.Generator().manual_seed(7)
    v_image, v_alpha = torch.randn(height, width, channels, generator=g), torch.randn(height, width, 1, generator=g)
    background = torch.linspace(-0.5, 1.0, channels)
    ours, theirs = scene.leaves(), scene.to(torch.float64).leaves()
    ours_bg, theirs_bg = background.clone().requires_grad_(), background.double().requires_grad_()
    image, alpha = render_cpu(ours, scene.Ks, width, height, background=ours_bg, isa=isa)
    expected = rasterize_reference(*theirs, scene.Ks.double(), width, height, background=theirs_bg)
    torch.testing.assert_close(image.double(), expected[0], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(alpha.double(), expected[1], atol=2e-5, rtol=2e-5)
    ((image * v_image).sum() + (alpha * v_alpha).sum()).backward()
    ((expected[0] * v_image).sum() + (expected[1] * v_alpha).sum()).backward()
    for name, a, b in zip((*NAMES, "backgrounds"), (*ours, ours_bg), (*theirs, theirs_bg), strict=True):
        error, size = (a.grad.double() - b.grad).norm(), b.grad.norm()
        assert error <= 2e-4 * size + 1e-6, f"{name}: error {error:.2e} of {size:.2e}"


@pytest.mark.parametrize("channels", [1, 5, 9])
def test_kernels_of_any_number_of_channels_pass_gradcheck(channels, random_scene):
    scene = with_channels(random_scene(4, 18, 9, seed=5).to(torch.float64), channels)

    def render(*leaves):
        return render_cpu(leaves, scene.Ks, 18, 9, background=leaves[4][0])

    assert torch.autograd.gradcheck(render, scene.leaves(), eps=1e-7, atol=1e-4)


def test_channels_are_rendered_alike_whatever_their_company(isa, random_scene):
    scene = with_channels(random_scene(200, 40, 30, seed=15), 11)
    whole, _ = render_cpu(scene.leaves(), scene.Ks, 40, 30, background=torch.zeros(11), isa=isa)
    for first in (0, 4, 8):
        part = replace(scene, colors=scene.colors[:, first : first + 3])
        torch.testing.assert_close(
            render_cpu(part.leaves(), scene.Ks, 40, 30, isa=isa)[0], whole[..., first : first + 3], rtol=0, atol=1e-6
        )


def test_refuses_bad_channels(random_scene):
    scene = with_channels(random_scene(40, 20, 20), 7)
    scene.colors[3, 6] = math.nan
    with pytest.raises(InputError, match=r"`colors`[\s\S]*nan at \[3, 6\]"):
        render_cpu(scene.leaves(), scene.Ks, 20, 20, background=torch.zeros(7))
    scene.colors[3, 6] = 0.0
    background = torch.tensor([0, 0, 0, 0, 0, math.inf, 0])
    with pytest.raises(InputError, match=r"`backgrounds`[\s\S]*inf at \[5\]"):
        render_cpu(scene.leaves(), scene.Ks, 20, 20, background=background)
    with pytest.raises(InputError, match=r"`backgrounds`[\s\S]*7 channels, as in colors[\s\S]*\(1, 3\)"):
        render_cpu(scene.leaves(), scene.Ks, 20, 20, background=torch.zeros(3))
    none = replace(scene, colors=scene.colors[:, :0])
    with pytest.raises(InputError, match=r"`colors`[\s\S]*one channel or more"):
        render_cpu(none.leaves(), scene.Ks, 20, 20, background=torch.zeros(0))


def test_threads_do_not_change_a_bit(isa, random_scene):
    scene = random_scene(9000, 130, 70, seed=6)
    results = []
    for threads in (1, 2, 3):
        leaves = scene.leaves()
        image, alpha = render_cpu(leaves, scene.Ks, 130, 70, threads=threads, isa=isa)
        (image.square().sum() + alpha.sum()).backward()
        results.append([image.detach(), alpha.detach(), *(t.grad for t in leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_batches_broadcast_and_sum_their_gradients(random_scene):
    scene = random_scene(60, 24, 20, seed=8)
    views = scene.viewmats.repeat(2, 3, 1, 1)
    views[..., 0, 3] = torch.linspace(-0.1, 0.1, 6).view(2, 3)
    together = scene.leaves()
    image, alpha, *_ = rasterize(*together[:5], views, scene.Ks, 24, 20)
    assert image.shape == (2, 3, 20, 24, 3)
    assert alpha.shape == (2, 3, 20, 24, 1)
    image.square().sum().backward()
    one_by_one = scene.leaves()
    for i in range(2):
        for j in range(3):
            single = rasterize(*one_by_one[:5], views[i, j], scene.Ks, 24, 20).image
            assert torch.equal(single, image[i, j])
            single.square().sum().backward()
    for a, b in zip(together[:5], one_by_one[:5], strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_renders_may_overlap_and_be_dropped(random_scene):
    scene = random_scene(50, 32, 32, seed=9)
    first, second = scene.leaves(), random_scene(70, 32, 32, seed=10).leaves()
    image_a = rasterize(*first, scene.Ks, 32, 32).image
    image_b = rasterize(*second, scene.Ks, 32, 32).image
    dropped = rasterize(*second, scene.Ks, 32, 32)
    held = len(_native.state_leases._held)
    del dropped
    assert len(_native.state_leases._held) == held - 1
    image_b.sum().backward()
    image_a.sum().backward(retain_graph=True)
    alone = scene.leaves()
    rasterize(*alone, scene.Ks, 32, 32).image.sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(first, alone, strict=True))
    image_a.sum().backward()
    assert torch.equal(first[0].grad, 2 * alone[0].grad)


def test_python_threads_may_render_at_once(random_scene):
    scene = random_scene(3000, 100, 80, seed=12)

    def gradients(_) -> list[torch.Tensor]:
        leaves = scene.leaves()
        image, alpha = render_cpu(leaves, scene.Ks, 100, 80, threads=2)
        (image.square().sum() + alpha.sum()).backward()
        return [image.detach(), *(t.grad for t in leaves)]

    alone = gradients(None)
    with ThreadPoolExecutor(3) as executor:
        for result in executor.map(gradients, range(12)):
            assert all(torch.equal(a, b) for a, b in zip(alone, result, strict=True))


def test_outputs_do_not_share_recycled_memory(front_scene):
    scene = front_scene(1)
    with torch.no_grad():
        bright = rasterize(*scene.leaves(), scene.Ks, 16, 16, backgrounds=torch.ones(3)).image
        kept = bright.clone()
        for _ in range(5):
            rasterize(*scene.leaves(), scene.Ks, 16, 16)
    assert torch.equal(bright, kept)


def test_operator_is_registered_as_torch_wants(random_scene):
    scene = random_scene(10, 20, 18, seed=11)
    tensors = [t[None].requires_grad_() for t in scene.leaves()]
    tensors = [t.detach().requires_grad_() for t in tensors]
    arguments = (*tensors, scene.Ks[None], torch.zeros(1, 3), 20, 18, 0.01, 0.3, 0.999, 1, "")
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_cpu.render, arguments, test_utils=checks)


@pytest.mark.parametrize("name", [*NAMES, "Ks", "backgrounds"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_refuses_numbers_that_are_not_finite(name, bad, backend, random_scene):
    scene = random_scene(40, 20, 20)
    tensors = {n: getattr(scene, n).clone() for n in (*NAMES, "Ks")}
    tensors["backgrounds"] = torch.zeros(3)
    tensors[name].view(-1)[0] = bad
    with pytest.raises(InputError, match=rf"cannot use `{name}`[\s\S]*Found: {bad}"):
        rasterize(**tensors, width=20, height=20, backend=backend)


def test_refusal_text_names_the_tensor_and_the_place(random_scene):
    scene = random_scene(40, 20, 20)
    scene.scales[7, 2] = math.nan
    with pytest.raises(InputError) as error:
        rasterize(*scene.leaves(), scene.Ks, 20, 20)
    assert str(error.value) == (
        "rasterize cannot use `scales`.\n"
        "  Expected: finite numbers.\n"
        "  Found: nan at [7, 2] of camera 0, and 0 more like it.\n"
        "  To do: find the step that made it: a zero quaternion, a logarithm of zero, a learning rate too high."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"quats": torch.zeros(40, 3)}, r"`quats`[\s\S]*\(\.\.\., 40, 4\)[\s\S]*\(40, 3\)"),
        ({"colors": torch.zeros(40, 0)}, r"`colors`[\s\S]*\(\.\.\., 40, 1\)[\s\S]*\(40, 0\)"),
        (
            {"backgrounds": torch.zeros(4)},
            r"`backgrounds`[\s\S]*\(\.\.\., 3\) and K = 3 from colors[\s\S]*\(4,\)",
        ),
        ({"opacities": torch.zeros(39)}, r"`opacities`[\s\S]*\(\.\.\., 40\)[\s\S]*\(39,\)"),
        ({"colors": torch.zeros(40, 3, dtype=torch.float64)}, r"`colors`[\s\S]*float32[\s\S]*float64"),
        ({"viewmats": torch.eye(4).repeat(2, 1, 1), "Ks": torch.eye(3).repeat(3, 1, 1)}, "do not broadcast"),
        ({"means": torch.zeros(3)}, "`means`"),
        ({"width": 0}, "`width`"),
        ({"near": 0.0}, "`near`"),
        ({"alpha_max": 1.0}, "`alpha_max`"),
        ({"threads": 0}, "`threads`"),
    ],
)
def test_refuses_arguments_that_do_not_fit(changes, expected, random_scene):
    scene = random_scene(40, 20, 20)
    arguments = {n: getattr(scene, n) for n in (*NAMES, "Ks")} | {"width": 20, "height": 20} | changes
    with pytest.raises(InputError, match=expected):
        rasterize(**arguments)


def test_refuses_a_backend_it_does_not_have(front_scene):
    scene = front_scene(1)
    with pytest.raises(BackendError, match="vulkan"):
        rasterize(*scene.leaves(), scene.Ks, 8, 8, backend="vulkan")  # type: ignore[arg-type]


def test_refuses_devices_without_a_backend(front_scene):
    scene = front_scene(1)
    with pytest.raises(BackendError, match=r"made for meta tensors[\s\S]*cpu or cuda[\s\S]*backend=\"torch\""):
        rasterize(*(t.to("meta") for t in scene.leaves()), scene.Ks.to("meta"), 8, 8)
    with pytest.raises(BackendError, match=r"takes CPU tensors[\s\S]*means on meta"):
        rasterize(*(t.to("meta") for t in scene.leaves()), scene.Ks.to("meta"), 8, 8, backend="cpu")


def test_refuses_an_instruction_set_the_machine_lacks():
    with pytest.raises(BackendError, match="sse9"):
        _native.load_library("sse9")


def test_sources_name_their_instruction_set(isa):
    assert _native.load_library(isa).isa == isa


@pytest.mark.parametrize("single", ["means", "viewmats", "both but colors"])
def test_what_cameras_share_is_not_copied_and_its_gradients_are_summed(single, random_scene):
    scene = random_scene(60, 24, 20, seed=14)
    leaves = dict(zip(NAMES, scene.leaves(), strict=True)) | {"backgrounds": torch.rand(3).requires_grad_()}
    shared = {"means": ("means",), "viewmats": ("viewmats", "backgrounds")}.get(single, (*NAMES, "backgrounds"))
    batched = {
        n: t if n in shared and n != "colors" else t.detach().repeat(3, *[1] * t.ndim) for n, t in leaves.items()
    }
    batched = {n: t.detach().requires_grad_() for n, t in batched.items()}
    repeated = {n: t.detach().expand(3, *leaves[n].shape).clone().requires_grad_() for n, t in batched.items()}
    g = torch.Generator().manual_seed(15)
    weights = torch.randn(3, 20, 24, 3, generator=g)
    for tensors in (batched, repeated):
        (rasterize(**tensors, Ks=scene.Ks, width=24, height=20)[0] * weights).sum().backward()
    for name, tensor in batched.items():
        expected = repeated[name].grad
        expected = expected.sum(0) if tensor.ndim < repeated[name].ndim else expected
        torch.testing.assert_close(tensor.grad, expected, rtol=1e-4, atol=1e-5, msg=name)
