"""The first layers of Whisper's audio encoder in plain torch, read from a CTranslate2 file."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F

from avatar.errors import FormatError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
N_MELS = 80
# Positions that the encoder knows: 30 s at 50 per second.
MAX_POSITIONS = 1500
_DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


@lru_cache(maxsize=1)
def mel_filters() -> Float[Tensor, "80 201"]:
    """Slaney's mel filter bank for 16 kHz, each filter of unit area (Slaney 1998, Auditory Toolbox)."""
    step, knee, log_step = 200 / 3, 1000.0, np.log(6.4) / 27

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        high = knee / step + np.log(np.maximum(hertz, knee) / knee) / log_step
        return np.where(hertz < knee, hertz / step, high)

    def to_hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < knee / step, mel * step, knee * np.exp(log_step * (mel - knee / step)))

    edges = to_hertz(np.linspace(0, to_mel(np.array(SAMPLE_RATE / 2.0)), N_MELS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    width = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / width[:-1]
    falling = (edges[2:, None] - bins) / width[1:]
    bank = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])[:, None]
    return torch.from_numpy(bank.astype(np.float32))


def log_mel(samples: Float[Tensor, " n"]) -> Float[Tensor, "80 n//160"]:
    """Whisper's log-mel spectrogram: column j is centred at sample 160 j.

    Power in 80 mel bands, log10, nothing below 8 under the loudest value of the whole input, then (x + 4) / 4 (Radford
    et al. 2022, arXiv:2212.04356; the reference is ``whisper/audio.py``). Memory beyond the result stays bounded.

    Args:
        samples: Mono audio at 16 kHz in [-1, 1].
    """
    frames = len(samples) // HOP
    if frames == 0:
        return torch.zeros(N_MELS, 0)
    half = N_FFT // 2
    # Reflection needs more samples than the padding; anything shorter is a few milliseconds and is padded with silence.
    mode = "reflect" if len(samples) > half else "constant"
    padded = F.pad(samples[None].float(), (half, half), mode=mode)[0]
    window, filters = torch.hann_window(N_FFT), mel_filters()
    columns = []
    for start in range(0, frames, 3000):
        count = min(3000, frames - start)
        piece = padded[start * HOP : (start + count - 1) * HOP + N_FFT]
        power = torch.fft.rfft(piece.unfold(0, N_FFT, HOP) * window).abs() ** 2
        columns.append((filters @ power.T).clamp(min=1e-10).log10())
    mel = torch.cat(columns, dim=1)
    return (torch.maximum(mel, mel.max() - 8) + 4) / 4


