"""Sound of any length and format: read in blocks, kept on disk, muxed to the sample."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avatar.errors import InputError
from avatar.io.audio import SoundFacts, audio_blocks, read_audio, write_wav
from avatar.io.picture_folder import PictureFolder
from avatar.io.sound import SoundFile, StoredSound, store_sound
from avatar.io.video import VideoWriter

RATE = 16_000


def speech_like(seconds: float, rate: int) -> np.ndarray:
    """Noise below 3 kHz that comes and goes, so that every moment can be told from every other."""
    count = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / rate) > 3000] = 0
    wave = np.fft.irfft(spectrum, count) * np.sin(np.arange(count) / rate * 7) ** 2
    return (0.6 * wave / np.abs(wave).max()).astype(np.float32)


def lag(said: np.ndarray, heard: np.ndarray) -> int:
    """By how many samples the second is later than the first."""
    size = len(said) + len(heard)
    match = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    best = int(match.argmax())
    return best if best < size / 2 else best - size


def encode(path: Path, samples: np.ndarray, rate: int, *, codec: str, layout: str = "mono") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        planes = np.ascontiguousarray(np.atleast_2d(samples))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        kind = stream.codec_context.format.name if stream.codec_context.format else "fltp"
        for part in av.AudioResampler(format=kind, layout=layout, rate=rate).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.m4a", "aac", 48_000, "mono"),
        ("a.opus", "libopus", 48_000, "mono"),
        ("a.flac", "flac", 96_000, "mono"),
        ("a.wav", "pcm_s16le", 8_000, "mono"),
        ("a.mka", "pcm_f32le", 48_000, "5.1"),
    ],
)
def test_any_format_gives_the_same_sound_in_place(
    name: str, codec: str, rate: int, layout: str, tmp_path: Path
) -> None:
    said = speech_like(2.0, rate)
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    encode(tmp_path / name, np.repeat(said[None], channels, axis=0), rate, codec=codec, layout=layout)
    sound, facts = store_sound(tmp_path / name, rate=RATE)
    with sound:
        heard = sound[:]
    true = speech_like(2.0, 48_000)[::3] if rate == 48_000 else None
    assert len(heard) / RATE == pytest.approx(2.0, abs=0.06)
    assert facts.rate == rate and facts.seconds == pytest.approx(2.0, abs=0.06) and facts.clipped == 0
    if true is not None:
        assert abs(lag(true, heard)) <= 1
        assert np.corrcoef(true[1000:30000], heard[1000:30000])[0, 1] > 0.97


def test_blocks_are_the_file_and_can_be_read_again(tmp_path: Path) -> None:
    said = speech_like(3.0, 44_100)
    write_wav(tmp_path / "a.wav", said, rate=44_100)
    file = SoundFile(tmp_path / "a.wav", RATE)
    first, again = np.concatenate(list(file)), np.concatenate(list(file))
    whole = read_audio(tmp_path / "a.wav", rate=RATE)
    assert whole is not None
    np.testing.assert_array_equal(first, whole)
    np.testing.assert_array_equal(first, again)
    assert max(map(len, file)) < RATE


@pytest.mark.parametrize("seconds", [1, 200])
def test_stored_sound_gives_slices_like_an_array(seconds: int) -> None:
    """200 s are more than is kept in memory."""
    samples = np.random.default_rng(0).standard_normal(seconds * RATE).astype(np.float32)
    with StoredSound(np.array_split(samples, 7), RATE) as stored:
        assert len(stored) == len(samples)
        for part in (slice(None), slice(5, 9), slice(-100, None), slice(9, 5), slice(0, 10**9), slice(0, 100, 3)):
            np.testing.assert_array_equal(stored[part], samples[part])
        np.testing.assert_array_equal(np.asarray(stored), samples)


def test_what_a_sound_is_like(tmp_path: Path) -> None:
    def facts_of(samples: np.ndarray, rate: int) -> SoundFacts:
        write_wav(tmp_path / "a.wav", samples, rate=rate)
        facts = SoundFacts()
        assert sum(map(len, audio_blocks(tmp_path / "a.wav", facts=facts))) > 0
        return facts

    clipped = facts_of(10 * speech_like(1.0, 8000), 8000)
    assert (
        clipped.rate == 8000
        and clipped.seconds == pytest.approx(1)
        and clipped.peak > 0.999
        and 0.01 < clipped.clipped < 0.5
    )
    # A single sample at full scale is a loud recording, not a clipped one.
    loud = np.zeros(8000, np.float32)
    loud[100] = 1
    assert facts_of(loud, 8000).clipped == 0
    assert facts_of(np.zeros(8000, np.float32), 8000).peak == 0


def test_a_file_without_a_sample(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(0, np.float32))
    with pytest.raises(InputError, match=r"without a sample|no sound track"):
        store_sound(tmp_path / "a.wav", rate=RATE)


def film(path: Path, sound: np.ndarray | SoundFile, rate: int, *, pictures: int, fps: Fraction, alpha: bool) -> None:
    with VideoWriter(path, fps=fps, width=16, height=16, audio=(sound, rate), alpha=alpha) as video:
        for _ in range(pictures):
            video.write(np.zeros((16, 16, 4 if alpha else 3), np.uint8))


def sound_packets(path: Path) -> list[tuple[int | None, int | None, bytes]]:
    """Time, length and bytes of every packet of a film's sound."""
    with av.open(str(path)) as container:
        return [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux(audio=0)]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_blocks_are_muxed_to_the_sample(fps: Fraction, tmp_path: Path) -> None:
    said = speech_like(4.0, 48_000)
    write_wav(tmp_path / "a.wav", said, rate=48_000)
    stored, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    pictures = round(4 * fps)
    film(tmp_path / "a.mov", SoundFile(tmp_path / "a.wav", 48_000), 48_000, pictures=pictures, fps=fps, alpha=True)
    heard = read_audio(tmp_path / "a.mov", rate=48_000)
    # PCM holds what came in, to the bit of 16.
    assert heard is not None
    np.testing.assert_allclose(heard, stored, atol=1.01 / 32768)
    film(tmp_path / "a.mp4", SoundFile(tmp_path / "a.wav", 48_000), 48_000, pictures=pictures, fps=fps, alpha=False)
    heard = read_audio(tmp_path / "a.mp4", rate=48_000)
    assert heard is not None and abs(len(heard) / 48_000 - float(pictures / fps)) < 1 / fps
    second = 48_000
    assert lag(said[:second], heard[:second]) == 0
    assert lag(said[-second:], heard[3 * second : 4 * second]) == 0
    assert np.abs(heard).max() < 1
    film(tmp_path / "b.mp4", stored, 48_000, pictures=pictures, fps=fps, alpha=False)
    # Packet by packet, to the byte: on a busy machine whole files have differed now and then, nobody knows yet where.
    assert sound_packets(tmp_path / "b.mp4") == sound_packets(tmp_path / "a.mp4")


def test_a_folder_of_pictures_gets_the_blocks_too(tmp_path: Path) -> None:
    said = speech_like(1.0, 48_000)
    write_wav(tmp_path / "a.wav", said, rate=48_000)
    with PictureFolder(
        tmp_path / "film", fps=Fraction(25), audio=(SoundFile(tmp_path / "a.wav", 48_000), 48_000)
    ) as out:
        out.write(np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "film" / "sound.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_sound_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield np.zeros(4800, np.float32)
        raise InputError("the disk went away")

    with (
        pytest.raises(InputError, match="went away"),
        VideoWriter(tmp_path / "a.mp4", fps=Fraction(25), width=16, height=16, audio=(broken(), 48_000)) as video,
    ):
        for _ in range(25):
            video.write(np.zeros((16, 16, 3), np.uint8))
    assert not list(tmp_path.iterdir())
