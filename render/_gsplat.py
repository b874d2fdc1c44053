"""The CUDA backend: gsplat 1.5.3 (Ye et al. 2024) behind the conventions of `avatar.render.rasterize`."""

from __future__ import annotations

import functools
import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avatar.errors import BackendError, InputError

VERSION = "1.5.3"
# What gsplat's kernels have as constants.
ALPHA_MAX = 0.999
WARP = 32
LARGEST_INDEX = 2**31 - 1

_GAUSSIANS = {"means": 1, "quats": 1, "scales": 1, "opacities": 0}


@functools.cache
def load_rasterization() -> Callable[..., tuple[Tensor, Tensor, dict[str, Any]]]:
    """The function `gsplat.rasterization`; the first use on a machine compiles its kernels, which takes minutes.

    Nothing of gsplat is imported where torch sees no GPU, since its import of the kernels would start a build that
    fails there.

    Raises:
        BackendError: There is no GPU, gsplat is missing or of another version, or its kernels cannot be built.
    """
    if not torch.cuda.is_available():
        built = torch.version.cuda
        raise BackendError(
            "the gsplat backend cannot run on this machine",
            expected="an NVIDIA GPU that torch can use",
            found=f"torch {torch.__version__}, which sees none"
            if built
            else f"torch {torch.__version__}, which is built without CUDA",
            fix='stay on the CPU (no --device; CPU tensors and no backend="gsplat"), or '
            + ("look at the driver (nvidia-smi)" if built else "install a CUDA build of torch"),
        )
    try:
        with warnings.catch_warnings():
            # The build warns that it compiles for the cards it sees, which is what is wanted.
            warnings.simplefilter("ignore")
            gsplat = importlib.import_module("gsplat")
            kernels = importlib.import_module("gsplat.cuda._backend")._C
    except ImportError as error:
        raise BackendError(
            "the gsplat backend is not installed",
            expected=f"gsplat {VERSION}",
            found=str(error),
            fix="pip install 'headsplat[gpu]'",
        ) from error
    except (RuntimeError, OSError) as error:
        raise BackendError(
            "gsplat's CUDA kernels could not be built",
            expected="nvcc of the CUDA version that torch was built for, and a C++ compiler it accepts",
            found=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            fix=f"install the CUDA {torch.version.cuda} toolkit, or one of gsplat's prebuilt wheels",
        ) from error
    if gsplat.__version__.split("+")[0] != VERSION:
        raise BackendError(
            "the gsplat backend knows the conventions of one version of gsplat",
            expected=f"gsplat {VERSION}",
            found=f"gsplat {gsplat.__version__}",
            fix="pip install 'headsplat[gpu]'",
        )
    if kernels is None:
        raise BackendError(
            "gsplat has no CUDA kernels to run",
            expected="nvcc to compile them with, or a wheel that holds them",
            found="neither",
            fix=f"install the CUDA {torch.version.cuda} toolkit, or one of gsplat's prebuilt wheels",
        )
    return gsplat.rasterization


