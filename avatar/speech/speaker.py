"""What every speech model does alike: sound in, stretch by stretch, and the motion of one mouth out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import FormatError, InputError
from avatar.io.sound import StoredSound
from avatar.motion import Motion
from avatar.speech._regressor import CONTEXT_ROWS
from avatar.speech.features import SAMPLE_RATE, SpeechFeatures, speech_features
from avatar.speech.silence import loudness, mouth_activity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

# Sound is worked on in stretches, so that memory does not grow with its length; context on either side hides the seams.
STRETCH_SECONDS, CONTEXT_SECONDS = 60, 3
# Statistics of a recording come from its first minute.
STATISTICS_SECONDS = 60
# What of a speaker is stored as plain values, not as tensors.
STATED = ("head_id", "head_hash", "feature_model", "feature_rate")


@dataclass(frozen=True)
class Speaker(ABC):
    """A mouth that says what it hears: rows of its own kind from features, and expression and jaw from rows.

    Attributes:
        pose: (6, 3) mean root, neck, jaw, left eye, right eye (axis-angle) and translation.
        eyelids: (2,) the open lids.
        upper: (E,) the mean expression outside speech: brows, lids, nose.
        betas: (S,) identity.
        head_id: Head model of the coefficients.
        head_hash: Its content hash.
        feature_model: Which features it reads.
        feature_rate: Their rows a second.
    """

    pose: Float[np.ndarray, "6 3"]
    eyelids: Float[np.ndarray, " 2"]
    upper: Float[np.ndarray, " E"]
    betas: Float[np.ndarray, " S"]
    head_id: str
    head_hash: str
    feature_model: str
    feature_rate: float

    def ready(self) -> Speaker:
        """The speaker that can listen here; raises PartError later where its features cannot be had."""
        return self

    @property
    @abstractmethod
    def feature_width(self) -> int:
        """Channels of the features it reads."""

    @property
    @abstractmethod
    def resting(self) -> Float[np.ndarray, " J"]:
        """The row of the closed mouth."""

    @abstractmethod
    def rows(
        self, values: Float[np.ndarray, "N C"], time: Float[np.ndarray, " T"], opening: Float[np.ndarray, "M C"]
    ) -> Float[np.ndarray, "T J"]:
        """Rows at ``time`` seconds of a feature track; ``opening`` is the recording's first minute."""

    @abstractmethod
    def closed(self, rows: Float[np.ndarray, "T J"], share: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T J"]:
        """Rows whose lips are drawn together by ``share``, 0 to 1."""

    @abstractmethod
    def decode(self, rows: Float[np.ndarray, "T J"]) -> Float[np.ndarray, "T D"]:
        """(T, E + 3) expression and jaw of rows."""

    def predict(
        self,
        sound: Float[np.ndarray, " N"] | StoredSound | SpeechFeatures,
        *,
        fps: float,
        activity: Float[np.ndarray, " M"] | None = None,
        closures: Float[np.ndarray, " P"] | None = None,
    ) -> Motion:
        """The motion that says a sound: mouth and jaw from speech, all else at its mean.

        In silence the mouth comes to rest closed, within 300 ms, and leaves rest 150 ms before speech.

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
            time = frame_times(len(sound.values) / sound.rate, fps)
            rows = self._rows_in_pieces(sound.values, time, sound.values[: int(STATISTICS_SECONDS * sound.rate)])
        else:
            samples = sound if isinstance(sound, StoredSound) else np.asarray(sound, np.float32)
            if len(samples) < SAMPLE_RATE // 50:
                raise InputError("The sound is too short", expected="20 ms of sound", found=f"{len(samples)} samples")
            activity = mouth_activity(loudness(samples)) if activity is None else activity
            time = frame_times(len(samples) / SAMPLE_RATE, fps)
            rows = np.concatenate(list(self._rows_of_samples(samples, time)))
        if activity is not None:
            weight = np.interp(time, np.arange(len(activity)) / 100, activity)[:, None]
            rows = self.resting + weight * (rows - self.resting)
        if closures is not None:
            rows = self.closed(rows, np.interp(time, np.arange(len(closures)) / 100, closures))
        return self._motion(time, self.decode(rows))

    def rest(self, time: Float[np.ndarray, " T"]) -> Motion:
        """The closed mouth, held."""
        return self._motion(time, self.decode(np.tile(self.resting, (len(time), 1))))

    def _check(self, features: SpeechFeatures) -> None:
        found = (features.model, features.rate, features.values.shape[1:])
        if found != (self.feature_model, self.feature_rate, (self.feature_width,)):
            raise InputError(
                "The speech features do not fit this avatar's speech model",
                expected=f"{self.feature_width} channels of {self.feature_model} at {self.feature_rate:g} Hz",
                found=f"{features.values.shape[-1]} channels of {features.model} at {features.rate:g} Hz",
                fix="compute the features anew, or train the avatar again",
            )
        if not len(features.values):
            raise InputError("The sound is too short", expected="20 ms of sound", found="no features")

    def _rows_of_samples(
        self, samples: Float[np.ndarray, " N"] | StoredSound, time: np.ndarray
    ) -> Iterator[Float[np.ndarray, "T J"]]:
        """Rows of a recording, stretch by stretch."""
        stretch, context = STRETCH_SECONDS * SAMPLE_RATE, CONTEXT_SECONDS * SAMPLE_RATE
        opening = None
        for start in range(0, len(samples), stretch):
            first = max(start - context, 0)
            features = speech_features(samples[first : start + stretch + context], kind=self.feature_model)
            if not len(features.values):
                continue
            self._check(features)
            if opening is None:
                opening = features.values[: int(STATISTICS_SECONDS * features.rate)]
            last = start + stretch >= len(samples)
            inside = (time * SAMPLE_RATE >= start) & ((time * SAMPLE_RATE < start + stretch) | last)
            yield self._rows_in_pieces(features.values, time[inside] - first / SAMPLE_RATE, opening)
            if last:
                break

    def _rows_in_pieces(
        self, values: Float[np.ndarray, "N C"], time: Float[np.ndarray, " T"], opening: Float[np.ndarray, "M C"]
    ) -> Float[np.ndarray, "T J"]:
        """Rows at ``time`` seconds of a feature track, in pieces that the nets can hold."""
        parts, rate = [], self.feature_rate
        count = int(STRETCH_SECONDS * rate)
        for start in range(0, len(values), count):
            first, stop = max(start - CONTEXT_ROWS, 0), start + count
            last = stop >= len(values)
            inside = (time * rate >= start) & ((time * rate < stop) | last)
            parts.append(self.rows(values[first : stop + CONTEXT_ROWS], time[inside] - first / rate, opening))
        return np.concatenate(parts)

    def _motion(self, time: Float[np.ndarray, " T"], mouth: Float[np.ndarray, "T D"]) -> Motion:
        """A motion whose mouth is given and whose rest is the mean."""
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


def frame_times(seconds: float, fps: float) -> Float[np.ndarray, " T"]:
    """Times of ``round(seconds * fps)`` frames, at least one, so that picture and sound end within a frame."""
    return np.arange(max(round(seconds * fps), 1)) / fps


def require_format(settings: dict[str, Any], known: int) -> None:
    """Raises FormatError where a stored model is of another format than the one that is known here."""
    if settings.get("format") != known:
        raise FormatError(
            "The speech model cannot be read",
            expected=f"format {known}",
            found=str(settings.get("format")),
            fix="train the avatar again, or update this software",
        )
