"""How a voice's melody moves the face and the head: brows, nods and lids after pitch, loudness, pace and pauses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from avatar.errors import FormatError
from avatar.speech._ridge import fit_ridge
from avatar.speech._sampling import blocked_folds
from avatar.speech._track import BROWS as FIRST_BROW
from avatar.speech._track import POSTURE, RATE, lids_between_blinks, track_times
from avatar.speech.silence import HOP, loudness, speech_activity

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.io.sound import StoredSound
    from avatar.motion import Motion
    from avatar.speech.life_model import LifeModel

SAMPLE_RATE = 16_000
# Fundamental frequencies of speech, Hz, and the window they are found in.
LOWEST, HIGHEST, WINDOW = 60.0, 400.0, 640
VOICED = 0.5
# Brows and heads are slower than voices: what is quicker than this is no gesture, seconds.
SMOOTHING = 0.12
SIGNALS = ("pitch", "pitch rise", "energy", "energy rise", "pace", "pause")
# Head and brows follow, or lead, within this reach, seconds.
LAGS = (-0.2, 0.0, 0.2)
# What a face does by default per unit of a signal: brows rise with the pitch (ARKit weight) and the lids with them
# (closure), the head nods with the loudness (radians). About half of what takes with a clear coupling show.
BROWS, LIDS, NOD = 0.05, -0.02, 0.008
# Ridge penalty in units of the signals' spread, and blocks for its cross-validation.
PENALTY, FOLDS = 0.3, 5
# Stretches of sound that are worked on at a time, rows of 10 ms.
STRETCH = 1000


@dataclass(frozen=True)
class Prosody:
    """What a sound's melody does, 25 rows a second.

    Attributes:
        values: (N, 6) the signals of `SIGNALS`, each of about unit spread while somebody speaks and 0 on average.
    """

    values: Float[np.ndarray, "N 6"]

    def inputs(self, time: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 18"]:
        """The signals around moments, seconds."""
        clock = np.arange(len(self.values)) / RATE
        return np.column_stack([np.interp(time + lag, clock, column) for lag in LAGS for column in self.values.T])


def melody_of(samples: Float[np.ndarray, " N"] | StoredSound) -> Prosody:
    """The melody of a recording: mono at 16 kHz, in memory or on disk."""
    level = loudness(samples)
    if not len(level):
        return Prosody(np.zeros((1, len(SIGNALS))))
    activity = speech_activity(level)
    pitch = _semitones(samples, len(level))
    speaking = activity > 0.5
    known = np.isfinite(pitch) & speaking
    # Between voiced sounds the voice's melody goes on; in pauses it is at its mean.
    mean = float(np.median(pitch[known])) if known.any() else 0.0
    index = np.arange(len(level))
    melody = np.interp(index, index[known], pitch[known]) - mean if known.any() else np.zeros(len(level))
    loud = np.maximum(level - (np.percentile(level[speaking], 50) if speaking.any() else 0.0), -30)
    # Syllables are rises of the loudness; how many there are lately is the pace.
    onsets = np.maximum(np.gradient(gaussian_filter1d(loud, 3)), 0)
    pace = gaussian_filter1d(onsets, 40)
    smooth = SMOOTHING * 100
    melody, loud = (gaussian_filter1d(np.clip(row, -24, 24) * activity, smooth) for row in (melody, loud))
    pause = gaussian_filter1d(1 - maximum_filter1d(activity, 20), smooth)
    signals = np.stack([melody, np.gradient(melody), loud, np.gradient(loud), pace, pause])
    spread = signals[:, speaking].std(axis=1) if speaking.any() else np.ones(len(signals))
    centre = signals[:, speaking].mean(axis=1) if speaking.any() else np.zeros(len(signals))
    # A pause is a share of silence already; the others are measured by their own spread.
    spread[-1], centre[-1] = 1.0, 0.0
    unit = np.where(spread > 1e-6, spread, np.inf)
    centred = (signals - centre[:, None]) / unit[:, None]
    centred[:-1] *= activity
    return Prosody(np.clip(centred[:, ::4].T, -3, 3))


def _semitones(samples: Float[np.ndarray, " N"] | StoredSound, count: int) -> Float[np.ndarray, " M"]:
    """Pitch of every 10 ms in semitones, nan where nothing is voiced (autocorrelation, Boersma 1993)."""
    shortest, longest = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    window = np.hanning(WINDOW)
    norm = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * WINDOW)) ** 2)[:WINDOW]
    norm /= norm[0]
    found = []
    for first in range(0, count, STRETCH):
        last = min(first + STRETCH, count)
        begin, end = first * HOP - WINDOW // 2, (last - 1) * HOP + WINDOW // 2
        piece = np.asarray(samples[max(begin, 0) : end], np.float64)
        piece = np.pad(piece, (max(-begin, 0), max(end - begin - len(piece) - max(-begin, 0), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(piece, WINDOW)[::HOP][: last - first]
        frames = (frames - frames.mean(axis=1, keepdims=True)) * window
        power = np.abs(np.fft.rfft(frames, 2 * WINDOW, axis=1)) ** 2
        echo = np.fft.irfft(power, axis=1)[:, : longest + 1]
        echo = echo / np.maximum(echo[:, :1], 1e-9) / norm[: longest + 1]
        # A little for the higher one of two octaves that fit equally well.
        score = echo[:, shortest:] - 0.02 * np.log2(np.arange(shortest, longest + 1) / shortest)
        best = score.argmax(axis=1)
        strength = np.take_along_axis(echo[:, shortest:], best[:, None], axis=1)[:, 0]
        found.append(np.where(strength > VOICED, 12 * np.log2(SAMPLE_RATE / (best + shortest) / 100), np.nan))
    return np.concatenate(found)


@dataclass(frozen=True)
class ProsodyModel:
    """How one person's brows, head and lids follow the melody of the voice.

    Attributes:
        weight: (18, D + 1) from the signals to the columns of the life model's track, and to the closure of the lids.
        share: (W,) how far each column was learned from the take, 0 to 1; the rest is the default.
    """

    weight: Float[np.ndarray, "18 W"]
    share: Float[np.ndarray, " W"]

    def __call__(self, melody: Prosody, time: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T W"]:
        """What the melody adds to the track and to the lids at moments in seconds."""
        return melody.inputs(time) @ self.weight

    def to_tensors(self) -> dict[str, Tensor]:
        """The model as float32 tensors."""
        import torch

        return {f"prosody.{f.name}": torch.tensor(getattr(self, f.name), dtype=torch.float32) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], *, width: int) -> ProsodyModel | None:
        """The model of `to_tensors`, None where there is none; FormatError where it does not fit a track's width."""
        named = {f.name: tensors.get(f"prosody.{f.name}") for f in fields(cls)}
        if all(value is None for value in named.values()):
            return None
        arrays = {name: value.double().numpy() for name, value in named.items() if value is not None}
        shape = (len(LAGS) * len(SIGNALS), width + 1)
        if len(arrays) < len(named) or arrays["weight"].shape != shape:
            raise FormatError(
                "The model of the voice's melody cannot be read", expected=f"weights of shape {shape}", found="others"
            )
        return cls(**arrays)


