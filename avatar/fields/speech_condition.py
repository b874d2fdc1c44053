"""What residuals hear: a few standardised numbers of the sound that the motion does not tell already."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from avatar.errors import InputError
from avatar.fields.condition import LIMIT
from avatar.speech._ridge import fit_components, fit_ridge
from avatar.speech._sampling import taps

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.fields.condition import MotionCondition
    from avatar.speech.features import SpeechFeatures

# Seconds around a moment whose sound counts: a consonant shows before it sounds, and the mouth after it.
TAPS = (-0.08, -0.04, 0.0, 0.04, 0.08)
HEARD, PENALTY = 32, 0.1
SMALLEST_DEVIATION = 1e-3


class SpeechCondition(nn.Module):
    """Components of the sound around a moment, less what the components of the motion say of them.

    The speech features at `TAPS` are predicted from the motion's components by ridge regression over the take; the
    leading principal components of what remains are the condition, in units of their deviation. All of it is one
    linear map of features and motion.

    Args:
        weights: (len(TAPS) * C, D) from the features at all taps, tap by tap.
        motion: (M, D) from the motion's features; takes away what its components tell.
        bias: (D,) added to both.
        feature_model: Which network and layer the features come from.
        feature_rate: Their rows a second.
    """

    weights: Tensor
    motion: Tensor
    bias: Tensor

    def __init__(
        self,
        weights: Float[Tensor, "X D"],
        motion: Float[Tensor, "M D"],
        bias: Float[Tensor, " D"],
        *,
        feature_model: str,
        feature_rate: float,
    ) -> None:
        super().__init__()
        for name, value in (("weights", weights), ("motion", motion), ("bias", bias)):
            self.register_buffer(name, value)
        self.feature_model, self.feature_rate = feature_model, feature_rate

    @classmethod
    def fit(
        cls,
        features: SpeechFeatures,
        times: Float[np.ndarray, " T"],
        moved: Float[np.ndarray, "T M"],
        condition: MotionCondition,
        components: int,
    ) -> SpeechCondition:
        """The condition of a take.

        Args:
            features: Of the take's sound.
            times: (T,) seconds of the training frames in the sound's own time.
            moved: (T, M) the motion's features at these frames.
            condition: Their components.
            components: How many to keep.
        """
        mean, basis = (value.cpu().double().numpy() for value in (condition.mean, condition.basis))
        spoken = features.values[_rows_of(features, times)]
        heard = fit_components(spoken, count=min(HEARD, *spoken.shape))
        around = taps(heard(features.values.astype(np.float64)), features.rate, time=times, offsets=TAPS)
        told = fit_ridge((moved - mean) @ basis, around, penalty=PENALTY)
        rest = around - told((moved - mean) @ basis)
        _, singular, directions = np.linalg.svd(rest, full_matrices=False)
        kept = directions[:components].T
        # An eigenvector's sign is arbitrary; fixing it keeps avatars equal across linear-algebra libraries.
        kept = kept * np.where(kept[np.abs(kept).argmax(0), np.arange(kept.shape[1])] < 0, -1.0, 1.0)
        kept = kept / np.maximum(singular[:components] / np.sqrt(len(rest)), SMALLEST_DEVIATION)
        each = heard.basis / heard.deviation[:, None]
        per_tap = np.stack([each @ block for block in np.split(kept, len(TAPS))])
        motion = -basis @ told.weight @ kept
        bias = (told.mean @ told.weight - told.bias) @ kept - mean @ motion
        bias = bias - sum(heard.mean @ block for block in per_tap)
        arrays = (per_tap.reshape(-1, kept.shape[1]), motion, bias)
        tensors = (torch.tensor(array, dtype=torch.float32) for array in arrays)
        return cls(*tensors, feature_model=features.model, feature_rate=features.rate)

    @property
    def id(self) -> str:
        """Tells these components from those of any other avatar."""
        content = b"".join(getattr(self, n).cpu().numpy().tobytes() for n in ("weights", "motion", "bias"))
        return hashlib.sha256(f"{self.feature_model} {self.feature_rate}".encode() + content).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.bias)

    def forward(
        self,
        features: SpeechFeatures,
        times: Float[np.ndarray, " T"],
        moved: Float[np.ndarray, "T M"],
        activity: Float[np.ndarray, " M"] | None = None,
    ) -> Float[np.ndarray, "T D"]:
        """The components at moments of a sound, held within three deviations; zero before its start and after its end.

        Args:
            features: Of the sound.
            times: (T,) seconds in the sound's own time.
            moved: (T, M) the motion's features at these moments.
            activity: (M,) weight of speech over silence every 10 ms, which the components are multiplied by.

        Raises:
            InputError: The features are of another network, layer or rate.
        """
        if (features.model, features.rate) != (self.feature_model, self.feature_rate):
            raise InputError(
                "The speech features do not fit this avatar",
                expected=f"{self.feature_model} at {self.feature_rate:g} Hz",
                found=f"{features.model} at {features.rate:g} Hz",
                fix="compute the features anew, or train the avatar again",
            )
        if not len(features.values):
            return np.zeros((len(times), len(self)), np.float32)
        around = taps(features.values.astype(np.float32), features.rate, time=times, offsets=TAPS)
        weights, motion, bias = (getattr(self, n).cpu().numpy() for n in ("weights", "motion", "bias"))
        values = (around @ weights + moved @ motion + bias).clip(-LIMIT, LIMIT)
        inside = (times >= 0) & (times <= len(features.values) / features.rate)
        if activity is not None:
            inside = inside * np.interp(times, np.arange(len(activity)) / 100, activity)
        return (values * inside[:, None]).astype(np.float32)


def _rows_of(features: SpeechFeatures, times: Float[np.ndarray, " T"]) -> slice:
    """The feature rows from the first to the last of some moments."""
    first, last = (int(np.clip(round(t * features.rate), 0, len(features.values) - 1)) for t in times[[0, -1]])
    return slice(first, last + 1)
