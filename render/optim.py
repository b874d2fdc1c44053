"""Adam with a fused step on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

from avatar.errors import InputError
from avatar.render import _native


class FusedAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) whose step is one pass over memory.

    It is a `torch.optim.Optimizer`: learning rates live in `param_groups` and may change between steps, and
    `state_dict` has the layout of `torch.optim.Adam`, so either can resume the other. On the CPU the step is our own;
    on CUDA it is torch's fused kernel, one call for all parameters of a group, without a wait for the device.
    Parameters that are not contiguous, and CPU parameters that are not float32 or for which the native library is
    missing, take the same step in plain torch.

    Args:
        groups: Parameters by name, each a group of its own; or what `torch.optim.Adam` takes.
        lr: Learning rate of the groups that do not give theirs.
        lrs: Learning rates by name; only with named parameters.
        betas: Decay of the running means of the gradient and of its square.
        eps: Added to the root of the mean square.
        threads: Threads of the fused step; all processors when None. The result does not depend on it.
    """

    def __init__(
        self,
        groups: Mapping[str, Tensor] | Iterable[Any],
        lr: float = 1e-3,
        *,
        lrs: Mapping[str, float] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-15,
        threads: int | None = None,
    ) -> None:
        rates = dict(lrs or {})
        if isinstance(groups, Mapping):
            unknown = sorted(rates.keys() - groups.keys())
            if unknown:
                raise InputError(
                    "learning rates were given for parameters that do not exist",
                    expected=f"names among {', '.join(groups)}",
                    found=", ".join(unknown),
                )
            groups = [{"params": [param], "name": name, "lr": rates.get(name, lr)} for name, param in groups.items()]
        elif rates:
            raise InputError("lrs needs named parameters", expected="a mapping of names to tensors", found="a list")
        self._threads = threads
        self._outer: dict[Tensor, tuple[Tensor, Tensor]] = {}
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})

    def group(self, name: str) -> dict[str, Any]:
        """The parameter group of that name, to change its learning rate."""
        for group in self.param_groups:
            if group.get("name") == name:
                return group
        names = ", ".join(str(group.get("name")) for group in self.param_groups)
        raise InputError("no such parameter group", expected=f"one of {names}", found=name)

    def set_outer_gradient(self, param: Tensor, rows: Float[Tensor, "*rows"], columns: Float[Tensor, " K"]) -> None:
        """Makes the next step take ``rows[..., None] * columns`` for the gradient of `param`.

        The product is never written, which saves two passes over memory where the parameter is large. A gradient that
        autograd leaves in ``param.grad`` comes on top.

        Args:
            param: (*rows, K), one of the optimiser's parameters.
            rows: Gradient of a weighted sum over the last dimension of `param`.
            columns: The weights of that sum.
        """
        if param.shape != (*rows.shape, *columns.shape):
            raise InputError(
                "the outer gradient does not fit its parameter",
                expected=f"rows and columns whose product has shape {tuple(param.shape)}",
                found=f"rows {tuple(rows.shape)} and columns {tuple(columns.shape)}",
            )
        self._outer[param] = (rows.detach(), columns.detach())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients, outer ones too."""
        self._outer.clear()
        super().zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            on_device = []
            for param in group["params"]:
                if param.grad is None and param not in self._outer:
                    continue
                state = self._state_of(param)
                if self._step_outer(param, group):
                    continue
                assert param.grad is not None
                if _can_share_a_call(param, param.grad, *_moments(state)):
                    on_device.append(param)
                else:
                    self._step_param(param, param.grad, group)
            if on_device:
                step_in_one_call(on_device, [self.state[param] for param in on_device], group)
        return loss

    def _state_of(self, param: Tensor) -> dict[str, Tensor]:
        """The parameter's state, made at its first step; the step count lies beside a CUDA parameter."""
        state = self.state[param]
        device = param.device if param.is_cuda else torch.device("cpu")
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        elif state["step"].device != device:
            state["step"] = state["step"].to(device)
        return state

    def _step_outer(self, param: Tensor, group: dict[str, Any]) -> bool:
        """Takes the step of an outer gradient; where that has no fused step it is written out, and False returned."""
        outer = self._outer.get(param)
        if outer is None:
            return False
        rows, columns = outer
        if param.grad is None and all(_is_plain(t) for t in (param, rows, columns, *_moments(self.state[param]))):
            settings = self._count_step(param, group)
            mean, square = (t.data_ptr() for t in _moments(self.state[param]))
            arrays = (param.data_ptr(), rows.data_ptr(), columns.data_ptr(), len(columns), mean, square, param.numel())
            _native.load_library().adam_outer(*arrays, *settings, self._threads or _native.default_threads())
            torch.autograd.graph.increment_version(param)
            return True
        product = rows[..., None] * columns
        param.grad = product if param.grad is None else param.grad + product
        del self._outer[param]
        return False

    def _count_step(self, param: Tensor, group: dict[str, Any]) -> tuple[float, ...]:
        """Counts a step of the parameter; returns what the native kernel wants to know of it."""
        state = self.state[param]
        state["step"] += 1
        steps, (beta1, beta2) = float(state["step"]), group["betas"]
        corrections = (1 - beta1**steps, 1 - beta2**steps)
        return group["lr"], beta2, group["eps"], 1 - beta1, 1 - beta2, *corrections

    def _step_param(self, param: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        settings = self._count_step(param, group)
        mean, square = _moments(self.state[param])
        if all(_is_plain(t) for t in (param, gradient, mean, square)):
            arrays = (t.data_ptr() for t in (param, gradient, mean, square))
            threads = self._threads or _native.default_threads()
            _native.load_library().adam(*arrays, param.numel(), *settings, threads)
            torch.autograd.graph.increment_version(param)
        else:
            lr, beta2, eps, gain1, gain2, correction1, correction2 = settings
            mean.lerp_(gradient, gain1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=gain2)
            scale = (square.sqrt() / correction2**0.5).add_(eps)
            param.addcdiv_(mean, scale, value=-lr / correction1)


def step_in_one_call(params: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """One step of a group by torch's fused kernel, which counts the steps on the device."""
    beta1, beta2 = group["betas"]
    adam(
        params,
        [param.grad for param in params if param.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=0,
        eps=group["eps"],
        maximize=False,
    )


def _can_share_a_call(*tensors: Tensor) -> bool:
    return all(tensor.is_cuda and tensor.is_contiguous() for tensor in tensors)


def _moments(state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return state["exp_avg"], state["exp_avg_sq"]


def _is_plain(tensor: Tensor) -> bool:
    return (
        _native.is_installed()
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
        and tensor.is_contiguous()
    )
