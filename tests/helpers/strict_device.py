"""A device that is not there, to find code that forgets to move a tensor on machines without a GPU.

`StrictDevice` makes tensors on torch's "meta" device, which needs no driver, hold their values after all: every
operator runs on the CPU, once it is certain that its tensors lie where CUDA would ask for them. The fixture
`strict_device` draws on it with the CPU's rasteriser, called as gsplat is; a test that asks for `device` runs on it,
and on a GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from avatar.render import _gsplat, rasterization, rasterize, rigged

DEVICE = torch.device("meta")
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
JOINS = {torch.ops.aten.cat.default, torch.ops.aten.stack.default}
READS = {torch.ops.aten.index.Tensor}
WRITES = {torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default, torch.ops.aten._index_put_impl_.default}


class Held(Tensor):
    """A tensor that says it lies on the device, around the one that holds its values."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> Held:
        result = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        result.values = values
        return result

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:
        return f"Held({self.values!r})"

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        return run(operator, args, kwargs or {})


def run(operator: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """One operator, on the values; raises RuntimeError as CUDA would where its tensors are on two devices."""
    tensors = list(_tensors((*args, *kwargs.values())))
    held = [value for value in tensors if isinstance(value, Held)]
    # A single number may come from the CPU, but where tensors are joined.
    astray = [value for value in tensors if not isinstance(value, Held) and (value.ndim or operator in JOINS)]
    if any(value.device == DEVICE for value in tensors if not isinstance(value, Held)):
        raise RuntimeError(f"{operator}: a tensor was made in a way that this device does not follow")
    if operator in READS | WRITES:
        # Indices on the CPU will do for a tensor on the device.
        astray = [] if isinstance(args[0], Held) else astray and held
        if operator in WRITES and isinstance(args[0], Held) and not isinstance(args[2], Held) and args[2].ndim:
            astray = [args[2]]
    if held and astray and operator not in MOVES:
        raise RuntimeError(
            f"{operator}: expected all tensors on one device, found elsewhere {[tuple(t.shape) for t in astray]}"
        )
    wanted = kwargs.get("device")
    stays = isinstance(args[0], Held) if operator is torch.ops.aten.copy_.default else bool(held)
    stays = stays if wanted is None else torch.device(wanted) == DEVICE
    if wanted is not None and stays:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    named = {name: _each(_values, value) for name, value in kwargs.items()}
    result = operator(*_each(_values, args), **named)
    if held and torch.Tag.inplace_view in operator.tags:
        # What changes a tensor's shape in place has to change that of the one around it.
        with no_dispatch():
            operator(*args, **kwargs)
    # An operator in place returns the very tensor that it was given.
    given = {id(value.values): value for value in held}
    return _each(lambda value: _hold(value, given), result) if stays else result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """What `change` makes of a value, or of those in a list or tuple."""
    # torch's own trees would take most of a test's time.
    return type(value)(_each(change, part) for part in value) if isinstance(value, list | tuple) else change(value)


def _values(value: Any) -> Any:
    return value.values if isinstance(value, Held) else value


def _hold(value: Any, given: dict[int, Held]) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, Held):
        return value
    return given[id(value)] if id(value) in given else Held(value)


class _Factories(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return run(operator, args, kwargs or {})


class StrictDevice(TorchFunctionMode):
    """While it is active, tensors made on or moved to `DEVICE` hold their values and refuse others."""

    def __enter__(self):
        self._factories = _Factories()
        self._factories.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._factories.__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            # Of numbers, torch would make a tensor without values by itself.
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.new_tensor and isinstance(args[0], Held):
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(DEVICE)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            # So of the numbers of an index.
            args = (args[0], _index(args[1]), *args[2:])
        if function is Tensor.tolist:
            return function(_values(args[0].detach()))
        return function(*args, **kwargs)


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    return torch.as_tensor(index) if isinstance(index, list | np.ndarray) else index


def gsplat_on_the_cpu(
    means, quats, scales, opacities, colors, viewmats, Ks, *, width, height, near_plane, eps2d, backgrounds, **_
):
    """Stands in for `gsplat.rasterization`: scenes (S, N, ...) seen by cameras (S, C, ...)."""
    means, quats, scales, opacities = (value[:, None] for value in (means, quats, scales, opacities))
    colors = colors if colors.ndim == means.ndim else colors[:, None]
    settings: dict[str, Any] = {"near": near_plane, "eps2d": eps2d, "backend": "cpu", "threads": 1}
    drawn = rasterize(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, backgrounds=backgrounds, **settings
    )
    return drawn.image, drawn.alpha, {}


@pytest.fixture
def strict_device(monkeypatch):
    """The device, where it is drawn as on a GPU."""
    by_device = rasterization.choose_backend

    def choose(backend, tensor):
        return backend or ("gsplat" if tensor.device == DEVICE else by_device(backend, tensor))

    for module in (rasterization, rigged):
        monkeypatch.setattr(module, "choose_backend", choose)
    monkeypatch.setattr(_gsplat, "load_rasterization", lambda: gsplat_on_the_cpu)
    with StrictDevice():
        yield DEVICE


@pytest.fixture(params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The device that refuses tensors of the CPU, then a GPU."""
    if request.param == "strict":
        yield request.getfixturevalue("strict_device")
    elif not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    else:
        yield torch.device("cuda", torch.cuda.current_device())
