"""The public rasteriser: 3D Gaussians and cameras in, images out, differentiable."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import BackendError, InputError
from avatar.render import _cpu
from avatar.render._reference import rasterize_reference

Backend = Literal["cpu", "torch", "gsplat"]

_TRAILING = {
    "means": ("N", 3),
    "quats": ("N", 4),
    "scales": ("N", 3),
    "opacities": ("N",),
    "colors": ("N", 3),
    "viewmats": (4, 4),
    "Ks": (3, 3),
    "backgrounds": (3,),
}


def rasterize(
    means: Float[Tensor, "*batch N 3"],
    quats: Float[Tensor, "*batch N 4"],
    scales: Float[Tensor, "*batch N 3"],
    opacities: Float[Tensor, "*batch N"],
    colors: Float[Tensor, "*batch N 3"],
    viewmats: Float[Tensor, "*batch 4 4"],
    Ks: Float[Tensor, "*batch 3 3"],
    width: int,
    height: int,
    *,
    backgrounds: Float[Tensor, "*batch 3"] | None = None,
    near: float = 0.01,
    eps2d: float = 0.3,
    alpha_max: float = 0.999,
    backend: Backend | None = None,
    threads: int | None = None,
) -> tuple[Float[Tensor, "*batch H W 3"], Float[Tensor, "*batch H W 1"]]:
    """Renders 3D Gaussians (Kerbl et al. 2023) with the conventions of gsplat 1.5.3.

    Gradients flow from both outputs to every tensor but `Ks`. Leading dimensions broadcast against each other, so one
    set of Gaussians can meet several cameras.

    Args:
        means: Centres in the world, metres.
        quats: Rotations wxyz; normalised here.
        scales: Standard deviations along the own axes, metres (linear).
        opacities: In [0, 1].
        colors: Any three channels; not clamped.
        viewmats: World-to-camera, OpenCV axes.
        Ks: Intrinsics in pixels; pixel centres lie at +0.5.
        width: Image width in pixels.
        height: Image height in pixels.
        backgrounds: Colours behind the Gaussians; black when None.
        near: Gaussians whose centres are nearer than this are not drawn, metres.
        eps2d: Square pixels added to the projected covariances.
        alpha_max: Largest alpha one Gaussian can have at a pixel, below 1.
        backend: "cpu" (C++; float32, or float64 in a slow build for gradient checks), "torch" (slow, any float type
            and device) or "gsplat" (CUDA); by device when None.
        threads: Threads of the "cpu" backend; all processors when None. The result does not depend on it.

    Returns:
        The image (*batch, height, width, 3), and alpha (*batch, height, width, 1): one minus the light that passes.

    Raises:
        InputError: A tensor has a wrong shape, type or device, or holds NaN or infinity.
        BackendError: The backend asked for cannot run here.
    """
    tensors = {
        "means": means,
        "quats": quats,
        "scales": scales,
        "opacities": opacities,
        "colors": colors,
        "viewmats": viewmats,
        "Ks": Ks,
        "backgrounds": means.new_zeros(3) if backgrounds is None else backgrounds,
    }
    chosen = choose_backend(backend, means)
    batch = _check(tensors, chosen)
    check_settings(width, height, near=near, eps2d=eps2d, alpha_max=alpha_max, threads=threads)
    flat = [
        _one_batch_dimension(tensor, batch, len(_TRAILING[name]), keep_shared=chosen == "cpu")
        for name, tensor in tensors.items()
    ]
    if chosen == "cpu":
        arguments: list[Any] = [*flat, width, height, near, eps2d, alpha_max, threads or 0, ""]
        image, alpha, _ = _cpu.render(*arguments)
    else:
        image, alpha = _render_in_torch(*flat, width=width, height=height, near=near, eps2d=eps2d, alpha_max=alpha_max)
    return image.reshape(*batch, height, width, 3), alpha.reshape(*batch, height, width, 1)


def _one_batch_dimension(tensor: Tensor, batch: tuple[int, ...], trailing: int, *, keep_shared: bool = False) -> Tensor:
    """Broadcasts the leading dimensions to `batch` and makes them one, the cameras; with `keep_shared` 1 stays 1."""
    shape = tensor.shape[tensor.ndim - trailing :]
    shared = keep_shared and 0 not in batch and math.prod(tensor.shape[: tensor.ndim - trailing]) == 1
    if not batch or shared:
        return tensor.reshape(1, *shape)
    return tensor.expand(*batch, *shape).reshape(math.prod(batch), *shape)


def _render_in_torch(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor,
    *,
    width: int,
    height: int,
    **settings: float,
) -> tuple[Tensor, Tensor]:
    image = means.new_zeros(means.shape[0], height, width, 3)
    alpha = means.new_zeros(means.shape[0], height, width, 1)
    cameras = zip(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, strict=True)
    for i, (*scene, background) in enumerate(cameras):
        image[i], alpha[i] = rasterize_reference(*scene, width=width, height=height, background=background, **settings)
    return image, alpha


def choose_backend(backend: Backend | None, means: Tensor) -> Backend:
    """The backend asked for, or that of the tensor's device; raises BackendError where it cannot run."""
    chosen: Backend = backend or ("cpu" if means.device.type == "cpu" else "gsplat")
    if chosen == "gsplat":
        raise BackendError(
            "the gsplat backend is not part of this version",
            expected="a CPU tensor" if backend is None else 'backend "cpu" or "torch"',
            found=f"means on {means.device}" if backend is None else 'backend "gsplat"',
            fix='move the tensors to the CPU, or pass backend="torch", which runs anywhere and is slow',
        )
    if chosen not in ("cpu", "torch"):
        raise BackendError("no such rasteriser backend", expected='"cpu", "torch" or "gsplat"', found=repr(chosen))
    if chosen == "cpu" and means.device.type != "cpu":
        raise BackendError(
            'backend "cpu" takes CPU tensors',
            expected="means on cpu",
            found=f"means on {means.device}",
            fix="move the tensors, or leave backend at None",
        )
    return chosen