class WhisperEncoder(torch.nn.Module):
    """Whisper's encoder cut after its first layers; no layer norm at the end.

    Args:
        weights: Variables of the CTranslate2 file, as `read_ctranslate2` gives them.
        layers: Transformer layers to run.
        heads: Attention heads (6 in the tiny models).
    """

    def __init__(self, weights: dict[str, Tensor], *, layers: int = 2, heads: int = 6) -> None:
        super().__init__()
        self.layers, self.heads = layers, heads
        self._names = {}
        for index, (name, value) in enumerate(weights.items()):
            self._names[name] = f"w{index}"
            self.register_buffer(f"w{index}", value, persistent=False)

    def _get(self, name: str) -> Tensor:
        return self.get_buffer(self._names[name])

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._get(f"{name}/weight"), self._get(f"{name}/bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self._get(f"{name}/gamma"), self._get(f"{name}/beta"))

    def stem(self, mel: Float[Tensor, "batch 80 m"]) -> Float[Tensor, "batch t c"]:
        """The two convolutions, before positions are added; row k is centred at mel column 2 k."""
        x = F.gelu(F.conv1d(mel, self._get("encoder/conv1/weight"), self._get("encoder/conv1/bias"), padding=1))
        x = F.conv1d(x, self._get("encoder/conv2/weight"), self._get("encoder/conv2/bias"), stride=2, padding=1)
        return F.gelu(x).transpose(1, 2)

    def forward(self, mel: Float[Tensor, "batch 80 m"]) -> Float[Tensor, "batch t c"]:
        """Features of at most 3000 mel columns, half as many rows (rounded up)."""
        x = self.stem(mel)
        batch, rows, channels = x.shape
        x = x + self._get("encoder/position_encodings/encodings")[:rows]
        for index in range(self.layers):
            layer = f"encoder/layer_{index}"
            attended = self._linear(
                self._norm(x, f"{layer}/self_attention/layer_norm"), f"{layer}/self_attention/linear_0"
            )
            split = attended.view(batch, rows, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(split[0], split[1], split[2])
            mixed = mixed.transpose(1, 2).reshape(batch, rows, channels)
            x = x + self._linear(mixed, f"{layer}/self_attention/linear_1")
            hidden = F.gelu(self._linear(self._norm(x, f"{layer}/ffn/layer_norm"), f"{layer}/ffn/linear_0"))
            x = x + self._linear(hidden, f"{layer}/ffn/linear_1")
        return x


def position_response(encoder: WhisperEncoder) -> Float[Tensor, "1500 c"]:
    """What the encoder answers to a constant spectrum, at each of its positions.

    The position encodings run through the residual stream into the output, where they are as large as the speech: the
    same sound gives rows that differ by 40 to 70 % of their spread across one window. Less this answer, 15 to 25 %
    are left.
    """
    with torch.inference_mode():
        return encoder(torch.zeros(1, N_MELS, 2 * MAX_POSITIONS))[0]


def load_encoder(path: Path, *, layers: int = 2) -> WhisperEncoder:
    """Reads the encoder's first `layers` layers; raises FormatError when the file holds no such encoder."""
    weights = read_ctranslate2(
        path, prefixes=("encoder/conv", "encoder/pos", *(f"encoder/layer_{i}/" for i in range(layers)))
    )
    needed = [
        "encoder/conv2/weight",
        "encoder/position_encodings/encodings",
        f"encoder/layer_{layers - 1}/ffn/linear_1/bias",
    ]
    missing = [name for name in needed if name not in weights]
    if missing:
        raise FormatError(f"{path} holds no Whisper encoder", expected=f"{layers} layers", found=f"no {missing[0]}")
    return WhisperEncoder(weights, layers=layers).eval()


def read_ctranslate2(path: Path, *, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Variables of a CTranslate2 model file whose names start with one of `prefixes`, as float32 tensors.

    The layout is that of CTranslate2's ``ModelSpec.save``: version, spec name, revision, then for each variable its
    name, shape, type and bytes; all little-endian. Only the chosen variables are read into memory.

    Raises:
        FormatError: The file ends early or states an impossible type or shape.
    """
    weights = {}
    with path.open("rb") as stream:
        try:
            _unpack(stream, "<I")
            _text(stream)
            _unpack(stream, "<I")
            for _ in range(_unpack(stream, "<I")):
                name = _text(stream)
                shape = [_unpack(stream, "<I") for _ in range(_unpack(stream, "<B"))]
                dtype = np.dtype(_DTYPES[_unpack(stream, "<B")])
                size = _unpack(stream, "<I")
                if not name.startswith(prefixes):
                    stream.seek(size, 1)
                    continue
                values = np.frombuffer(stream.read(size), dtype).reshape(shape)
                weights[name] = torch.from_numpy(values.astype(np.float32))
        except (struct.error, IndexError, ValueError) as error:
            raise FormatError(
                f"{path} is no CTranslate2 model", expected="its binary layout", found=str(error)
            ) from error
    return weights


def _unpack(stream: BinaryIO, layout: str) -> int:
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))[0]


def _text(stream: BinaryIO) -> str:
    return stream.read(_unpack(stream, "<H")).rstrip(b"\0").decode()
