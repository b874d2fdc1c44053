"""Values over time: a number that always holds, or keys with straight lines between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.config import read_json
from avatar.errors import FormatError, InputError

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.motion import Motion

# A number, or (seconds, value) pairs.
Curve = float | Sequence[Sequence[float]]


def seconds_of(motion: Motion) -> Float[np.ndarray, " T"]:
    """(T,) seconds from the motion's first moment on: the time that all curves and keys are in."""
    return np.asarray(motion.time, np.float64) - (motion.time[0] if len(motion) else 0.0)


def curve_values(curve: Curve, seconds: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """(T,) values of a curve at some moments: linear between its keys, held before the first and after the last.

    Raises:
        InputError: It is neither a finite number nor pairs of finite numbers whose times increase.
    """
    keys: np.ndarray
    try:
        keys = np.array(curve, np.float64)
    except (TypeError, ValueError):
        keys = np.full(3, np.nan)
    if keys.ndim == 0 and np.isfinite(keys):
        return np.full(len(seconds), float(keys))
    if keys.ndim == 2 and keys.shape[1] == 2 and len(keys) and np.isfinite(keys).all() and _increases(keys[:, 0]):
        return np.interp(seconds, keys[:, 0], keys[:, 1])
    raise InputError(
        "A curve cannot be used",
        expected="a number, or pairs such as [[0, 0], [1.5, 1]] of increasing seconds and a value",
        found=_short(curve),
    )


def read_curves(path: Path) -> dict[str, Curve]:
    """Curves by name from JSON such as ``{"happy": [[0, 0], [2, 1]], "calm": 0.5}``.

    Raises:
        FormatError: It is something else.
    """
    try:
        content: dict[str, Any] = read_json(path, dict)
    except FormatError as error:
        raise refusal(path, error.found) from error
    for name, curve in content.items():
        try:
            curve_values(curve, np.zeros(1))
        except InputError as error:
            raise refusal(path, f"{name}: {error.found}") from error
    return content


def refusal(path: Path, found: str) -> FormatError:
    """The error of a file that should hold curves."""
    return FormatError(
        f"{path} cannot be read",
        expected='JSON such as {"happy": [[0, 0], [2, 1]], "calm": 0.5}',
        found=found,
        fix="docs/editing.md shows the format",
    )


def _increases(times: np.ndarray) -> bool:
    return bool((np.diff(times) > 0).all())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
