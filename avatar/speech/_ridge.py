"""Ridge regression on principal components of speech features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Components:
    """Principal components of a feature track.

    They are scaled by the first one's standard deviation and not whitened: the weak ones stay weak, so that the
    ridge shrinks them.

    Attributes:
        mean: (C,) of the features.
        deviation: (C,) standard deviation of the features.
        basis: (C, P) directions, scaled.
    """

    mean: Float[np.ndarray, " C"]
    deviation: Float[np.ndarray, " C"]
    basis: Float[np.ndarray, "C P"]

    def __call__(self, values: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N P"]:
        """The components of feature rows."""
        return ((values - self.mean) / self.deviation) @ self.basis


@dataclass(frozen=True)
class Linear:
    """A fitted linear map ``(x - mean) @ weight + bias``."""

    mean: Float[np.ndarray, " D"]
    weight: Float[np.ndarray, "D K"]
    bias: Float[np.ndarray, " K"]

    def __call__(self, values: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T K"]:
        """The map at T rows."""
        return (values - self.mean) @ self.weight + self.bias


def fit_components(values: Float[np.ndarray, "N C"], *, count: int) -> Components:
    """Principal components of z-scored features.

    Args:
        values: (N, C) features.
        count: How many to keep at most.
    """
    values = np.asarray(values, np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-6
    scored = (values - mean) / deviation
    variance, directions = np.linalg.eigh(scored.T @ scored / len(scored))
    basis = directions[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary; fixing it keeps stored models equal across linear-algebra libraries.
    basis = basis * np.where(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])] < 0, -1.0, 1.0)
    return Components(mean, deviation, basis / np.sqrt(max(variance[-1], 1e-12)))


def fit_ridge(inputs: Float[np.ndarray, "T D"], targets: Float[np.ndarray, "T K"], *, penalty: float) -> Linear:
    """Least squares with ``penalty`` times the squared weights per sample; means are not penalised."""
    mean, bias = inputs.mean(axis=0), targets.mean(axis=0)
    centred = inputs - mean
    gram = centred.T @ centred / len(centred) + penalty * np.eye(centred.shape[1])
    return Linear(mean, np.linalg.solve(gram, centred.T @ (targets - bias) / len(centred)), bias)
