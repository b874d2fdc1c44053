"""Adam with a fused step on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import InputError
from avatar.render import _native


class FusedAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) whose step is one pass over memory on the CPU.

    It is a `torch.optim.Optimizer`: learning rates live in `param_groups` and may change between steps, and
    `state_dict` has the layout of `torch.optim.Adam`, so either can resume the other. Parameters that are not
    contiguous float32 CPU tensors take the same step in torch.

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
            for param in group["params"]:
                outer = self._outer.get(param)
                if param.grad is not None or outer is not None:
                    self._step_param(param, param.grad, outer, group)
        return loss

    def _step_param(
        self, param: Tensor, gradient: Tensor | None, outer: tuple[Tensor, Tensor] | None, group: dict[str, Any]
    ) -> None:
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["step"] += 1
        steps, (beta1, beta2) = float(state["step"]), group["betas"]
        correction1, correction2 = 1 - beta1**steps, 1 - beta2**steps
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        settings = (group["lr"], beta2, group["eps"], 1 - beta1, 1 - beta2, correction1, correction2)
        threads = self._threads or _native.default_threads()
        if gradient is None and outer and all(_is_plain(t) for t in (param, *outer, mean, square)):
            rows, columns = (t.data_ptr() for t in outer)
            moments = (mean.data_ptr(), square.data_ptr(), param.numel())
            library = _native.load_library()
            library.adam_outer(param.data_ptr(), rows, columns, len(outer[1]), *moments, *settings, threads)
            torch.autograd.graph.increment_version(param)
            return
        if outer is not None:
            product = outer[0][..., None] * outer[1]
            gradient = product if gradient is None else gradient + product
        assert gradient is not None
        if all(_is_plain(t) for t in (param, gradient, mean, square)):
            arrays = (t.data_ptr() for t in (param, gradient, mean, square))
            _native.load_library().adam(*arrays, param.numel(), *settings, threads)
            torch.autograd.graph.increment_version(param)
        else:
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scale = (square.sqrt() / correction2**0.5).add_(group["eps"])
            param.addcdiv_(mean, scale, value=-group["lr"] / correction1)


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
        and tensor.is_contiguous()
    )
