"""The CPU backend as a torch operator: forward, backward, and what a tracer needs to know of them."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.errors import InputError
from avatar.render import _native

_NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")


@torch.library.custom_op("headsplat::rasterize", mutates_args=(), device_types="cpu")
def render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor,
    width: int,
    height: int,
    near: float,
    eps2d: float,
    alpha_max: float,
    threads: int,
    isa: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Renders C cameras: every tensor leads with C, or with 1 where all cameras share it.

    `colors` (C, N, K) and `backgrounds` (C, K) may have any number K >= 1 of channels; three are the fastest.
    `threads` 0 is all processors and `isa` "" the best library. Returns image (C, H, W, K), alpha (C, H, W, 1) and the
    ticket of the state the backward pass needs (1,).
    """
    double = means.dtype == torch.float64
    library = _native.load_library(_native.FLOAT64 if double else isa or None)
    inputs = [t.contiguous() for t in (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)]
    cameras, count = max(len(t) for t in inputs), means.shape[1]
    channels = _check_channels(colors, backgrounds)
    image = _native.recycled_empty((cameras, height, width, channels), means.dtype)
    alpha = _native.recycled_empty((cameras, height, width, 1), means.dtype)
    states: list[int] = []
    ticket = _native.state_leases.begin(library, states)
    for i in range(cameras):
        state = library.states.take()
        states.append(state)
        *rest, background = (_row(t, i).data_ptr() for t in inputs)
        status = library.render(
            state,
            count,
            channels,
            *rest,
            width,
            height,
            near,
            eps2d,
            alpha_max,
            background,
            image[i].data_ptr(),
            alpha[i].data_ptr(),
            threads or _native.default_threads(),
        )
        if status:
            raise_status(status, dict(zip(_NAMES, inputs, strict=True)))
    return image, alpha, ticket


@render.register_fake
def _(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, width, height, *settings):
    cameras = max(len(t) for t in (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds))
    channels = _check_channels(colors, backgrounds)
    image, alpha = means.new_empty(cameras, height, width, channels), means.new_empty(cameras, height, width, 1)
    return image, alpha, means.new_empty(1, dtype=torch.int64)


@torch.library.custom_op("headsplat::rasterize_backward", mutates_args=(), device_types="cpu")
def render_backward(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    image: Tensor,
    alpha: Tensor,
    ticket: Tensor,
    v_image: Tensor,
    v_alpha: Tensor,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of means, quats, scales, opacities, colors and viewmats, from those of image and alpha.

    Those of the view matrices are C; the others have the shapes of their tensors, summed where cameras share them.
    """
    library, states = _native.state_leases.find(ticket)
    saved = [t.contiguous() for t in (means, quats, scales, opacities, colors, image, alpha, v_image, v_alpha)]
    gradients = [torch.empty_like(t) for t in saved[:5]]
    gradients.append(means.new_empty(len(states), 4, 4))
    # From the second camera on, gradients of what is shared are written here and then added.
    spare = [torch.empty_like(t) if len(t) < len(states) else t for t in gradients]
    for i, state in enumerate(states):
        shared = [len(t) < len(states) and i > 0 for t in gradients]
        targets = [s[0] if add else _row(t, i) for t, s, add in zip(gradients, spare, shared, strict=True)]
        status = library.render_backward(
            state,
            means.shape[1],
            colors.shape[-1],
            *(_row(t, i).data_ptr() for t in saved),
            *(t.data_ptr() for t in targets),
            threads or _native.default_threads(),
        )
        if status:
            raise_status(status, {})
        for total, more, add in zip(gradients, spare, shared, strict=True):
            if add:
                total += more
    return tuple(gradients)  # pyright: ignore[reportReturnType]


@render_backward.register_fake
def _(means, quats, scales, opacities, colors, image, alpha, ticket, v_image, v_alpha, threads):
    gradients = [t.new_empty(t.shape) for t in (means, quats, scales, opacities, colors)]
    return *gradients, means.new_empty(len(image), 4, 4)


def _setup_context(ctx, inputs, output) -> None:
    means, quats, scales, opacities, colors = inputs[:5]
    image, alpha, ticket = output
    ctx.save_for_backward(means, quats, scales, opacities, colors, image, alpha, ticket)
    ctx.mark_non_differentiable(ticket)
    ctx.shared_views, ctx.shared_backgrounds = len(inputs[5]) < len(image), len(inputs[7]) < len(image)
    ctx.threads = inputs[13]


def _backward(ctx, v_image, v_alpha, v_ticket):
    *saved, image, alpha, ticket = ctx.saved_tensors
    v_image = torch.zeros_like(image) if v_image is None else v_image
    v_alpha = torch.zeros_like(alpha) if v_alpha is None else v_alpha
    *gradients, v_viewmats = render_backward(*saved, image, alpha, ticket, v_image, v_alpha, ctx.threads)
    v_backgrounds = ((1 - alpha) * v_image).sum((1, 2)) if ctx.needs_input_grad[7] else None
    if ctx.shared_views:
        v_viewmats = v_viewmats.sum(0, keepdim=True)
    if ctx.shared_backgrounds and v_backgrounds is not None:
        v_backgrounds = v_backgrounds.sum(0, keepdim=True)
    return (*gradients, v_viewmats, None, v_backgrounds, *[None] * 7)


render.register_autograd(_backward, setup_context=_setup_context)


def _check_channels(colors: Tensor, backgrounds: Tensor) -> int:
    channels = colors.shape[-1]
    if channels < 1 or backgrounds.shape[-1] != channels:
        raise InputError(
            "rasterize cannot use `backgrounds`" if channels else "rasterize cannot use `colors`",
            expected=f"{max(channels, 1)} channels, as in colors" if channels else "one channel or more",
            found=f"shape {tuple(backgrounds.shape if channels else colors.shape)}",
        )
    return channels


def _row(tensor: Tensor, camera: int) -> Tensor:
    """What a camera has of a tensor that leads with the cameras, or with 1."""
    return tensor[camera if len(tensor) > 1 else 0]


def raise_status(status: int, tensors: dict[str, Tensor], *, op: str = "rasterize") -> None:
    """Raises what a call's status means; among `tensors` the one with a number that is not finite is named."""
    if status == _native.STATUS_OUT_OF_MEMORY:
        raise MemoryError("the rasteriser ran out of memory")
    if status == _native.STATUS_TOO_MANY:
        raise InputError(
            "the Gaussians cover too much of the image",
            expected="fewer than 2^31 pairs of a Gaussian and a 16x16 tile",
            found="more",
            fix="look for scales that have run away, or render fewer Gaussians or a smaller image",
        )
    refuse_not_finite(tensors, op=op)
    raise InputError(
        f"{op} cannot use these cameras or Gaussians", expected="numbers far from overflow", found="an overflow"
    )


def refuse_not_finite(tensors: dict[str, Tensor], *, op: str = "rasterize") -> None:
    """Raises InputError that names the first of these tensors to hold NaN or infinity; `rasterize`'s lead with C."""
    for name, tensor in tensors.items():
        bad = torch.nonzero(~torch.isfinite(tensor))
        if len(bad):
            where = bad[0].tolist()
            place = f"{where[1:]} of camera {where[0]}" if op == "rasterize" else str(where)
            raise InputError(
                f"{op} cannot use `{name}`",
                expected="finite numbers",
                found=f"{tensor[tuple(bad[0])].item()} at {place}, and {len(bad) - 1} more like it",
                fix="find the step that made it: a zero quaternion, a logarithm of zero, a learning rate too high",
            )
