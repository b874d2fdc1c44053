"""The fused loss against torch in double precision."""

import ctypes

import pytest
import torch

from avatar.errors import InputError
from avatar.render import _native, losses
from avatar.render.losses import fused_l1_dssim, l1_dssim, l1_dssim_and_gradient, ssim_map


def images(height, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=g), (height, width), mode="bilinear")[0]
    image = smooth.movedim(0, -1).contiguous()
    return image, (image + 0.1 * torch.randn(height, width, 3, generator=g)).clamp(0, 1)


@pytest.mark.parametrize("size", [(70, 90), (64, 64), (129, 33), (16, 22), (5, 7), (1, 1), (200, 3), (3, 200)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_agrees_with_torch(size, weight, isa):
    image, target = images(*size)
    ours, theirs = image.clone().requires_grad_(), image.double().requires_grad_()
    loss, _ = fused_l1_dssim(ours, target, weight, 1, isa)
    expected = l1_dssim(theirs, target.double(), dssim_weight=weight)
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-5)
    (3 * loss).backward()
    (3 * expected).backward()
    error = (ours.grad - theirs.grad).norm() / theirs.grad.norm()
    assert error < 1e-4


@pytest.mark.parametrize("size", [(37, 50), (16, 16), (5, 7), (1, 1), (3, 30), (150, 6)])
@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("threads", [1, 3])
def test_kernel_in_double_precision_is_exact(size, weight, threads):
    image, target = (t.double() for t in images(*size))
    image[0, 0] = target[0, 0]
    library, loss, gradient = (
        _native.load_library(_native.FLOAT64),
        ctypes.c_double(),
        torch.full_like(image, torch.nan),
    )
    workspace = library.losses.take()
    pointers = (workspace, image.data_ptr(), target.data_ptr())
    library.l1_dssim(*pointers, size[1], size[0], weight, gradient.data_ptr(), loss, threads)
    library.losses.give(workspace)
    image.requires_grad_()
    expected = l1_dssim(image, target, dssim_weight=weight)
    expected.backward()
    assert loss.value == pytest.approx(expected.item(), rel=1e-12, abs=1e-14)
    torch.testing.assert_close(gradient, image.grad, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("size", [(40, 50), (5, 7), (1, 1), (3, 30)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_loss_and_gradient_of_the_gpu_are_those_of_autograd(size, weight):
    image, target = (t.double() for t in images(*size))
    image[0, 0] = target[0, 0]
    loss, gradient = l1_dssim_and_gradient(image, target, weight)
    image.requires_grad_()
    expected = l1_dssim(image, target, dssim_weight=weight)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, image.grad, rtol=1e-9, atol=1e-14)


def test_loss_of_the_gpu_falls_back_where_compiling_fails(monkeypatch, caplog):
    def compile_nothing(function, **_):
        def fail(*_):
            raise RuntimeError("Failed to find C compiler.\nmore")

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)
    losses.compiled_l1_dssim.cache_clear()
    found = losses.compiled_l1_dssim(9, 8, 0.2, torch.device("cpu"))
    losses.compiled_l1_dssim.cache_clear()
    assert found is l1_dssim_and_gradient
    assert caplog.messages == ["torch.compile does not work here, so the loss takes longer: Failed to find C compiler."]


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("size", [(70, 90), (5, 7)])
def test_agrees_with_torch_on_the_gpu(size, compiled, cuda, monkeypatch):
    if not compiled:
        monkeypatch.setattr(losses, "compiled_l1_dssim", lambda *_: l1_dssim_and_gradient)
    image, target = images(*size)
    ours, theirs = image.to(cuda).requires_grad_(), image.double().requires_grad_()
    loss, expected = l1_dssim(ours, target.to(cuda)), l1_dssim(theirs, target.double())
    torch.testing.assert_close(loss.cpu().double(), expected, atol=1e-6, rtol=1e-5)
    (3 * loss).backward()
    (3 * expected).backward()
    assert (ours.grad.cpu().double() - theirs.grad).norm() / theirs.grad.norm() < 1e-4


def test_torch_loss_passes_gradcheck():
    image, target = (t.double() for t in images(6, 5))
    assert torch.autograd.gradcheck(lambda x: l1_dssim(x, target), image.requires_grad_())


def test_threads_do_not_change_a_bit(isa):
    image, target = images(300, 40)
    results = [fused_l1_dssim(image, target, 0.2, threads, isa) for threads in (1, 2, 3)]
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_equal_images_have_no_loss():
    image, _ = images(40, 30)
    assert l1_dssim(image, image.clone()).abs() < 1e-6
    torch.testing.assert_close(ssim_map(image, image), torch.ones_like(image))


def test_ssim_map_is_its_definition():
    # One pixel of a small image by hand: windowed sums of Wang et al. 2004, with zeros outside.
    x, y = (t.double() for t in images(9, 8))
    offsets = torch.arange(-5, 6, dtype=torch.float64)
    w = torch.exp(-(offsets**2) / 4.5)
    w = w / w.sum()
    row, column = 3, 6
    weights = torch.zeros(9, 8, dtype=torch.float64)
    for i, wi in zip(range(row - 5, row + 6), w, strict=True):
        for j, wj in zip(range(column - 5, column + 6), w, strict=True):
            if 0 <= i < 9 and 0 <= j < 8:
                weights[i, j] = wi * wj
    mx, my, xx, yy, xy = ((weights[..., None] * t).sum((0, 1)) for t in (x, y, x * x, y * y, x * y))
    expected = ((2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4)) / (
        (mx**2 + my**2 + 1e-4) * (xx - mx**2 + yy - my**2 + 9e-4)
    )
    torch.testing.assert_close(ssim_map(x, y)[row, column], expected)


def test_strided_images_and_batches():
    image, target = images(20, 30)
    turned = image.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(l1_dssim(turned, target), l1_dssim(image, target))
    batched = ssim_map(torch.stack([image, target]), torch.stack([target, target]))
    torch.testing.assert_close(batched[0], ssim_map(image, target))


def test_operator_is_registered_as_torch_wants():
    image, target = images(12, 10)
    torch.library.opcheck(fused_l1_dssim, (image.requires_grad_(), target, 0.2, 1, ""))


def test_refuses_images_that_do_not_match():
    image, target = images(6, 5)
    with pytest.raises(InputError, match=r"one shape[\s\S]*\(6, 5, 3\)[\s\S]*\(5, 5, 3\)"):
        l1_dssim(image, target[1:])
    with pytest.raises(InputError, match="float64"):
        l1_dssim(image, target.double())
    with pytest.raises(InputError, match="no gradient for `target`"):
        l1_dssim(image, target.requires_grad_())
