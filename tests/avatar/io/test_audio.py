from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

from avatar.errors import FormatError, InputError
from avatar.io._packets import decoded
from avatar.io.audio import read_audio, write_wav
from avatar.io.video import VideoWriter


def click_at(seconds: float, *, rate: int = 48000, length: float = 1.0) -> np.ndarray:
    samples = np.zeros(round(rate * length), np.float32)
    start = round(seconds * rate)
    samples[start : start + rate // 100] = 0.8
    return samples


def onset(samples: np.ndarray, rate: int = 16000) -> float:
    return float(np.argmax(np.abs(samples) > 0.3) / rate)


def media(path, *, sound: np.ndarray, layout: str = "mono", video_start: int = 0, audio_start: int = 0) -> None:
    """A clip with PCM sound whose tracks begin at the given milliseconds."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width = video.height = 16
        audio = container.add_stream("pcm_s16le", rate=48000)
        audio.layout = layout
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = video_start + index * 40, Fraction(1, 1000)
            video.codec_context.time_base = Fraction(1, 1000)
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        samples = np.round(sound * 32767).astype(np.int16)
        for start in range(0, sound.shape[1], 4800):
            block = np.ascontiguousarray(samples[:, start : start + 4800].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, start + audio_start * 48, Fraction(1, 48000)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


@pytest.mark.parametrize(("video_start", "audio_start"), [(0, 0), (0, 200), (200, 0), (300, 300)])
def test_sample_zero_is_heard_with_the_first_picture(tmp_path, video_start, audio_start):
    media(tmp_path / "a.mkv", sound=click_at(0.5)[None], video_start=video_start, audio_start=audio_start)
    samples = read_audio(tmp_path / "a.mkv")
    assert samples is not None
    assert samples.dtype == np.float32
    assert onset(samples) == pytest.approx(0.5 + (audio_start - video_start) / 1000, abs=0.003)
    assert len(samples) / 16000 == pytest.approx(1 + (audio_start - video_start) / 1000, abs=0.01)


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_channels_are_mixed_without_clipping(tmp_path, layout, channels):
    media(tmp_path / "a.mkv", sound=np.repeat(click_at(0.25)[None], channels, axis=0), layout=layout)
    samples = read_audio(tmp_path / "a.mkv", rate=48000)
    assert samples is not None
    assert samples[12000:12400].mean() == pytest.approx(0.8, abs=0.01)


def test_a_pause_of_the_clock_is_silence(tmp_path):
    path = tmp_path / "a.mkv"
    media(path, sound=click_at(0.5)[None])
    whole = read_audio(path)
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
        stream = source.streams.audio[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and not 0.1 <= packet.pts * packet.time_base < 0.35:
                packet.stream = copy
                target.mux(packet)
    samples = read_audio(tmp_path / "b.mkv")
    assert whole is not None and samples is not None
    assert onset(samples) == pytest.approx(onset(whole), abs=0.003)


@pytest.mark.parametrize(("broken", "kept"), [("decode", [0, 1, 3]), ("demux", [0, 1])])
def test_a_codec_or_a_reader_that_fails_costs_its_packet_or_the_rest(broken, kept):
    def fail(where, packet):
        if where == broken and packet == 2:
            raise av.error.ExternalError(-542398533, "Generic error in an external library")
        return packet

    stream = SimpleNamespace(decode=lambda packet: [fail("decode", packet)])
    container = SimpleNamespace(demux=lambda _: (fail("demux", packet) for packet in range(4)))
    assert list(decoded(container, stream)) == kept  # type: ignore[arg-type]


def test_no_sound_track_gives_none(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=Fraction(25), width=16, height=16) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert read_audio(tmp_path / "a.mp4") is None


def test_wav_round_trip_and_resampling(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32) / 2
    write_wav(tmp_path / "a.wav", tone)
    same, finer = read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "a.wav", rate=48000)
    assert same is not None and finer is not None
    assert np.abs(same - tone).max() < 1e-4
    assert len(finer) == pytest.approx(48000, abs=2)
    soundfile.write(tmp_path / "f.flac", np.stack([tone, -tone], axis=1), 16000)
    mixed = read_audio(tmp_path / "f.flac")
    assert mixed is not None
    assert np.abs(mixed).max() < 1e-3


def test_bad_input_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(FormatError, match="plain text"):
        read_audio(tmp_path / "text.wav")
    with pytest.raises(InputError, match="no such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(InputError, match="cannot be written"):
        write_wav(tmp_path / "text.wav" / "a.wav", np.zeros(9))


def test_samples_that_are_no_numbers_are_refused(tmp_path) -> None:
    samples = click_at(0.5).astype(np.float32)
    samples[24000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 48000, subtype="FLOAT")
    with pytest.raises(
        InputError, match=r"a\.wav has samples that are no numbers\.\n.*\n  Found: NaN or infinity at 0\.50 s"
    ):
        read_audio(tmp_path / "a.wav")