def default_prosody(life: LifeModel, head: Head) -> ProsodyModel:
    """What most people do a little: brows and lids rise with the pitch, the head nods with the loudness."""
    width = life.track.shape[1]
    weight = np.zeros((len(LAGS) * len(SIGNALS), width + 1))
    now = LAGS.index(0.0) * len(SIGNALS)
    pitch, energy = now + SIGNALS.index("pitch"), now + SIGNALS.index("energy")
    # Trackers turn the root or the neck; the one that moves nods.
    root, neck = 0, 3
    weight[energy, max(root, neck, key=lambda column: life.track[:, column].std())] = NOD
    weight[pitch, -1] = LIDS
    raised = np.array([name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight") for name in head.arkit_names])
    if raised.any():
        psi = head.arkit_to_psi.detach().cpu().double().numpy() @ raised
        weight[pitch, FIRST_BROW:width] = BROWS * life.brow_basis @ psi
    return ProsodyModel(weight, np.zeros(width + 1))


def fit_prosody(
    life: LifeModel,
    motion: Motion,
    melody: Prosody,
    *,
    head: Head,
    offset: float,
    used: Bool[np.ndarray, " T"] | None = None,
) -> ProsodyModel:
    """Learns from a take how its brows, head and lids follow its sound.

    A ridge regression, column by column; of each as much is kept as predicts stretches it has not seen (the slope of
    the truth over blocked held-out predictions), and the rest is the default.

    Args:
        life: The life model of the same take.
        motion: The take's motion.
        melody: Of the take's sound.
        head: The head model.
        offset: Sound time minus picture time, seconds.
        used: (T,) which moments were tracked well; all when left out.
    """
    general = default_prosody(life, head)
    kept = motion if used is None else motion[np.asarray(used, bool)]
    time = track_times(kept.time)
    if len(time) < FOLDS * RATE:
        return general
    lids, clear = lids_between_blinks(kept, time)
    targets = np.column_stack([life.track, lids])
    inputs = melody.inputs(time + offset)
    rows = clear & (time + offset >= 0) & (time + offset < len(melody.values) / RATE)
    held_out = np.full_like(targets, np.nan)
    for train, test in blocked_folds(time, count=FOLDS):
        if (train & rows).sum() > inputs.shape[1]:
            linear = fit_ridge(inputs[train & rows], targets[train & rows], penalty=PENALTY)
            held_out[test] = linear(inputs[test])
    judged = rows & np.isfinite(held_out).all(axis=1)
    if judged.sum() < inputs.shape[1]:
        return general
    predicted, true = (each[judged] - each[judged].mean(axis=0) for each in (held_out, targets))
    share = np.clip((predicted * true).sum(axis=0) / np.maximum((predicted**2).sum(axis=0), 1e-12), 0, 1)
    # Translation and shoulders move with the posture, not with a voice.
    share[POSTURE] = 0
    weight = fit_ridge(inputs[rows], targets[rows], penalty=PENALTY).weight
    return ProsodyModel(share * weight + (1 - share) * general.weight, share)
