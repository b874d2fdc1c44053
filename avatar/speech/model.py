"""Speech to motion for one person: predicts the mouth from speech features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import FormatError, InputError
from avatar.io.sound import StoredSound
from avatar.motion import Motion
from avatar.speech._calibration import Calibration
from avatar.speech._regressor import CONTEXT_ROWS, FeatureStatistics, Regressor
from avatar.speech._ridge import Components, Linear
from avatar.speech._space import MouthSpace
from avatar.speech.features import SAMPLE_RATE, SpeechFeatures, speech_features
from avatar.speech.prior import load_prior
from avatar.speech.silence import loudness, speech_activity

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

FORMAT = 1
# Sound is worked on in stretches, so that memory does not grow with its length; context on either side hides the seams.
STRETCH_SECONDS, CONTEXT_SECONDS = 60, 3
# Statistics of a recording come from its first minute.
STATISTICS_SECONDS = 60
GROUPS = {
    "statistics": FeatureStatistics,
    "components": Components,
    "linear": Linear,
    "space": MouthSpace,
    "calibration": Calibration,
}


@dataclass(frozen=True)
class SpeechModel:
    """One person's speech model.

    Attributes:
        regressor: Features to normalised targets.
        calibration: Restores the take's own variance and closures.
        space: Normalised targets to expression and jaw.
        pose: (6, 3) the take's mean root, neck, jaw, left eye, right eye (axis-angle) and translation.
        eyelids: (2,) the take's open lids.
        upper: (E,) the take's mean expression outside speech: brows, lids, nose.
        betas: (S,) identity.
        head_id: Head model of the coefficients.
        head_hash: Its content hash.
        feature_model: Which features the model was fitted on.
        feature_rate: Their rows a second.
    """

    regressor: Regressor
    calibration: Calibration
    space: MouthSpace
    pose: Float[np.ndarray, "6 3"]
    eyelids: Float[np.ndarray, " 2"]
    upper: Float[np.ndarray, " E"]
    betas: Float[np.ndarray, " S"]
    head_id: str
    head_hash: str
    feature_model: str
    feature_rate: float

    def predict(
        self,
        sound: Float[np.ndarray, " N"] | StoredSound | SpeechFeatures,
        *,
        fps: float,
        activity: Float[np.ndarray, " M"] | None = None,
        closures: Float[np.ndarray, " P"] | None = None,
    ) -> Motion:
        """The motion that says a sound: mouth and jaw from speech, all else at the take's mean.

        In silence the mouth comes to rest closed, within 200 ms, and leaves rest 120 ms before speech.

        Args:
            sound: Mono samples at 16 kHz, any length from 20 ms, or the same on disk; or features of them.
            fps: Frames a second of the motion; any positive number.
            activity: (M,) weight of speech over rest every 10 ms. Found in samples when left out; with features alone
                nothing tells silence, and all is taken for speech.
            closures: (P,) how far the lips are known to be closed every 10 ms, 0 to 1, where a voice tells its phones.

        Returns:
            A motion of ``round(seconds * fps)`` frames, at least one, frame i at ``i / fps`` seconds.

        Raises:
            InputError: The features are of another model or rate, or the sound is empty.
        """
        if not fps > 0:
            raise InputError("The frame rate cannot be used", expected="a positive number", found=str(fps))
        if isinstance(sound, SpeechFeatures):
            self._check(sound)
            seconds = len(sound.values) / sound.rate
            time = frame_times(seconds, fps)
            targets = self._targets(sound.values, time, sound.values[: int(STATISTICS_SECONDS * sound.rate)])
        else:
            samples = sound if isinstance(sound, StoredSound) else np.asarray(sound, np.float32)
            if len(samples) < SAMPLE_RATE // 50:
                raise InputError("The sound is too short", expected="20 ms of sound", found=f"{len(samples)} samples")
            activity = speech_activity(loudness(samples)) if activity is None else activity
            time = frame_times(len(samples) / SAMPLE_RATE, fps)
            targets = self._targets_of_samples(samples, time)
        if activity is not None:
            weight = np.interp(time, np.arange(len(activity)) / 100, activity)[:, None]
            targets = self.space.rest + weight * (targets - self.space.rest)
        if closures is not None:
            targets = self._closed(targets, np.interp(time, np.arange(len(closures)) / 100, closures))
        return self._motion(time, self.space.decode(targets))

    def rest(self, time: Float[np.ndarray, " T"]) -> Motion:
        """The take's closed mouth, held."""
        return self._motion(time, self.space.decode(np.tile(self.space.rest, (len(time), 1))))

    def _check(self, features: SpeechFeatures) -> None:
        width = len(self.regressor.statistics.mean)
        found = (features.model, features.rate, features.values.shape[1:])
        if found != (self.feature_model, self.feature_rate, (width,)):
            raise InputError(
                "The speech features do not fit this avatar's speech model",
                expected=f"{width} channels of {self.feature_model} at {self.feature_rate:g} Hz",
                found=f"{features.values.shape[1:]} channels of {features.model} at {features.rate:g} Hz",
                fix="compute the features anew, or train the avatar again",
            )
        if not len(features.values):
            raise InputError("The sound is too short", expected="20 ms of sound", found="no features")

    def _targets_of_samples(
        self, samples: Float[np.ndarray, " N"] | StoredSound, time: np.ndarray
    ) -> Float[np.ndarray, "T J"]:
        """Calibrated targets of a recording, stretch by stretch."""
        stretch, context = STRETCH_SECONDS * SAMPLE_RATE, CONTEXT_SECONDS * SAMPLE_RATE
        parts, opening = [], None
        for start in range(0, len(samples), stretch):
            first = max(start - context, 0)
            features = speech_features(samples[first : start + stretch + context])
            if not len(features.values):
                continue
            self._check(features)
            if opening is None:
                opening = features.values[: int(STATISTICS_SECONDS * features.rate)]
            last = start + stretch >= len(samples)
            inside = (time * SAMPLE_RATE >= start) & ((time * SAMPLE_RATE < start + stretch) | last)
            parts.append(self._targets(features.values, time[inside] - first / SAMPLE_RATE, opening))
            if last:
                break
        return np.concatenate(parts)

    def _targets(
        self, values: Float[np.ndarray, "N C"], time: Float[np.ndarray, " T"], opening: Float[np.ndarray, "M C"]
    ) -> Float[np.ndarray, "T J"]:
        """Calibrated targets at ``time`` seconds of a feature track, in pieces that the nets can hold.

        The lips close where the prior hears p, b or m; ``opening`` is the recording's first minute, which tells voice
        and room.
        """
        prior = load_prior() if self.feature_model == load_prior().feature_model else None
        statistics = FeatureStatistics.of(opening, prior=self.regressor.statistics)
        general = FeatureStatistics.of(opening, prior=prior.statistics) if prior else None
        parts, closed, rate = [], [], self.feature_rate
        rows = int(STRETCH_SECONDS * rate)
        for start in range(0, len(values), rows):
            first, stop = max(start - CONTEXT_ROWS, 0), start + rows
            last = stop >= len(values)
            inside = (time * rate >= start) & ((time * rate < stop) | last)
            piece, moments = values[first : stop + CONTEXT_ROWS], time[inside] - first / rate
            parts.append(self.regressor(piece, rate, time=moments, statistics=statistics))
            if prior:
                heard = prior(piece, statistics=general).closed
                closed.append(np.interp(moments, np.arange(len(heard)) / rate, heard))
        targets = self.calibration(np.concatenate(parts))
        return self._closed(targets, np.concatenate(closed)) if prior else targets

    def _closed(self, targets: Float[np.ndarray, "T J"], closed: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T J"]:
        """Targets whose opening is drawn to rest by ``closed``, 0 to 1."""
        targets = targets.copy()
        targets[:, 0] -= closed * np.maximum(targets[:, 0] - self.space.rest[0], 0)
        return targets

    def _motion(self, time: Float[np.ndarray, " T"], mouth: Float[np.ndarray, "T D"]) -> Motion:
        """A motion whose mouth is given and whose rest is the take's mean."""
        held = np.tile(self.pose.astype(np.float32), (len(time), 1, 1))
        return Motion(
            time=time,
            betas=self.betas.astype(np.float32),
            expression=(mouth[:, :-3] + self.upper).astype(np.float32),
            global_orient=held[:, 0],
            neck_pose=held[:, 1],
            jaw_pose=mouth[:, -3:].astype(np.float32),
            leye_pose=held[:, 3],
            reye_pose=held[:, 4],
            eyelids=np.tile(self.eyelids.astype(np.float32), (len(time), 1)),
            transl=held[:, 5],
            head_id=self.head_id,
            head_hash=self.head_hash,
        )

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
        """Everything else as a flat dict of float32 tensors."""
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
        tensors = {name: torch.tensor(np.asarray(value), dtype=torch.float32) for name, value in arrays.items()}
        for index, net in enumerate(self.regressor.nets):
            tensors |= {f"net{index}.{name}": value.clone() for name, value in net.state_dict().items()}
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], settings: dict[str, Any]) -> SpeechModel:
        """The model of `to_tensors` and `settings`.

        Raises:
            FormatError: Something is missing, of another format, or of shapes that do not fit.
        """
        from avatar.speech._net import SpeechNet

        if settings.get("format") != FORMAT:
            raise FormatError(
                "The speech model cannot be read",
                expected=f"format {FORMAT}",
                found=str(settings.get("format")),
                fix="train the avatar again, or update this software",
            )
        try:
            arrays = {name: tensor.double().numpy() for name, tensor in tensors.items() if not name.startswith("net")}
            built = {
                name: kind(**{f.name: arrays[f"{name}.{f.name}"] for f in fields(kind)})
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
                regressor=Regressor(**built, nets=tuple(nets)),
                calibration=calibration,
                space=space,
                **{name: arrays[name] for name in ("pose", "eyelids", "upper", "betas")},
                **{name: settings[name] for name in ("head_id", "head_hash", "feature_model", "feature_rate")},
            )
        except (KeyError, RuntimeError, TypeError) as error:
            raise FormatError(
                "The speech model cannot be read", expected="its tensors, complete and of one size", found=str(error)
            ) from error


def frame_times(seconds: float, fps: float) -> Float[np.ndarray, " T"]:
    """Times of ``round(seconds * fps)`` frames, at least one, so that picture and sound end within a frame."""
    return np.arange(max(round(seconds * fps), 1)) / fps
