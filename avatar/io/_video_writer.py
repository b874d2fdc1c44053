"""Writing video: H.264 and AAC in MP4, or pictures with transparency in WebM or MOV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from avatar.errors import InputError
from avatar.io._colour import EXACT
from avatar.io._files import check_place, not_writable
from avatar.io._spherical import mark_stereo

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

_BT709 = 1  # The number of BT.709 as matrix, primaries and transfer alike (ISO/IEC 23091-2).
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_FRAME_PACKING = {"sbs": 3, "tb": 4}
_OPAQUE = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_TRANSPARENT = {".webm": "webm", ".mov": "mov"}


def frame_count(duration: float, fps: Fraction) -> int:
    """Number of frames whose length at `fps` is nearest to `duration` seconds; at least one."""
    return max(1, round(duration * fps))


def check_video_name(path: Path, *, alpha: bool = False) -> None:
    """Raises InputError for a name whose ending no video that is written here has, or where none can be written."""
    suffixes = _TRANSPARENT if alpha else _OPAQUE
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{path} cannot be written as {'transparent ' if alpha else ''}video",
            expected="a name that ends in " + ", ".join(suffixes),
            found=path.suffix or "no suffix",
            fix="change the name",
        )
    check_place(path)


class VideoWriter:
    """Writes a video picture by picture; a context manager.

    The file appears under its name only when the block ends without an exception; until then, and after a failure,
    whatever was there before is untouched. Sizes that 4:2:0 cannot hold are padded by repeating the last row or
    column. Colours are converted to and tagged as BT.709, limited range.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv`` (H.264, AAC); with `alpha` ``.webm`` (VP9, Opus) or ``.mov``
            (ProRes 4444, PCM).
        fps: Frames a second, exact.
        width: Width of the pictures in pixels.
        height: Height of the pictures in pixels.
        audio: Samples (N,) or (N, C) in [-1, 1] with C 1 or 2, all at once or as blocks of them, and their rate in Hz;
            heard from the first picture on.
        crf: H.264 or VP9 quality, lower is better; 18 is visually lossless for H.264.
        alpha: Pictures are RGBA with straight alpha.
        stereo: The pictures hold two eyes: ``sbs`` side by side, ``tb`` left above right, ``180`` side by side as half
            spheres (VR180). The first two are said in H.264's stream (frame packing, ITU-T H.264 D.2.26), and all three
            in ``.mp4`` and ``.mov`` (spherical video), which players of stereo take as their cues.
        preset: x264's name of a speed; a slower one makes smaller files.

    Raises:
        InputError: The suffix, the size, the rate, the sound or the folder cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: Fraction,
        width: int,
        height: int,
        audio: tuple[Float[np.ndarray, "N ..."] | Iterable[Float[np.ndarray, "N ..."]], int] | None = None,
        crf: int = 18,
        alpha: bool = False,
        stereo: Literal["sbs", "tb", "180"] | None = None,
        preset: str = "medium",
    ) -> None:
        self.path = Path(path)
        check_video_name(self.path, alpha=alpha)
        if width < 1 or height < 1 or fps <= 0:
            raise InputError(
                f"{self.path} cannot be written",
                expected="a positive size and frame rate",
                found=f"{width}x{height} at {fps} frames/s",
            )
        self.width, self.height, self.frames = width, height, 0
        self._channels = 4 if alpha else 3
        self._fps = Fraction(fps).limit_denominator(1_000_000)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._rate = 0 if audio is None else int(audio[1])
        self._sound = None if audio is None else _blocks(*audio)
        # The first block is looked at now, so that sound which cannot be written is refused before any picture is.
        self._block = None if self._sound is None else next(self._sound, np.zeros((1, 0), np.float32))
        self._heard = 0
        kind = (_TRANSPARENT if alpha else _OPAQUE)[self.path.suffix.lower()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
            self._container = av.open(str(self._partial), "w", format=kind, options=flags)
        except OSError as error:
            raise not_writable(self.path, error) from error
        self._marked: Literal["sbs", "tb", "180"] | None = stereo if not alpha and kind in ("mp4", "mov") else None
        self._video = self._add_video(kind, crf, stereo, preset)
        self._audio = self._add_audio(kind) if self._block is not None else None

    def _add_video(self, kind: str, crf: int, stereo: str | None, preset: str) -> av.VideoStream:
        if self._channels == 3:
            codec, pixels, options = "libx264", "yuv420p", {"crf": str(crf), "preset": preset}
            if stereo in _FRAME_PACKING:
                options["x264-params"] = f"frame-packing={_FRAME_PACKING[stereo]}"
        elif kind == "webm":
            codec, pixels = "libvpx-vp9", "yuva420p"
            options = {"crf": str(crf), "b": "0", "deadline": "good", "cpu-used": "4", "auto-alt-ref": "0"}
        else:
            codec, pixels, options = "prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"}
        stream = self._container.add_stream(codec, rate=self._fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = pixels
        stream.codec_context.time_base = 1 / self._fps
        context = stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        if kind == "webm":
            stream.metadata["alpha_mode"] = "1"
        return stream

    def _add_audio(self, kind: str) -> AudioStream:
        assert self._block is not None
        codec = {"webm": "libopus"}.get(kind, "pcm_s16le" if self._channels == 4 else "aac")
        rate = self._rate if codec != "libopus" and self._rate in _AAC_RATES else 48000
        layout = "mono" if len(self._block) == 1 else "stereo"
        stream = self._container.add_stream(codec, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout
        stream.codec_context.bit_rate = 96_000 * len(self._block)
        self._resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        return stream

    def write(self, image: UInt8[np.ndarray, "H W C"]) -> None:
        """Adds the next picture, (height, width, 3) sRGB or with `alpha` (height, width, 4).

        Raises:
            InputError: Its shape or dtype is another.
        """
        shape = (self.height, self.width, self._channels)
        if image.shape != shape or image.dtype != np.uint8:
            raise InputError(
                "The picture cannot be written",
                expected=f"a uint8 array of shape {shape}",
                found=f"{image.dtype} of shape {image.shape}",
            )
        if self.width % 2 or self.height % 2:
            image = np.pad(image, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba" if self._channels == 4 else "rgb24")
        frame = frame.reformat(
            format=self._video.pix_fmt,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | EXACT,
        )
        frame.pts, frame.time_base = self.frames, 1 / self._fps
        self.frames += 1
        self._container.mux(self._video.encode(frame))
        # Sound keeps pace with the pictures, so that the muxer never has to hold one back for the other.
        self._sound_until(math.ceil(self.frames / self._fps * self._rate))

    def _sound_until(self, sample: float) -> None:
        if self._sound is None or self._audio is None:
            return
        while self._block is not None and self._heard < sample:
            block, self._block = self._block, next(self._sound, None)
            if not block.size:
                continue
            frame = AudioFrame.from_ndarray(block, format="fltp", layout="mono" if len(block) == 1 else "stereo")
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._heard, Fraction(1, self._rate)
            self._heard += block.shape[1]
            for part in self._resampler.resample(frame):
                self._container.mux(self._audio.encode(part))

    def close(self) -> None:
        """Finishes the file and gives it its name."""
        if self.frames == 0:
            self._discard()
            raise InputError(f"{self.path} was not written", expected="at least one picture", found="none")
        self._container.mux(self._video.encode(None))
        if self._sound is not None and self._audio is not None:
            self._sound_until(math.inf)
            for part in self._resampler.resample(None):
                self._container.mux(self._audio.encode(part))
            self._container.mux(self._audio.encode(None))
        self._container.close()
        if self._marked is not None:
            mark_stereo(self._partial, self._marked)
        self._partial.replace(self.path)

    def _discard(self) -> None:
        self._container.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self.close()
        except BaseException:
            self._discard()
            raise


def _blocks(
    sound: Float[np.ndarray, "N ..."] | Iterable[Float[np.ndarray, "N ..."]], rate: int
) -> Iterator[Float[np.ndarray, "C M"]]:
    """The sound as planes of about a tenth of a second; a shorter block would only cost calls."""
    for samples in [sound] if isinstance(sound, np.ndarray) else sound:
        planes = np.atleast_2d(np.asarray(samples, np.float32).T)
        if planes.ndim != 2 or len(planes) not in (1, 2) or rate < 1 or not np.isfinite(planes).all():
            raise InputError(
                "The sound cannot be written",
                expected="finite samples (N,) or (N, 1 or 2) and a rate in Hz",
                found=f"shape {np.shape(samples)} at {rate} Hz",
            )
        step = max(rate // 10, 1)
        for start in range(0, planes.shape[1], step):
            yield np.ascontiguousarray(np.clip(planes[:, start : start + step], -1, 1))
