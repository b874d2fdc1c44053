"""The public rasteriser: 3D Gaussians and cameras in, images out, differentiable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import BackendError, InputError
from avatar.render import _cpu, _gsplat, _native
from avatar.render._outputs import (
    Rendering,
    append_channels,
    camera_depths,
    expected_depth,
    facing_normals,
    unit_normal,
)
from avatar.render._tiled import rasterize_tiled

Backend = Literal["cpu", "torch", "gsplat"]

_TRAILING = {
    "means": ("N", 3),
    "quats": ("N", 4),
    "scales": ("N", 3),
    "opacities": ("N",),
    "colors": ("N", "K"),
    "viewmats": (4, 4),
    "Ks": (3, 3),
    "backgrounds": ("K",),
}
_SIZES = (("N", "means"), ("K", "colors"))


def rasterize(
    means: Float[Tensor, "*#batch N 3"],
    quats: Float[Tensor, "*#batch N 4"],
    scales: Float[Tensor, "*#batch N 3"],
    opacities: Float[Tensor, "*#batch N"],
    colors: Float[Tensor, "*#batch N K"],
    viewmats: Float[Tensor, "*#batch 4 4"],
    Ks: Float[Tensor, "*#batch 3 3"],
    width: int,
    height: int,
    *,
    backgrounds: Float[Tensor, "*#batch K"] | None = None,
    depth: bool = False,
    normal: bool = False,
    near: float = 0.01,
    eps2d: float = 0.3,
    alpha_max: float = 0.999,
    backend: Backend | None = None,
    threads: int | None = None,
    check_finite: bool = False,
) -> Rendering:
    """Renders 3D Gaussians (Kerbl et al. 2023) with the conventions of gsplat 1.5.3.

    Gradients flow from all outputs to every tensor but `Ks`. Leading dimensions broadcast against each other, so one
    set of Gaussians can meet several cameras; on CUDA, Gaussians that are the same along the trailing batch dimensions
    are not copied: give T timesteps of C cameras as means (T, 1, N, 3) and viewmats (T, C, 4, 4).

    Args:
        means: Centres in the world, metres.
        quats: Rotations wxyz; normalised here.
        scales: Standard deviations along the own axes, metres (linear).
        opacities: In [0, 1].
        colors: Any number K of channels; not clamped.
        viewmats: World-to-camera, OpenCV axes.
        Ks: Intrinsics in pixels; pixel centres lie at +0.5.
        width: Image width in pixels.
        height: Image height in pixels.
        backgrounds: Colours behind the Gaussians; black when None.
        depth: Render `Rendering.depth`.
        normal: Render `Rendering.normal`.
        near: Gaussians whose centres are nearer than this are not drawn, metres.
        eps2d: Square pixels added to the projected covariances.
        alpha_max: Largest alpha one Gaussian can have at a pixel, below 1.
        backend: "cpu" (C++; float32, or float64 in a slow build for gradient checks), "torch" (slow, any float type
            and device) or "gsplat" (CUDA; float32; `alpha_max` is 0.999); by device when None, with
            "torch" for the CPU where the library is missing.
        threads: Threads of the "cpu" backend; all processors when None. The result does not depend on it.
        check_finite: Look for NaN and infinity on a GPU too, which makes every call wait for the device. Without it
            such numbers spread to the image or the gradients there. On the CPU they are always refused.

    Returns:
        A `Rendering` of image, alpha, depth and normal.

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
        "backgrounds": colors.new_zeros(colors.shape[-1:]) if backgrounds is None else backgrounds,
    }
    chosen = choose_backend(backend, means)
    batch = _check(tensors, chosen)
    check_settings(width, height, near=near, eps2d=eps2d, alpha_max=alpha_max, threads=threads)
    if chosen != "cpu" and (check_finite or means.device.type == "cpu"):
        _cpu.refuse_not_finite({n: _one_batch_dimension(t, batch, len(_TRAILING[n])) for n, t in tensors.items()})
    extra = [camera_depths(means, viewmats)] if depth else []
    extra += [facing_normals(means, quats, scales, viewmats)] if normal else []
    if extra:
        tensors["colors"], tensors["backgrounds"] = append_channels(colors, tensors["backgrounds"], extra)
    image, alpha = _draw(
        chosen, tensors, batch, width, height, near=near, eps2d=eps2d, alpha_max=alpha_max, threads=threads or 0
    )
    if not extra:
        return Rendering(image, alpha)
    image, *drawn = image.split([colors.shape[-1], *(t.shape[-1] for t in extra)], dim=-1)
    return Rendering(
        image,
        alpha,
        expected_depth(drawn[0], alpha) if depth else None,
        unit_normal(drawn[-1], alpha) if normal else None,
    )


