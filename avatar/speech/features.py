"""Speech features: what drives the speech model, 50 rows a second, whatever the voice or the language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.speech.whisper import WhisperEncoder

SAMPLE_RATE = 16_000
RATE = 50.0
DIMENSION = 384
LAYERS = 2
MODEL = f"whisper-tiny.en/{LAYERS}"
LOG_MEL = "log-mel/1"
# The encoder sees windows of 30 s at most; 3 s on either side of what is kept are context.
WINDOW = 1500
CONTEXT = 150


@dataclass(frozen=True)
class SpeechFeatures:
    """Features of one recording.

    Attributes:
        values: (N, C). Row k is centred at k / rate seconds: Whisper's second convolution, for one, steps over two
            mel columns of 10 ms, each centred on its own time.
        rate: Rows a second.
        model: Which network and layer they come from.
    """

    values: Float[np.ndarray, "N C"]
    rate: float = RATE
    model: str = MODEL

    @property
    def times(self) -> Float[np.ndarray, " N"]:
        """Seconds of each row."""
        return np.arange(len(self.values)) / self.rate

    def at(self, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T C"]:
        """Features at other moments (seconds), linear between rows and held at both ends.

        Raises:
            InputError: There are no rows.
        """
        if not len(self.values):
            raise InputError("The speech features are empty", expected="at least 20 ms of audio")
        place = np.clip(np.asarray(times, np.float64) * self.rate, 0, len(self.values) - 1)
        low = np.minimum(place.astype(int), max(len(self.values) - 2, 0))
        high = np.minimum(low + 1, len(self.values) - 1)
        weight = (place - low)[:, None].astype(np.float32)
        return self.values[low] * (1 - weight) + self.values[high] * weight


def speech_features(
    samples: Float[np.ndarray, " n"], *, kind: str = MODEL, model: Path | None = None
) -> SpeechFeatures:
    """Features of a recording, by default of layer 2 of Whisper tiny.en, less its answer to position.

    Whisper (Radford et al. 2022, arXiv:2212.04356) hears audio of up to 30 s at once without padding, longer audio in
    windows of 30 s that overlap, so that every row but those at the ends has 3 s of context. The result does not depend
    on the machine's number of threads beyond rounding, and memory beyond the features stays bounded.

    Args:
        samples: Mono audio at 16 kHz, float in [-1, 1].
        kind: Which features, by their id (`avatar.speech.feature_kinds`).
        model: Whisper's CTranslate2 file; the registry's ``whisper_tiny_en`` when None.

    Returns:
        One row for every full 20 ms.

    Raises:
        InputError: `samples` is not one finite channel.
        PartError: The model is not cached and cannot be fetched, or is a library's that is not installed.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
        raise InputError(
            "The audio cannot be used",
            expected="one channel of finite floats at 16 kHz",
            found=f"{samples.dtype} of shape {samples.shape}",
        )
    if kind == MODEL:
        return SpeechFeatures(_whisper(samples, model))
    from avatar.speech.feature_kinds import extractor

    return SpeechFeatures(extractor(kind)(np.ascontiguousarray(samples, np.float32)), model=kind)


def _whisper(samples: Float[np.ndarray, " n"], model: Path | None) -> Float[np.ndarray, "N 384"]:
    """Rows of Whisper's encoder."""
    import torch

    from avatar.speech.whisper import log_mel

    count = len(samples) // (SAMPLE_RATE // int(RATE))
    values = np.zeros((count, DIMENSION), np.float32)
    if count == 0:
        return values
    encoder, positional = _encoder(_model_path() if model is None else model)
    with torch.inference_mode():
        mel = log_mel(torch.from_numpy(np.ascontiguousarray(samples, np.float32)))
        for first, start, stop in windows(count):
            encoded = encoder(mel[None, :, 2 * first : 2 * min(first + WINDOW, count)])[0]
            encoded -= positional[: len(encoded)]
            values[start:stop] = encoded[start - first : stop - first].numpy()
    return values


def windows(count: int, *, window: int = WINDOW, context: int = CONTEXT) -> list[tuple[int, int, int]]:
    """Windows over `count` rows: (first row the encoder sees, first row kept, row after the last kept)."""
    if count <= window:
        return [(0, 0, count)]
    plan, start = [], 0
    while start < count:
        first = min(max(start - context, 0), count - window)
        stop = count if first + window == count else first + window - context
        plan.append((first, start, stop))
        start = stop
    return plan


def _model_path() -> Path:
    from avatar.models import fetch

    return fetch("whisper_tiny_en")


@lru_cache(maxsize=1)
def _encoder(path: Path) -> tuple[WhisperEncoder, Tensor]:
    from avatar.speech.whisper import load_encoder, position_response

    encoder = load_encoder(path, layers=LAYERS)
    return encoder, position_response(encoder)
