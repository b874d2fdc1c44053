"""The fused path from a posed mesh to the image as a torch operator: rig, projection and blending in one call."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from avatar.errors import InputError
from avatar.render import _native
from avatar.render._cpu import raise_status
from avatar.render._signatures import RiggedGradients

# The parameters of the Gaussians, shared by all moments, in the order of the operators' arguments and gradients.
_LOCAL = ("offsets", "log_scales", "quats", "opacity_logits", "color_logits")


@torch.library.custom_op("headsplat::rasterize_rigged", mutates_args=(), device_types="cpu")
def render(
    vertices: Tensor,
    residual: Tensor | None,
    offsets: Tensor,
    log_scales: Tensor,
    quats: Tensor,
    opacity_logits: Tensor,
    color_logits: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor,
    corners: Tensor,
    barycentric: Tensor,
    rest_sizes: Tensor,
    units: Tensor,
    stretch_range: list[float],
    width: int,
    height: int,
    near: float,
    eps2d: float,
    alpha_max: float,
    threads: int,
    isa: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Renders T moments: vertices, residual, viewmats, Ks and backgrounds lead with T, the rest is shared.

    `threads` 0 is all processors and `isa` "" the best library. Returns image (T, H, W, 3), alpha (T, H, W, 1) and the
    ticket of the state the backward pass needs (1,).
    """
    library = _native.load_library(_native.FLOAT64 if vertices.dtype == torch.float64 else isa or None)
    moving = {"vertices": vertices.contiguous(), "residual": None if residual is None else residual.contiguous()}
    shared = _contiguous(
        zip(_LOCAL, (offsets, log_scales, quats, opacity_logits, color_logits), strict=True),
        corners=corners,
        barycentric=barycentric,
        rest_sizes=rest_sizes,
        units=units,
    )
    viewmats, Ks, backgrounds = viewmats.contiguous(), Ks.contiguous(), backgrounds.contiguous()
    moments = len(vertices)
    image = _native.recycled_empty((moments, height, width, 3), vertices.dtype)
    alpha = _native.recycled_empty((moments, height, width, 1), vertices.dtype)
    states: list[int] = []
    ticket = _native.state_leases.begin(library, states)
    for i in range(moments):
        states.append(library.states.take())
        status = library.render_rigged(
            states[i],
            ctypes.byref(_gaussians(library, moving, shared, stretch_range, i)),
            viewmats[i].data_ptr(),
            Ks[i].data_ptr(),
            width,
            height,
            near,
            eps2d,
            alpha_max,
            backgrounds[i].data_ptr(),
            image[i].data_ptr(),
            alpha[i].data_ptr(),
            threads or _native.default_threads(),
        )
        if status:
            _check_corners(corners, vertices.shape[1])
            cameras = {"viewmats": viewmats, "Ks": Ks, "backgrounds": backgrounds}
            given = {name: tensor for name, tensor in moving.items() if tensor is not None}
            raise_status(status, given | shared | cameras, op="rasterize_rigged")
    return image, alpha, ticket


@render.register_fake
def _(vertices, residual, *arguments):
    width, height = arguments[13:15]
    image, alpha = (vertices.new_empty(len(vertices), height, width, channels) for channels in (3, 1))
    return image, alpha, vertices.new_empty(1, dtype=torch.int64)


@torch.library.custom_op("headsplat::rasterize_rigged_backward", mutates_args=(), device_types="cpu")
def render_backward(
    vertices: Tensor,
    residual: Tensor | None,
    offsets: Tensor,
    log_scales: Tensor,
    quats: Tensor,
    opacity_logits: Tensor,
    color_logits: Tensor,
    corners: Tensor,
    barycentric: Tensor,
    rest_sizes: Tensor,
    units: Tensor,
    stretch_range: list[float],
    image: Tensor,
    alpha: Tensor,
    ticket: Tensor,
    v_image: Tensor,
    v_alpha: Tensor,
    needed: list[bool],
    threads: int,
) -> list[Tensor]:
    """Gradients of the eight leading tensors of `render`, empty where `needed` is false."""
    library, states = _native.state_leases.find(ticket)
    moving = {"vertices": vertices.contiguous(), "residual": None if residual is None else residual.contiguous()}
    local = (offsets, log_scales, quats, opacity_logits, color_logits)
    shared = _contiguous(
        zip(_LOCAL, local, strict=True),
        corners=corners,
        barycentric=barycentric,
        rest_sizes=rest_sizes,
        units=units,
    )
    image, alpha, v_image, v_alpha = (t.contiguous() for t in (image, alpha, v_image, v_alpha))
    shapes = _gradient_shapes((vertices, residual, *local), needed)
    outputs = [_native.recycled_empty(shape, vertices.dtype) for shape in shapes]
    v_vertices, v_residual, *v_local, v_viewmats = outputs
    for i, state in enumerate(states):
        pointers = {name: _pointer(t) for name, t in zip(_LOCAL, v_local, strict=True)}
        gradients = RiggedGradients(**pointers, residual=_pointer(v_residual, i), accumulate=i > 0)
        status = library.render_rigged_backward(
            state,
            ctypes.byref(_gaussians(library, moving, shared, stretch_range, i)),
            *(t[i].data_ptr() for t in (image, alpha, v_image, v_alpha)),
            ctypes.byref(gradients),
            _pointer(v_vertices, i),
            _pointer(v_viewmats, i),
            threads or _native.default_threads(),
        )
        if status:
            raise_status(status, {}, op="rasterize_rigged")
    return outputs