def _draw(
    backend: str,
    tensors: dict[str, Tensor],
    batch: tuple[int, ...],
    width: int,
    height: int,
    *,
    near: float,
    eps2d: float,
    alpha_max: float,
    threads: int,
) -> tuple[Tensor, Tensor]:
    settings: dict[str, Any] = {"near": near, "eps2d": eps2d, "alpha_max": alpha_max}
    if backend == "gsplat":
        return _gsplat.render(tensors, batch, width, height, **settings)
    flat = [
        _one_batch_dimension(tensor, batch, len(_TRAILING[name]), keep_shared=backend == "cpu")
        for name, tensor in tensors.items()
    ]
    if backend == "cpu":
        arguments: list[Any] = [*flat, width, height, near, eps2d, alpha_max, threads, ""]
        image, alpha, _ = _cpu.render(*arguments)
    else:
        image, alpha = _render_in_torch(*flat, width=width, height=height, **settings)
    return image.reshape(*batch, *image.shape[1:]), alpha.reshape(*batch, *alpha.shape[1:])


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
    image = means.new_zeros(means.shape[0], height, width, colors.shape[-1])
    alpha = means.new_zeros(means.shape[0], height, width, 1)
    cameras = zip(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, strict=True)
    for i, (*scene, background) in enumerate(cameras):
        image[i], alpha[i] = rasterize_tiled(*scene, width=width, height=height, background=background, **settings)
    return image, alpha


def choose_backend(backend: Backend | None, means: Tensor) -> Backend:
    """The backend asked for, or that of the tensor's device; raises BackendError where it cannot run."""
    device = means.device.type
    by_device: dict[str, Backend] = {"cpu": "cpu", "cuda": "gsplat"}
    if backend is None and device not in by_device:
        raise BackendError(
            f"no rasteriser backend is made for {device} tensors",
            expected="means on cpu or cuda",
            found=f"means on {means.device}",
            fix='move the tensors, or pass backend="torch", which runs anywhere and is slow',
        )
    chosen: Backend = backend or (_native.default_backend(means.dtype) if device == "cpu" else by_device[device])
    if chosen not in ("cpu", "torch", "gsplat"):
        raise BackendError("no such rasteriser backend", expected='"cpu", "torch" or "gsplat"', found=repr(chosen))
    if chosen == "gsplat":
        _gsplat.load_rasterization()
    if chosen != "torch" and by_device.get(device) != chosen:
        raise BackendError(
            f'backend "{chosen}" takes {"CPU" if chosen == "cpu" else "CUDA"} tensors',
            expected=f"means on {'cpu' if chosen == 'cpu' else 'cuda'}",
            found=f"means on {means.device}",
            fix="move the tensors, or leave backend at None",
        )
    return chosen


def _check(tensors: dict[str, Tensor], backend: str) -> tuple[int, ...]:
    """The broadcast leading shape; raises InputError naming the first tensor that does not fit."""
    means, colors = tensors["means"], tensors["colors"]
    sizes = {
        "N": means.shape[-2] if means.ndim >= 2 else 0,
        "K": max(colors.shape[-1], 1) if colors.ndim >= 2 else 3,
    }
    dtype = torch.float32 if backend == "gsplat" or (backend == "cpu" and means.dtype != torch.float64) else means.dtype
    for name, tensor in tensors.items():
        trailing = tuple(sizes.get(str(size), size) for size in _TRAILING[name])
        if tuple(tensor.shape[max(tensor.ndim - len(trailing), 0) :]) != trailing:
            named = [f"{size} = {sizes[size]} from {origin}" for size, origin in _SIZES if size in _TRAILING[name]]
            raise InputError(
                f"rasterize cannot use `{name}`",
                expected=" and ".join([f"shape (..., {', '.join(map(str, trailing))})", *named]),
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
    return batch_shape(leading, "rasterize")


def batch_shape(leading: Mapping[str, tuple[int, ...]], function: str) -> tuple[int, ...]:
    """What the leading shapes of a function's tensors broadcast to; raises InputError where they do not."""
    try:
        return tuple(torch.broadcast_shapes(*leading.values()))
    except RuntimeError:
        raise InputError(
            f"the leading dimensions of {function}'s tensors do not broadcast",
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
