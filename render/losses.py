"""The photometric loss, fused on the CPU and on CUDA, and SSIM as a map."""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from avatar.errors import InputError
from avatar.render import _native

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2

_LOGGER = logging.getLogger(__name__)


def l1_dssim(
    image: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    *,
    dssim_weight: float = 0.2,
    threads: int | None = None,
    compiled: bool = True,
) -> Float[Tensor, ""]:
    """(1 - w) mean |image - target| + w (1 - mean SSIM), the loss of 3D Gaussian splatting (Kerbl et al. 2023).

    On float32 tensors the value and its gradient are worked out together: in one fused C++ pass on the CPU, where the
    library is installed, and on CUDA by `l1_dssim_and_gradient` through torch.compile where that works. Elsewhere they
    come from torch's autograd. All define SSIM as `ssim_map` does.

    Args:
        image: In [0, 1]; gradients flow to it.
        target: In [0, 1]; a constant.
        dssim_weight: The weight w, in [0, 1].
        threads: Threads of the fused pass; all processors when None. The result does not depend on it.
        compiled: On CUDA, compile it for this size, which takes seconds: for sizes that come again and again.

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
    fused = image.is_cuda or (image.device.type == "cpu" and _native.is_installed())
    if fused and image.dtype == torch.float32:
        if torch.is_grad_enabled() and target.requires_grad:
            raise InputError("l1_dssim has no gradient for `target`", expected="a constant", fix="detach it")
        loss, _ = fused_l1_dssim(image, target, dssim_weight, threads or 0, "", compiled)
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


def l1_dssim_and_gradient(
    image: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], dssim_weight: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "H W C"]]:
    """The loss of `l1_dssim` and its gradient with respect to image, without autograd.

    With the blurs written as sums of shifted copies, torch.compile makes a few kernels of it, and no choice of a
    convolution algorithm can take precision from the variances.
    """
    count = image.numel()
    mean_x, mean_y, squares, products = _blur(torch.stack([image, target, image**2 + target**2, image * target]))
    luminance, squared_means = 2 * mean_x * mean_y + C1, mean_x**2 + mean_y**2 + C1
    structure, variances = 2 * (products - mean_x * mean_y) + C2, squares - mean_x**2 - mean_y**2 + C2
    scale = 1 / (squared_means * variances)
    ssim = luminance * structure * scale
    by_mean = 2 * (mean_y * (structure - luminance) * scale + mean_x * ssim * (1 / variances - 1 / squared_means))
    # The window is symmetric and the border zero, so the blur is its own transpose.
    by_mean, by_squares, by_products = _blur(torch.stack([by_mean, -ssim / variances, 2 * luminance * scale]))
    ssim_gradient = by_mean + 2 * image * by_squares + target * by_products
    difference = image - target
    loss = (1 - dssim_weight) * difference.abs().mean() + dssim_weight * (1 - ssim.mean())
    return loss, ((1 - dssim_weight) * difference.sign() - dssim_weight * ssim_gradient) / count


def _blur(maps: Float[Tensor, "M H W C"]) -> Float[Tensor, "M H W C"]:
    """The window of `ssim_map` over rows, then columns."""
    reach = WINDOW_SIZE // 2
    weights = [math.exp(-((i - reach) ** 2) / (2 * WINDOW_SIGMA**2)) for i in range(WINDOW_SIZE)]
    for dim, padding in ((1, (0, 0, 0, 0, reach, reach)), (2, (0, 0, reach, reach))):
        padded, size = F.pad(maps, padding), maps.shape[dim]
        maps = padded.narrow(dim, 0, size) * (weights[0] / sum(weights))
        for i in range(1, WINDOW_SIZE):
            maps = torch.add(maps, padded.narrow(dim, i, size), alpha=weights[i] / sum(weights))
    return maps


@functools.lru_cache(maxsize=16)
def compiled_l1_dssim(
    height: int, width: int, dssim_weight: float, device: torch.device
) -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """`l1_dssim_and_gradient` through torch.compile for one size and weight, or as it is where that does not work."""
    compiled = torch.compile(l1_dssim_and_gradient, dynamic=False)
    trial = torch.zeros(height, width, 3, device=device)
    try:
        with warnings.catch_warnings():
            # The compiler recommends settings that would cost the variances their precision.
            warnings.simplefilter("ignore")
            compiled(trial, trial, dssim_weight)
    except (RuntimeError, ImportError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _LOGGER.warning("torch.compile does not work here, so the loss takes longer: %s", reason[0])
        return l1_dssim_and_gradient
    return compiled


@torch.library.custom_op("headsplat::l1_dssim", mutates_args=(), device_types="cpu")
def fused_l1_dssim(
    image: Tensor, target: Tensor, dssim_weight: float, threads: int, isa: str, compiled: bool = True
) -> tuple[Tensor, Tensor]:
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


@fused_l1_dssim.register_kernel("cuda")
def _(image, target, dssim_weight, threads, isa, compiled=True):
    height, width, _ = image.shape
    loss = compiled_l1_dssim(height, width, dssim_weight, image.device) if compiled else l1_dssim_and_gradient
    return loss(image.contiguous(), target.contiguous(), dssim_weight)


@fused_l1_dssim.register_fake
def _(image, target, dssim_weight, threads, isa, compiled=True):
    return image.new_empty(()), image.new_empty(image.shape)


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx, v_loss, v_gradient):
    (gradient,) = ctx.saved_tensors
    return gradient * v_loss, None, None, None, None, None


fused_l1_dssim.register_autograd(_backward, setup_context=_setup_context)
