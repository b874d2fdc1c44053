"""Sound: one mono track out of any media file, aligned with its pictures; and WAV files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import soundfile
import soxr
from av.audio.frame import AudioFrame
from av.container import InputContainer

from avatar.errors import InputError
from avatar.io._packets import decoded
from avatar.io.video import first_picture_time, open_media, video_stream

if TYPE_CHECKING:
    from jaxtyping import Float


# A jump of the clock up to this long is a pause in the recording; a longer one is a broken clock, unless the file says
# that it lasts longer than that.
_LONGEST_PAUSE = 10.0
_SHORTEST_PAUSE = 0.05

# Weights of a downmix to one channel (ITU-R BS.775, low-frequency effects left out), before they are made to sum to 1.
_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_SURROUND_WEIGHT = 0.5
# What 16 bits and lossy codecs leave of full scale.
_FULL_SCALE = 0.999
# Zero and full scale of the integer sample formats.
_RANGES = {"u8": (128, 2**7), "s16": (0, 2**15), "s32": (0, 2**31)}


@dataclass
class SoundFacts:
    """What a sound track is like, gathered while it is read.

    Attributes:
        rate: Samples a second of the recording; 0 where there is no sound track.
        seconds: Its length.
        peak: Its largest sample, 1 for full scale.
        clipped: Share of the samples that lie at full scale beside another.
    """

    rate: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    clipped: float = 0.0

    def watch(self, blocks: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
        """The same blocks, looked at on the way."""
        count = full = 0
        for block, rate in blocks:
            size = np.abs(block)
            count, self.rate, self.seconds = count + len(block), rate, self.seconds + len(block) / rate
            self.peak = max(self.peak, float(size.max(initial=0.0)))
            at_end = size >= _FULL_SCALE
            full += int((at_end[1:] & at_end[:-1]).sum())
            self.clipped = full / max(count, 1)
            yield block, rate


def read_audio(path: Path, *, rate: int = 16000) -> Float[np.ndarray, " N"] | None:
    """The first sound track of a media file as mono samples in [-1, 1].

    Sample 0 is heard with the first picture where the file has pictures (sound before it is cut, a late start is
    filled with silence), and pauses of the recording's clock are filled, so that sample i belongs to the time
    i / rate of ``read_frames``. Channels are mixed so that the loudest possible sum stays within [-1, 1].

    Args:
        path: Any media file.
        rate: Samples a second of the result.

    Returns:
        The samples, or None when the file has no sound track or nothing of it can be decoded.

    Raises:
        InputError: The file is missing or unreadable (FormatError: it is no media file).
    """
    chunks = list(audio_blocks(path, rate=rate))
    if not chunks:
        return None
    samples = np.concatenate(chunks)
    return samples if len(samples) else None


def audio_blocks(
    path: Path, *, rate: int = 16000, facts: SoundFacts | None = None
) -> Iterator[Float[np.ndarray, " N"]]:
    """The samples of `read_audio` block by block, for sound of any length; none where the file has no sound.

    Args:
        path: Any media file.
        rate: Samples a second of the result.
        facts: Filled in on the way.

    Raises:
        InputError: The file is missing or unreadable (FormatError: it is no media file), or has samples that are no
            numbers.
    """
    path = Path(path)
    with open_media(path) as container:
        if not container.streams.audio:
            return
        start = _picture_start(container, path)
        if facts is not None:
            facts.rate = container.streams.audio[0].rate or 0
    with open_media(path) as container:
        blocks = _finite(_aligned(container, start), path)
        yield from _resampled(blocks if facts is None else facts.watch(blocks), rate)


def _finite(blocks: Iterator[tuple[np.ndarray, int]], path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """The same blocks; raises InputError where a sample is no number, as files of floats may have it."""
    seconds = 0.0
    for block, rate in blocks:
        wrong = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if wrong.any():
            raise InputError(
                f"{path} has samples that are no numbers",
                expected="finite samples",
                found=f"NaN or infinity at {seconds + wrong.argmax() / rate:.2f} s",
                fix="export the sound again, as 16-bit WAV for example",
            )
        seconds += len(block) / rate
        yield block, rate


def require_audio(path: Path, *, rate: int = 16000) -> Float[np.ndarray, " N"]:
    """`read_audio` of a file that is wanted for its sound; raises InputError where it has none."""
    samples = read_audio(path, rate=rate)
    if samples is None:
        raise InputError(
            f"{path} has no sound",
            expected="an audio or video file with speech",
            found="no sound track",
            fix="choose another --audio",
        )
    return samples


def write_wav(
    path: Path,
    samples: Float[np.ndarray, "N ..."] | Iterable[Float[np.ndarray, "N ..."]],
    *,
    rate: int = 16000,
) -> None:
    """Writes samples, or blocks of them, as 16-bit PCM, those beyond [-1, 1] clipped; complete or not at all.

    Raises:
        InputError: The folder cannot be written to.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    blocks = iter([samples] if isinstance(samples, np.ndarray) else samples)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        first = next(blocks, np.zeros(0, np.float32))
        channels = 1 if first.ndim == 1 else np.shape(first)[1]
        with soundfile.SoundFile(partial, "w", rate, channels, format="WAV", subtype="PCM_16") as file:
            for block in chain([first], blocks):
                file.write(np.clip(block, -1, 1))
        partial.replace(path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(
            f"{path} cannot be written",
            expected="a folder that can be written to",
            found=str(error),
            fix="choose another output path",
        ) from error


def _picture_start(container: InputContainer, path: Path) -> Fraction | None:
    """Container time of the first picture, or None for a file of sound alone."""
    if not any(stream.type == "video" and stream.average_rate for stream in container.streams):
        return None
    try:
        return first_picture_time(container, video_stream(container, path))
    except InputError:
        return None


def _aligned(container: InputContainer, start: Fraction | None) -> Iterator[tuple[np.ndarray, int]]:
    """Mono blocks and their rate; block after block begins at `start` and has no holes."""
    written = 0
    longest = max(_LONGEST_PAUSE, container.duration / av.time_base if container.duration else 0.0)
    # The time of a damaged packet is filled with silence by the clock of the next.
    for frame in decoded(container, container.streams.audio[0]):
        rate = frame.sample_rate
        block = _mono(frame)
        if frame.pts is not None and frame.time_base is not None:
            moment = frame.pts * frame.time_base
            start = moment if start is None else start
            missing = round((moment - start) * rate) - written
            if missing < 0 and written == 0:
                # Sound from before the first picture; `written` stays 0 until a block reaches past it.
                block = block[-missing:]
            elif missing > (0 if written == 0 else _SHORTEST_PAUSE * rate) and missing < longest * rate:
                yield np.zeros(missing, np.float32), rate
                written += missing
        if len(block):
            written += len(block)
            yield block, rate


def _mono(frame: AudioFrame) -> Float[np.ndarray, " N"]:
    samples = frame.to_ndarray()
    channels = [channel.name for channel in frame.layout.channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(channels)).T
    offset, scale = _RANGES.get(frame.format.packed.name, (0, 1))
    weights = np.array([_WEIGHTS.get(name, _SURROUND_WEIGHT) for name in channels], np.float32)
    if len(channels) == 1 or not weights.any():
        weights = np.ones(len(channels), np.float32)
    return (weights / weights.sum()) @ ((samples.astype(np.float32) - offset) / scale)


def _resampled(blocks: Iterator[tuple[np.ndarray, int]], rate: int) -> Iterator[Float[np.ndarray, " N"]]:
    resampler = None
    current = 0
    for block, found in blocks:
        if found != current:
            if resampler is not None:
                yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler = None if found == rate else soxr.ResampleStream(found, rate, 1, dtype="float32")
            current = found
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
