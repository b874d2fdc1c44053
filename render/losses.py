"""The photometric loss, fused on the CPU, and SSIM as a map."""

from __future__ import annotations

import ctypes

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import InputError
from avatar.render import _native

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def l1_dssim(
    image: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    *,
    dssim_weight: float = 0.2,
    threads: int | None = None,
) -> Float[Tensor, ""]:
    """(1 - w) mean |image - target| + w (1 - mean SSIM), the loss of 3D Gaussian splatting (Kerbl et al. 2023).

    On float32 CPU tensors the value and its gradient come from one fused C++ pass, where the library is installed;
    elsewhere from torch. Both define SSIM as `ssim_map` does.

    Args:
        image: In [0, 1]; gradients flow to it.
        target: In [0, 1]; a constant.
        dssim_weight: The weight w, in [0, 1].
        threads: Threads of the fused pass; all processors when None. The result does not depend on it.

    Raises:
        InputError: Shapes or types differ, or an image is empty or does not have three channels.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or image.numel() == 0 or image.shape != target.shape:
        raise InputError(
            "l1_dssim cannot compare these images",
            expected="two tensors of one shape (H, W, 3)",
            found=f"image {tuple(image.shape)} and target {tuple(target.shape)}",
        )
    if image.dtype != target.dtype or image.device != target.device:
        raise InputError(
            "l1_dssim cannot compare these images",
            expected="one float type and one device",
            found=f"image {image.dtype} on {image.device} and target {target.dtype} on {target.device}",
        )
    if image.device.type == "cpu" and image.dtype == torch.float32 and _native.is_installed():
        if torch.is_grad_enabled() and target.requires_grad:
            raise InputError("l1_dssim has no gradient for `target`", expected="a constant", fix="detach it")
        loss, _ = fused_l1_dssim(image, target, dssim_weight, threads or 0, "")
        return loss
    ssim = ssim_map(image, target).mean()
    return (1 - dssim_weight) * (image - target).abs().mean() + dssim_weight * (1 - ssim)


def ssim_map(
    image: Float[Tensor, "*batch H W C"], target: Float[Tensor, "*batch H W C"]
) -> Float[Tensor, "*batch H W C"]:
    """SSIM at every pixel and channel (Wang et al. 2004), differentiable, in torch.

    The window is an 11 x 11 Gaussian of sigma 1.5 pixels with zeros beyond the border; C1 and C2 are for images in
    [0, 1].

    Returns:
        A tensor of the images' shape, at most 1.
    """
    channels = image.shape[-1]
    x, y = (t.movedim(-1, -3).reshape(-1, channels, *t.shape[-3:-1]) for t in (image, target))
    offsets = torch.arange(WINDOW_SIZE, dtype=x.dtype, device=x.device) - WINDOW_SIZE // 2
    window = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    window = window / window.sum()
    kernel = (window[:, None] * window).expand(channels, 1, -1, -1).contiguous()

    def blur(values: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(values, kernel, padding=WINDOW_SIZE // 2, groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    shape = image.movedim(-1, -3).shape
    return (luminance * structure).reshape(shape).movedim(-3, -1)


@torch.library.custom_op("headsplat::l1_dssim", mutates_args=(), device_types="cpu")
def fused_l1_dssim(image: Tensor, target: Tensor, dssim_weight: float, threads: int, isa: str) -> tuple[Tensor, Tensor]:
    """The loss and its gradient with respect to image; threads 0 is all processors, isa "" the best library."""
    library = _native.load_library(isa or None)
    image, target = image.contiguous(), target.contiguous()
    height, width, _ = image.shape
    gradient = _native.recycled_empty((height, width, 3))
    loss = ctypes.c_double()
    workspace = library.losses.take()
    status = library.l1_dssim(
        workspace,
        image.data_ptr(),
        target.data_ptr(),
        width,
        height,
        dssim_weight,
        gradient.data_ptr(),
        loss,
        threads or _native.default_threads(),
    )
    library.losses.give(workspace)
    if status:
        raise MemoryError("the fused loss ran out of memory")
    return image.new_tensor(loss.value), gradient


@fused_l1_dssim.register_fake
def _(image, target, dssim_weight, threads, isa):
    return image.new_empty(()), image.new_empty(image.shape)


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx, v_loss, v_gradient):
    (gradient,) = ctx.saved_tensors
    return gradient * v_loss, None, None, None, None


fused_l1_dssim.register_autograd(_backward, setup_context=_setup_context)