def render(
    tensors: dict[str, Tensor],
    batch: tuple[int, ...],
    width: int,
    height: int,
    *,
    near: float,
    eps2d: float,
    alpha_max: float,
) -> tuple[Tensor, Tensor]:
    """Renders a batch in one call: image (*batch, H, W, K) and alpha (*batch, H, W, 1), float32.

    Nothing here waits for the device; gsplat itself does once a call, to learn how many intersections there are.

    Args:
        tensors: What `rasterize` takes, by name, with leading dimensions that broadcast to `batch`.
        batch: The broadcast leading shape.
        width: Pixels.
        height: Pixels.
        near: Metres.
        eps2d: Square pixels.
        alpha_max: 0.999, which gsplat's kernels have as a constant.

    Raises:
        InputError: The batch has more numbers than the kernels can count.
        BackendError: `alpha_max` is another.
    """
    if alpha_max != ALPHA_MAX:
        raise BackendError(
            f"gsplat {VERSION} cannot clamp alpha elsewhere",
            expected=f"alpha_max {ALPHA_MAX}",
            found=f"alpha_max {alpha_max}",
            fix='leave it at its default, or pass backend="torch", which is slow',
        )
    rasterization = load_rasterization()
    count, channels = tensors["colors"].shape[-2:]
    images = math.prod(batch)
    if images * count == 0:
        # gsplat divides by the number of Gaussians.
        background = tensors["backgrounds"][..., None, None, :].expand(*batch, height, width, channels)
        return background.clone(), background.new_zeros(*batch, height, width, 1)
    if images * max(count, width * height) * channels > LARGEST_INDEX:
        raise InputError(
            "this batch is too large to render on the GPU at once",
            expected=f"at most {LARGEST_INDEX} numbers in the images, and in the colours of all images",
            found=f"{images} images of {width}x{height} pixels, {count} Gaussians and {channels} channels",
            fix="split the batch",
        )
    cameras = shared_dimensions([tensors[name].shape[: -1 - tail] for name, tail in _GAUSSIANS.items()], len(batch))
    outer, inner = batch[: len(batch) - cameras], batch[len(batch) - cameras :]
    scenes, views = math.prod(outer), math.prod(inner)

    arguments = {name: _flatten(tensors[name], 1 + tail, (outer,), cameras) for name, tail in _GAUSSIANS.items()}
    for name, trailing in (("viewmats", 2), ("Ks", 2), ("backgrounds", 1)):
        arguments[name] = _flatten(tensors[name], trailing, (outer, inner))
    per_view = shared_dimensions([tensors["colors"].shape[:-2]], cameras) < cameras
    colors = tensors["colors"]
    arguments["colors"] = _flatten(colors, 2, (outer, inner)) if per_view else _flatten(colors, 2, (outer,), cameras)
    if scenes > 1 and count % WARP and (count < WARP or (views == 1 and arguments["viewmats"].requires_grad)):
        arguments = _fill_warps(arguments)
    image, alpha, _ = rasterization(
        **arguments,
        width=width,
        height=height,
        near_plane=near,
        far_plane=math.inf,
        eps2d=eps2d,
        sh_degree=None,
        packed=False,
        rasterize_mode="classic",
    )
    return image.reshape(*batch, height, width, channels), alpha.reshape(*batch, height, width, 1)


def shared_dimensions(leading: Sequence[torch.Size], dimensions: int) -> int:
    """How many trailing ones of `dimensions` batch dimensions all of these leading shapes are the same along."""
    for i in range(1, dimensions + 1):
        if any(len(shape) >= i and shape[-i] != 1 for shape in leading):
            return i - 1
    return dimensions


def _flatten(tensor: Tensor, trailing: int, parts: Sequence[tuple[int, ...]], dropped: int = 0) -> Tensor:
    """Each part of the batch shape as one dimension, without the last `dropped`, which the tensor is the same along."""
    leading, rest = tensor.shape[: tensor.ndim - trailing], tensor.shape[tensor.ndim - trailing :]
    kept = tensor.reshape(*leading[: max(len(leading) - dropped, 0)], *rest)
    batch = [size for part in parts for size in part]
    return kept.expand(*batch, *rest).reshape(*(math.prod(part) for part in parts), *rest)


def _fill_warps(arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds Gaussians of no opacity until no warp of the projection's backward pass holds two scenes.

    That pass adds up gradients over the threads of a warp that have one Gaussian, or one camera, by their number within
    the scene alone, so a warp that straddles two scenes would give one the gradients of the other.
    """
    missing = -arguments["means"].shape[-2] % WARP
    padded = {name: F.pad(arguments[name], (0, 0, 0, missing)) for name in ("means", "quats", "scales", "colors")}
    return {**arguments, **padded, "opacities": F.pad(arguments["opacities"], (0, missing))}