def _check(tensors: dict[str, Tensor], backend: str) -> tuple[int, ...]:
    """The broadcast leading shape; raises InputError naming the first tensor that does not fit."""
    means = tensors["means"]
    count = means.shape[-2] if means.ndim >= 2 else 0
    dtype = torch.float32 if backend == "cpu" and means.dtype != torch.float64 else means.dtype
    for name, tensor in tensors.items():
        trailing = tuple(count if size == "N" else size for size in _TRAILING[name])
        if tuple(tensor.shape[max(tensor.ndim - len(trailing), 0) :]) != trailing:
            raise InputError(
                f"rasterize cannot use `{name}`",
                expected=f"shape (..., {', '.join(map(str, trailing))}), with N = {count} from means",
                found=f"shape {tuple(tensor.shape)}",
            )
        if tensor.dtype != dtype or not tensor.is_floating_point():
            raise InputError(
                f"rasterize cannot use `{name}`",
                expected=str(dtype if dtype.is_floating_point else torch.float32),
                found=str(tensor.dtype),
                fix='convert it, or pass backend="torch" with tensors that are all of one float type',
            )
        if tensor.device != means.device:
            raise InputError(
                f"rasterize cannot use `{name}`",
                expected=f"device {means.device}, where means is",
                found=f"device {tensor.device}",
                fix="move all tensors to one device",
            )
    leading = {name: tensor.shape[: tensor.ndim - len(_TRAILING[name])] for name, tensor in tensors.items()}
    try:
        return tuple(torch.broadcast_shapes(*leading.values()))
    except RuntimeError:
        raise InputError(
            "the leading dimensions of rasterize's tensors do not broadcast",
            expected="one batch shape",
            found=", ".join(f"{name} {tuple(shape)}" for name, shape in leading.items() if shape),
        ) from None


def check_settings(
    width: int, height: int, *, near: float, eps2d: float, alpha_max: float, threads: int | None
) -> None:
    """Raises InputError for a setting that is out of its range."""
    checks = (
        ("width", width, "1 to 65535 pixels", 1 <= width <= 65535),
        ("height", height, "1 to 65535 pixels", 1 <= height <= 65535),
        ("near", near, "a positive distance in metres", 0 < near < math.inf),
        ("eps2d", eps2d, "zero or more square pixels", 0 <= eps2d < math.inf),
        ("alpha_max", alpha_max, "between 1/255 and 1, both excluded", 1 / 255 < alpha_max < 1),
        ("threads", threads, "1 or more", threads is None or threads >= 1),
    )
    for name, value, expected, good in checks:
        if not good:
            raise InputError(f"rasterize cannot use `{name}`", expected=expected, found=str(value))
