"""Speech to motion for one person: predicts the mouth from speech features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import FormatError
from avatar.speech._calibration import Calibration
from avatar.speech._regressor import FeatureStatistics, Regressor
from avatar.speech._ridge import Components, Linear
from avatar.speech._space import MouthSpace
from avatar.speech.prior import load_prior
from avatar.speech.speaker import STATED, Speaker, require_format

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

FORMAT = 1
GROUPS = {
    "statistics": FeatureStatistics,
    "components": Components,
    "linear": Linear,
    "space": MouthSpace,
    "calibration": Calibration,
}


@dataclass(frozen=True)
class SpeechModel(Speaker):
    """One person's speech model; pose, lids and upper face are those of the take.

    Attributes:
        regressor: Features to normalised targets.
        calibration: Restores the take's own variance and closures.
        space: Normalised targets to expression and jaw.
    """

    regressor: Regressor
    calibration: Calibration
    space: MouthSpace

    @property
    def feature_width(self) -> int:
        """Channels of the features it reads."""
        return len(self.regressor.statistics.mean)

    @property
    def resting(self) -> Float[np.ndarray, " J"]:
        """The take's closed mouth."""
        return self.space.rest

    def rows(
        self, values: Float[np.ndarray, "N C"], time: Float[np.ndarray, " T"], opening: Float[np.ndarray, "M C"]
    ) -> Float[np.ndarray, "T J"]:
        """Calibrated targets at ``time`` seconds of a feature track; the lips close where the prior hears p, b or m."""
        statistics = FeatureStatistics.of(opening, prior=self.regressor.statistics)
        rate, prior = self.feature_rate, load_prior(self.feature_model)
        if prior is None:
            return self.space.within(self.calibration(self.regressor(values, rate, time=time, statistics=statistics)))
        read = prior(values, statistics=FeatureStatistics.of(opening, prior=prior.statistics))
        shapes = read.weights / prior.scale
        targets = self.calibration(self.regressor(values, rate, time=time, statistics=statistics, prior=shapes))
        # Squared: there are ten vowels to a bilabial, so a half-sure closure costs more than it gives.
        share = np.interp(time, np.arange(len(read.closed)) / rate, read.closed) ** 2
        return self.closed(self.space.within(targets), share)

    def closed(self, rows: Float[np.ndarray, "T J"], share: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T J"]:
        """Targets whose opening is drawn to rest by ``share``, 0 to 1."""
        rows = rows.copy()
        rows[:, 0] -= share * np.maximum(rows[:, 0] - self.space.rest[0], 0)
        return rows

    def decode(self, rows: Float[np.ndarray, "T J"]) -> Float[np.ndarray, "T D"]:
        """(T, E + 3) expression and jaw of targets, within the take's own range."""
        return self.space.decode(rows)

    def settings(self) -> dict[str, Any]:
        """What is not a tensor, as plain values for JSON."""
        return {
            "format": FORMAT,
            "head_id": self.head_id,
            "head_hash": self.head_hash,
            "feature_model": self.feature_model,
            "feature_rate": self.feature_rate,
            "nets": len(self.regressor.nets),
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything else as a flat dict of float32 tensors; the nets and the components in half precision.

        Half precision changes the mouth by a ten-thousandth of its motion and takes 0.4 MB less of every avatar.
        """
        import torch

        groups = {
            "statistics": self.regressor.statistics,
            "components": self.regressor.components,
            "linear": self.regressor.linear,
            "space": self.space,
            "calibration": self.calibration,
        }
        arrays = {f"{name}.{f.name}": getattr(group, f.name) for name, group in groups.items() for f in fields(group)}
        arrays |= {name: getattr(self, name) for name in ("pose", "eyelids", "upper", "betas")}
        heard = self.regressor.heard
        if heard is not None:
            arrays |= {f"heard.{f.name}": getattr(heard, f.name) for f in fields(heard)}
            arrays["heard.share"] = self.regressor.share
        tensors = {name: torch.tensor(np.asarray(value), dtype=torch.float32) for name, value in arrays.items()}
        for index, net in enumerate(self.regressor.nets):
            tensors |= {f"net{index}.{name}": value.half() for name, value in net.state_dict().items()}
        tensors["components.basis"] = tensors["components.basis"].half()
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], settings: dict[str, Any]) -> SpeechModel:
        """The model of `to_tensors` and `settings`.

        Raises:
            FormatError: Something is missing, of another format, or of shapes that do not fit.
        """
        from avatar.speech._net import SpeechNet

        require_format(settings, FORMAT)
        try:
            arrays = {name: tensor.double().numpy() for name, tensor in tensors.items() if not name.startswith("net")}
            built = {
                name: kind(**{f.name: arrays[f"{name}.{f.name}"] for f in fields(kind) if f"{name}.{f.name}" in arrays})
                for name, kind in GROUPS.items()
            }
            width, outputs = len(built["statistics"].mean), len(built["space"].rest)
            nets = []
            for index in range(settings["nets"]):
                prefix = f"net{index}."
                net = SpeechNet(width, outputs)
                net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
                nets.append(net.eval().requires_grad_(False))
            space, calibration = built.pop("space"), built.pop("calibration")
            return cls(
                regressor=Regressor(**built, nets=tuple(nets), **_heard(arrays)),
                calibration=calibration,
                space=space,
                **{name: arrays[name] for name in ("pose", "eyelids", "upper", "betas")},
                **{name: settings[name] for name in STATED},
            )
        except (KeyError, RuntimeError, TypeError) as error:
            raise FormatError(
                "The speech model cannot be read", expected="its tensors, complete and of one size", found=str(error)
            ) from error


def _heard(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The prior's part of a stored regressor; models from before there was one have none."""
    if "heard.share" not in arrays:
        return {}
    linear = Linear(**{each.name: arrays[f"heard.{each.name}"] for each in fields(Linear)})
    return {"heard": linear, "share": arrays["heard.share"]}
