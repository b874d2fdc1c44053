"""Whether training is still sound: a step that is not finite stops it, and says which term of the objective did it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from avatar.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jaxtyping import Float
    from torch import Tensor


def is_sound(loss: Float[Tensor, ""], gradients: Iterable[Tensor | None]) -> bool:
    """Whether a loss and all its gradients are finite.

    A sum is finite only where every summand is, and costs one pass over memory; sums of finite gradients do not
    overflow at any size that training could have.
    """
    sums = [gradient.detach().sum() for gradient in gradients if gradient is not None]
    return bool(torch.stack([loss.detach(), *sums]).sum().isfinite())


def require_sound(
    step: int,
    frame: int,
    loss: Float[Tensor, ""],
    parameters: Mapping[str, Tensor],
    terms: Callable[[], Mapping[str, Tensor]],
) -> None:
    """Raises TrainingError where a step is not finite, before the optimiser takes it.

    Args:
        step: Number of the step, from 0.
        frame: Row of the take that it looks at.
        loss: What it minimises.
        parameters: What `terms` depends on, by name; those with a gradient are looked at.
        terms: Works the summands of the loss out anew, by name; called only to say what went wrong.
    """
    if is_sound(loss, (parameter.grad for parameter in parameters.values())):
        return
    raise TrainingError(
        f"Training stopped at step {step + 1}, frame {frame} of the take",
        expected="a finite loss with finite gradients",
        found="; ".join(_findings(parameters, terms())) or "a sum of terms that is not finite",
        fix="the last checkpoint is kept, and the same command goes on from there; if it stops here again, look at "
        "that frame's picture and tracking (tracking.mp4 in the take), or use another preset",
    )


def require_finite(step: int, parameters: Mapping[str, Tensor]) -> None:
    """Raises TrainingError where a parameter is not finite, so that no checkpoint ever holds one."""
    broken = [name for name, value in parameters.items() if not value.detach().sum().isfinite()]
    if broken:
        raise TrainingError(
            f"Training stopped after step {step}",
            expected="finite parameters",
            found="values that are not finite in " + ", ".join(broken),
            fix="the last checkpoint is kept, and the same command goes on from there; if it stops here again, use "
            "another preset",
        )


def _findings(parameters: Mapping[str, Tensor], terms: Mapping[str, Tensor]) -> list[str]:
    """The terms that are not finite, and the finite ones whose gradient is not, with what it is a gradient of."""
    found = []
    leaves = {name: value for name, value in parameters.items() if value.requires_grad}
    for name, term in terms.items():
        if not term.detach().isfinite():
            found.append(f"the term {name} is {float(term.detach())}")
        elif term.requires_grad:
            slopes = torch.autograd.grad(term, list(leaves.values()), retain_graph=True, allow_unused=True)
            broken = [
                of for of, slope in zip(leaves, slopes, strict=True) if slope is not None and not slope.isfinite().all()
            ]
            if broken:
                found.append(f"the gradient of the term {name} by {', '.join(broken)} is not finite")
    return found
