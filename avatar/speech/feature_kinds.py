"""Speech features other than the default: log-mel without any model, phone posteriors, and a user's own networks."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import InputError, PartError
from avatar.speech.features import LOG_MEL, MODEL, SAMPLE_RATE, SpeechFeatures, speech_features

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    Extractor = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, "N C"]]

HAMA = "hama-ipa/1"
TRANSFORMERS = "transformers/"
# What `--speech-features` calls each kind.
NAMES = {"whisper": MODEL, "log-mel": LOG_MEL, "hama": HAMA}
HOP = SAMPLE_RATE // 50
# Power below this (of full scale 1) is silence to the log-mel features: there is no reference to a recording's loudest
# sound, which nobody knows while it is being made.
FLOOR = 1e-8
# The networks hear pieces of 20 s, with 1 s of what surrounds them.
PIECE, AROUND = 20 * 50, 50


def feature_kind(name: str) -> str:
    """The id of what `--speech-features` names: a key of `NAMES`, or ``transformers:MODEL`` with ``@LAYER``.

    Raises:
        InputError: There are no such features.
    """
    if name in NAMES:
        return NAMES[name]
    own, _, layer = name.removeprefix("transformers:").partition("@")
    if name.startswith("transformers:") and own and (not layer or layer.isdigit()):
        return f"{TRANSFORMERS}{own}@{layer or 'middle'}"
    raise InputError(
        f"There are no speech features {name!r}",
        expected=f"{', '.join(NAMES)}, or transformers:MODEL such as transformers:facebook/hubert-base-ls960",
        found=name,
        fix="leave --speech-features out for whisper",
    )


def require_library(kind: str) -> None:
    """Raises PartError where the library that makes features of an id is not installed."""
    for library, needed in (("hama", kind == HAMA), ("transformers", kind.startswith(TRANSFORMERS))):
        if needed and importlib.util.find_spec(library) is None:
            raise _missing(library)


def extractor(kind: str) -> Extractor:
    """What makes the features of an id out of samples at 16 kHz, one row every 20 ms.

    Raises:
        InputError: No features have this id.
        PartError: They come from a library that is not installed, or from a model that it does not find.
    """
    if kind == MODEL:
        return lambda samples: speech_features(samples).values
    if kind == LOG_MEL:
        return log_mel_rows
    if kind == HAMA:
        return _hama_rows
    if kind.startswith(TRANSFORMERS):
        name, _, layer = kind.removeprefix(TRANSFORMERS).partition("@")
        return lambda samples: _transformers_rows(samples, name, None if layer == "middle" else int(layer))
    raise InputError(
        "The speech features of this avatar are not known here",
        expected=f"{', '.join(NAMES.values())} or {TRANSFORMERS}MODEL@LAYER",
        found=kind,
        fix="update this software, or make the avatar again",
    )


def at_hand(kind: str = MODEL) -> str:
    """The features to use where `kind` would be best: log-mel where they cannot be had."""
    from avatar.models import fetch

    if kind != MODEL:
        return kind
    try:
        fetch("whisper_tiny_en")
    except PartError:
        return LOG_MEL
    return kind


def log_mel_rows(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "N 80"]:
    """Logarithms of the power in 80 mel bands; each row depends on 12.5 ms either side and on nothing else."""
    from avatar.speech.whisper import N_FFT, mel_filters

    count, half = len(samples) // HOP, N_FFT // 2
    padded = np.pad(np.asarray(samples, np.float32), (half, half))
    window, filters = np.hanning(N_FFT + 1)[:-1].astype(np.float32), mel_filters().numpy().T
    rows = [np.zeros((0, filters.shape[1]), np.float32)]
    for start in range(0, count, PIECE):
        stop = min(start + PIECE, count)
        piece = padded[start * HOP : (stop - 1) * HOP + N_FFT]
        frames = np.lib.stride_tricks.sliding_window_view(piece, N_FFT)[::HOP]
        power = np.abs(np.fft.rfft(frames * window)) ** 2
        rows.append(np.log10(np.maximum(power @ filters, FLOOR)).astype(np.float32))
    return np.concatenate(rows)


def in_pieces(samples: Float[np.ndarray, " n"], rows_of: Extractor) -> Float[np.ndarray, "N C"]:
    """What a network says of a recording of any length, piece by piece, brought to one row every 20 ms."""
    count = len(samples) // HOP
    parts = []
    for start in range(0, count, PIECE):
        first, stop = max(start - AROUND, 0), min(start + PIECE, count)
        heard = rows_of(samples[first * HOP : (stop + AROUND) * HOP])
        parts.append(SpeechFeatures(heard).at(np.arange(start - first, stop - first) / 50))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, len(rows_of(np.zeros(HOP))[0])))


def _hama_rows(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "N C"]:
    """Posteriors of hama's IPA phones without the blank, as square roots, which tames their peaks."""
    model = _hama()

    def rows_of(piece: Float[np.ndarray, " m"]) -> Float[np.ndarray, "N C"]:
        given = {"waveform": piece[None].astype(np.float32), "waveform_lengths": np.array([len(piece)])}
        (found, *_), (length, *_) = model.session.run(["log_probs", "out_lengths"], given)
        logits = np.asarray(found[: max(int(length), 1)], np.float64)
        phones = np.delete(np.exp(logits - logits.max(axis=1, keepdims=True)), model.blank_id, axis=1)
        return np.sqrt(phones / np.maximum(phones.sum(axis=1, keepdims=True), 1e-12))

    return in_pieces(samples, rows_of)


@lru_cache(maxsize=1)
def _hama() -> Any:
    try:
        from hama import ASRModel  # type: ignore[import-not-found]
    except ImportError as error:
        raise _missing("hama") from error
    return ASRModel()


def _transformers_rows(samples: Float[np.ndarray, " n"], name: str, layer: int | None) -> Float[np.ndarray, "N C"]:
    """Hidden states of a HuBERT or wav2vec2 network of the user's `transformers`."""
    import torch

    network, middle = _transformers(name)
    chosen = middle if layer is None else layer

    def rows_of(piece: Float[np.ndarray, " m"]) -> Float[np.ndarray, "N C"]:
        # Rows cover 25 ms from 20 k ms on, so that 2.5 ms of silence put their centres near 20 k + 10 ms; half a hop
        # more puts them onto the grid of all other features. The networks were learned on scaled recordings.
        scaled = (piece - piece.mean()) / (piece.std() + 1e-7)
        padded = np.pad(scaled, (HOP // 2 + 40, HOP // 2 + 40))
        with torch.inference_mode():
            states = network(torch.from_numpy(padded[None].astype(np.float32)), output_hidden_states=True)
        return states.hidden_states[chosen][0].float().numpy()

    return in_pieces(samples, rows_of)


@lru_cache(maxsize=1)
def _transformers(name: str) -> tuple[Any, int]:
    try:
        from transformers import AutoModel  # type: ignore[import-not-found]
    except ImportError as error:
        raise _missing("transformers") from error
    try:
        network = AutoModel.from_pretrained(name).eval()
    except (OSError, ValueError) as error:
        raise PartError(
            f"transformers has no model {name}",
            expected="the name of a HuBERT or wav2vec2 model, or the folder of one",
            found=str(error).splitlines()[0],
            fix="choose another, or leave --speech-features out",
        ) from error
    return network, network.config.num_hidden_layers // 2


def _missing(library: str) -> PartError:
    return PartError(
        f"These speech features need {library}",
        expected=f"{library} beside this software",
        found="it is not installed",
        fix=f"pip install {library}, or leave --speech-features out",
    )
