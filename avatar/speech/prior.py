"""What any voice says of the mouth: a small net learned once from synthetic voices whose phones have exact times.

`python -m avatar.speech.build` makes the shipped file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from avatar.assets import asset
from avatar.heads.arkit import ARKIT_NAMES
from avatar.speech._net import SpeechNet
from avatar.speech._regressor import FeatureStatistics
from avatar.speech.features import LOG_MEL, MODEL, RATE

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

# The shipped priors by the features they read, the best first.
ASSETS = {MODEL: "speech_prior.npz", LOG_MEL: "speech_prior_log_mel.npz"}
# What the net says beside the actions: lips closed (p, b, m), lip on teeth (f, v), silence.
SOUNDS = ("closed", "lip_teeth", "silence")


class PriorReading(NamedTuple):
    """What the prior reads from N rows of features.

    Attributes:
        weights: (N, 52) ARKit coefficients of the mouth, 0 to 1.
        closed: (N,) probability of p, b or m.
        lip_teeth: (N,) the net's word on f or v, 0 to 1, which is no probability.
    """

    weights: Float[np.ndarray, "N 52"]
    closed: Float[np.ndarray, " N"]
    lip_teeth: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class SpeechPrior:
    """The net and what it expects.

    Attributes:
        feature_model: Which features it was learned on.
        statistics: Of all its voices together.
        actions: The ARKit names it predicts.
        scale: What one unit of its outputs is of a coefficient.
        net: The net.
        certainty: (2, Q) what the net says of closed lips, and how often it is so. Its outputs are bounded, so that the
            surest it ever is, 0.8, is nearly always right, and half as much seldom.
    """

    feature_model: str
    statistics: FeatureStatistics
    actions: tuple[str, ...]
    scale: float
    net: SpeechNet
    certainty: Float[np.ndarray, "2 Q"] = field(default_factory=lambda: np.array([[0.0, 1.0], [0.0, 1.0]]))

    @property
    def feature_rate(self) -> float:
        """Rows of its features a second."""
        return RATE

    def __call__(
        self, values: Float[np.ndarray, "N C"], *, statistics: FeatureStatistics | None = None
    ) -> PriorReading:
        """Reads features.

        Args:
            values: (N, C) rows of `feature_model`.
            statistics: Of the recording they are from; those of its own voices when None.
        """
        normal = (statistics or self.statistics).normalise(values)
        with torch.inference_mode():
            output = self.net(torch.from_numpy(normal)[None])[0].numpy().astype(np.float64)
        weights = np.zeros((len(values), len(ARKIT_NAMES)))
        weights[:, [ARKIT_NAMES.index(name) for name in self.actions]] = output[:, : len(self.actions)] * self.scale
        said = 1 / (1 + np.exp(-output[:, len(self.actions) :]))
        closed, lip_teeth = (said[:, SOUNDS.index(name)] for name in ("closed", "lip_teeth"))
        return PriorReading(weights.clip(0, 1), np.interp(closed, *self.certainty), lip_teeth)

    def whole(self, values: Float[np.ndarray, "N C"]) -> PriorReading:
        """Reads all features of a recording, by their own statistics."""
        return self(values, statistics=FeatureStatistics.of(values, prior=self.statistics))

    def save(self, path: Path) -> None:
        """Writes it in half precision."""
        tensors = {f"net.{name}": value.half().numpy() for name, value in self.net.state_dict().items()}
        np.savez_compressed(
            path,
            mean=self.statistics.mean.astype(np.float32),
            deviation=self.statistics.deviation.astype(np.float32),
            actions=np.array(self.actions),
            scale=np.array(self.scale, np.float32),
            feature_model=np.array(self.feature_model),
            certainty=self.certainty.astype(np.float32),
            **tensors,  # pyright: ignore[reportArgumentType]
        )

    @classmethod
    def load(cls, path: Path) -> SpeechPrior:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        actions = tuple(map(str, arrays["actions"]))
        statistics = FeatureStatistics(arrays["mean"].astype(np.float64), arrays["deviation"].astype(np.float64))
        net = SpeechNet(len(statistics.mean), len(actions) + len(SOUNDS))
        state = {name[4:]: torch.from_numpy(value).float() for name, value in arrays.items() if name.startswith("net.")}
        net.load_state_dict(state)
        net.eval().requires_grad_(False)
        return cls(
            str(arrays["feature_model"]),
            statistics,
            actions,
            float(arrays["scale"]),
            net,
            arrays["certainty"].astype(np.float64),
        )


@lru_cache(maxsize=len(ASSETS))
def load_prior(feature_model: str | None = None) -> SpeechPrior | None:
    """The shipped prior that reads some features, None where there is none; the best one of all when none is named."""
    name = ASSETS.get(feature_model or MODEL)
    return None if name is None else SpeechPrior.load(asset(name))
