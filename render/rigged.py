"""The public fused path: Gaussians in the frames of a mesh's triangles and the posed mesh in, images out."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import InputError
from avatar.fields.rig import STRETCH_RANGE, RiggedGaussians, place_gaussians
from avatar.render import _rigged
from avatar.render._outputs import Rendering
from avatar.render.rasterization import Backend, batch_shape, check_settings, choose_backend, rasterize

_LOCAL = {
    "corners": (3,),
    "barycentric": (3,),
    "rest_sizes": (),
    "offsets": (3,),
    "log_scales": (3,),
    "quats": (4,),
    "opacity_logits": (),
    "color_logits": (3,),
    "units": (10,),
}


def rasterize_rigged(
    rigged: RiggedGaussians,
    vertices: Float[Tensor, "*batch V 3"],
    viewmats: Float[Tensor, "*batch 4 4"],
    Ks: Float[Tensor, "*batch 3 3"],
    *,
    width: int,
    height: int,
    residual: Float[Tensor, "*batch N 10"] | None = None,
    backgrounds: Float[Tensor, "*batch 3"] | None = None,
    near: float = 0.01,
    eps2d: float = 0.3,
    alpha_max: float = 0.999,
    backend: Backend | None = None,
    threads: int | None = None,
) -> Rendering:
    """Renders Gaussians that ride on a mesh; the same as `place_gaussians` and then `rasterize`, in one pass.

    On the CPU the rig, the projection and the blending are one call in which no Gaussian is written in world space, and
    gradients reach the mesh. Leading dimensions are moments or cameras and broadcast against each other; the Gaussians
    are shared by all, and their gradients are summed.

    Args:
        rigged: N Gaussians in the frames of their triangles. Gradients flow to its offsets, log_scales, quats,
            opacity_logits and color_logits.
        vertices: The posed mesh, metres; gradients flow to it.
        viewmats: World-to-camera, OpenCV axes; gradients flow to them.
        Ks: Intrinsics in pixels; pixel centres lie at +0.5.
        width: Image width in pixels.
        height: Image height in pixels.
        residual: Added to the local parameters, in units of ``rigged.units``; gradients flow to it.
        backgrounds: Colours behind the Gaussians; black when None. Gradients flow to them.
        near: Gaussians whose centres are nearer than this are not drawn, metres.
        eps2d: Square pixels added to the projected covariances.
        alpha_max: Largest alpha one Gaussian can have at a pixel, below 1.
        backend: As for `rasterize`; only "cpu" is fused.
        threads: Threads of the "cpu" backend; all processors when None. The result does not depend on it.

    Returns:
        A `Rendering` of image and alpha.

    Raises:
        InputError: A tensor has a wrong shape, type or device, or holds NaN or infinity, or a corner is no vertex.
        BackendError: The backend asked for cannot run here.
    """
    backgrounds = vertices.new_zeros(3) if backgrounds is None else backgrounds
    chosen = choose_backend(backend, vertices)
    batch = _check(rigged, vertices, viewmats, Ks, backgrounds, residual)
    check_settings(width, height, near=near, eps2d=eps2d, alpha_max=alpha_max, threads=threads)
    settings: dict[str, Any] = {"near": near, "eps2d": eps2d, "alpha_max": alpha_max}
    if chosen != "cpu":
        world = place_gaussians(rigged, vertices, residual)
        gaussians = (world.means, world.quats, world.scales, world.opacities, world.colors)
        rendered = rasterize(
            *gaussians,
            viewmats,
            Ks,
            width,
            height,
            backgrounds=backgrounds,
            backend=chosen,
            threads=threads,
            **settings,
        )
        return rendered
    moving = [_flat(t, batch, trailing) for t, trailing in ((vertices, 2), (viewmats, 2), (Ks, 2), (backgrounds, 1))]
    image, alpha, _ = _rigged.render(
        moving[0],
        None if residual is None else _flat(residual, batch, 2),
        rigged.offsets,
        rigged.log_scales,
        rigged.quats,
        rigged.opacity_logits,
        rigged.color_logits,
        *moving[1:],
        rigged.corners,
        rigged.barycentric,
        rigged.rest_sizes,
        rigged.units,
        list(STRETCH_RANGE),
        width,
        height,
        near,
        eps2d,
        alpha_max,
        threads or 0,
        "",
    )
    return Rendering(image.view(*batch, height, width, 3), alpha.view(*batch, height, width, 1))


def _flat(tensor: Tensor, batch: tuple[int, ...], trailing: int) -> Tensor:
    """Broadcasts the leading dimensions to `batch` and makes them one."""
    if tensor.ndim == trailing and not batch:
        return tensor[None]
    shape = tensor.shape[tensor.ndim - trailing :]
    return tensor.expand(*batch, *shape).reshape(math.prod(batch), *shape)


def _check(
    rigged: RiggedGaussians,
    vertices: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor,
    residual: Tensor | None,
) -> tuple[int, ...]:
    """The broadcast leading shape; raises InputError naming the first tensor that does not fit."""
    count = len(rigged.corners)
    tensors: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
    for name, size in _LOCAL.items():
        tensors[name] = (getattr(rigged, name), (count, *size))
    leading: dict[str, tuple[int, ...]] = {}
    mesh = vertices.shape[-2] if vertices.ndim >= 2 else 0
    moving: list[tuple[str, Tensor, tuple[int, ...]]] = [
        ("vertices", vertices, (mesh, 3)),
        ("viewmats", viewmats, (4, 4)),
        ("Ks", Ks, (3, 3)),
    ]
    moving.append(("backgrounds", backgrounds, (3,)))
    if residual is not None:
        moving.append(("residual", residual, (count, 10)))
    for name, tensor, trailing in moving:
        cut = max(tensor.ndim - len(trailing), 0)
        tensors[name] = (tensor[(0,) * cut] if 0 not in tensor.shape[:cut] else tensor, trailing)
        leading[name] = tuple(tensor.shape[:cut])
    for name, (tensor, shape) in tensors.items():
        dtype = torch.int32 if name == "corners" else vertices.dtype
        if tuple(tensor.shape) != shape:
            _refuse(
                name,
                expected=f"shape {'(..., ' if name in leading else '('}{', '.join(map(str, shape))})",
                found=f"shape {tuple(tensor.shape)}",
            )
        if tensor.dtype != dtype:
            _refuse(name, expected=str(dtype), found=str(tensor.dtype))
        if tensor.device != vertices.device:
            _refuse(name, expected=f"device {vertices.device}, where vertices is", found=f"device {tensor.device}")
    return batch_shape(leading, "rasterize_rigged")


def _refuse(name: str, *, expected: str, found: str) -> None:
    raise InputError(f"rasterize_rigged cannot use `{name}`", expected=expected, found=found)
