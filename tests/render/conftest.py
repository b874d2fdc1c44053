"""Scenes for the rasteriser's tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor

from avatar.render import _native


@dataclass(frozen=True)
class Scene:
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor

    def to(self, dtype: torch.dtype) -> Scene:
        return Scene(**{f.name: getattr(self, f.name).to(dtype) for f in fields(self)})

    def leaves(self) -> list[Tensor]:
        """Fresh leaves of all tensors but Ks, in the order of rasterize's arguments."""
        return [getattr(self, f.name).detach().clone().requires_grad_() for f in fields(self)[:6]]


def make_random_scene(count: int, width: int, height: int, *, seed: int = 0) -> Scene:
    """Gaussians of 1 to 9 pixels across the whole image and a little beyond it, about a metre from a turned camera."""
    g = torch.Generator().manual_seed(seed)
    focal = 1.1 * max(width, height)
    half = torch.tensor([0.6 * width / focal, 0.6 * height / focal, 0.2])
    angle = torch.tensor(0.2)
    viewmat = torch.eye(4)
    viewmat[0, 0] = viewmat[2, 2] = angle.cos()
    viewmat[0, 2], viewmat[2, 0] = angle.sin(), -angle.sin()
    viewmat[2, 3] = 1.0
    stretch = torch.exp(-torch.rand(count, 3, generator=g) * 1.5)
    return Scene(
        means=(torch.rand(count, 3, generator=g) * 2 - 1) * half,
        quats=torch.randn(count, 4, generator=g),
        scales=(torch.rand(count, 1, generator=g) * 3 + 0.5) / focal * stretch,
        opacities=torch.rand(count, generator=g) * 0.85 + 0.1,
        colors=torch.rand(count, 3, generator=g) * 1.5 - 0.25,
        viewmats=viewmat,
        Ks=torch.tensor([[focal, 0, width / 2 + 0.7], [0, focal * 1.05, height / 2 - 0.4], [0, 0, 1]]),
    )


def make_front_scene(count: int = 1, size: int = 32, **changes) -> Scene:
    """Gaussians one metre in front of an unturned camera; `changes` replaces tensors."""
    scene = Scene(
        means=torch.tensor([0.0, 0.0, 1.0]).repeat(count, 1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        scales=torch.full((count, 3), 3.0 / size),
        opacities=torch.full((count,), 0.7),
        colors=torch.tensor([0.9, 0.5, 0.1]).repeat(count, 1),
        viewmats=torch.eye(4),
        Ks=torch.tensor([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]]),
    )
    return replace(scene, **{name: torch.as_tensor(value, dtype=torch.float32) for name, value in changes.items()})


@pytest.fixture
def random_scene():
    """The function `make_random_scene`."""
    return make_random_scene


@pytest.fixture
def front_scene():
    """The function `make_front_scene`."""
    return make_front_scene


@pytest.fixture(params=_native.available_isas())
def isa(request) -> str:
    """Each instruction set this machine runs."""
    return request.param


@pytest.fixture
def cuda() -> torch.device:
    """The GPU; skips with the reason where torch sees none."""
    if not torch.cuda.is_available():
        pytest.skip(f"needs an NVIDIA GPU, and torch {torch.__version__} sees none")
    return torch.device("cuda")


@pytest.fixture
def refuse_waits(cuda) -> Callable[[], AbstractContextManager[None]]:
    """A context in which torch refuses operations that wait for the GPU."""

    @contextmanager
    def refuse():
        with warnings.catch_warnings():
            # Setting the mode warns that it is a prototype.
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return refuse


@pytest.fixture(autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