@render_backward.register_fake
def _(vertices, residual, offsets, log_scales, quats, opacity_logits, color_logits, *arguments):
    inputs = (vertices, residual, offsets, log_scales, quats, opacity_logits, color_logits)
    return [vertices.new_empty(shape) for shape in _gradient_shapes(inputs, arguments[-2])]


def _setup_context(ctx, inputs, output) -> None:
    image, alpha, ticket = output
    ctx.save_for_backward(*inputs[:7], *inputs[10:14], image, alpha, ticket)
    ctx.mark_non_differentiable(ticket)
    ctx.stretch_range, ctx.threads = inputs[14], inputs[20]


def _backward(ctx, v_image, v_alpha, v_ticket):
    *saved, image, alpha, ticket = ctx.saved_tensors
    v_image = torch.zeros_like(image) if v_image is None else v_image
    v_alpha = torch.zeros_like(alpha) if v_alpha is None else v_alpha
    needed = list(ctx.needs_input_grad[:8])
    gradients = render_backward(*saved, ctx.stretch_range, image, alpha, ticket, v_image, v_alpha, needed, ctx.threads)
    kept = [gradient if wanted else None for gradient, wanted in zip(gradients, needed, strict=True)]
    v_backgrounds = ((1 - alpha) * v_image).sum((1, 2)) if ctx.needs_input_grad[9] else None
    return (*kept, None, v_backgrounds, *[None] * 12)


render.register_autograd(_backward, setup_context=_setup_context)


def _contiguous(local, **others: Tensor) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in (*local, *others.items())}


def _pointer(tensor: Tensor | None, row: int | None = None) -> int | None:
    """Where a tensor's numbers, or those of one of its rows, begin; None for one that is left out."""
    if tensor is None or tensor.numel() == 0:
        return None
    return tensor.data_ptr() if row is None else tensor[row].data_ptr()


def _gaussians(
    library: _native.Library,
    moving: dict[str, Tensor | None],
    shared: dict[str, Tensor],
    stretch_range: list[float],
    moment: int,
) -> ctypes.Structure:
    vertices = moving["vertices"]
    return library.rigged_structure(
        count=len(shared["corners"]),
        vertex_count=0 if vertices is None else vertices.shape[1],
        **{name: _pointer(tensor, moment) for name, tensor in moving.items()},
        **{name: _pointer(tensor) for name, tensor in shared.items()},
        stretch_min=stretch_range[0],
        stretch_max=stretch_range[1],
    )


def _gradient_shapes(inputs: tuple[Tensor | None, ...], needed: list[bool]) -> list[tuple[int, ...]]:
    """Shapes of the gradients of the inputs and of the view matrices; (0,) for those that are not needed."""
    shapes = [() if t is None else tuple(t.shape) for t in inputs]
    shapes.append((*shapes[0][:1], 4, 4))
    return [shape if need else (0,) for shape, need in zip(shapes, needed, strict=True)]


def _check_corners(corners: Tensor, vertices: int) -> None:
    bad = torch.nonzero((corners < 0) | (corners >= vertices))
    if len(bad):
        raise InputError(
            "rasterize_rigged cannot use `corners`",
            expected=f"vertices 0 to {vertices - 1}",
            found=f"{corners[tuple(bad[0])].item()} at {bad[0].tolist()}, and {len(bad) - 1} more like it",
        )
