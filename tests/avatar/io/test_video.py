import gc
import logging
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatar.errors import FormatError, InputError
from avatar.io.audio import read_audio
from avatar.io.video import VideoWriter, frame_count, probe, read_frames

QUADRANTS = ((230, 30, 30), (30, 200, 30), (30, 30, 220), (200, 200, 200))


def picture(width: int = 64, height: int = 48, shift: int = 0) -> np.ndarray:
    """Four coloured quadrants: red and green above, blue and grey below."""
    image = np.zeros((height, width, 3), np.uint8)
    for k, colour in enumerate(QUADRANTS):
        rows, columns = slice(k // 2 * height // 2, None), slice(k % 2 * width // 2, None)
        image[rows, columns] = np.clip(np.array(colour) - shift, 0, 255)
    return image


def clip(path: Path, *, frames: int = 30, size=(64, 48), **options) -> Path:
    with VideoWriter(path, fps=Fraction(30), width=size[0], height=size[1], **options) as writer:
        for index in range(frames):
            writer.write(picture(*size, shift=index))
    return path


def corners(image: np.ndarray) -> list[int]:
    """Which quadrant colour each corner of a picture shows, row by row."""
    h, w = image.shape[:2]
    spots = [image[y, x].astype(int) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
    return [int(np.abs(np.array(QUADRANTS) - spot).sum(axis=1).argmin()) for spot in spots]


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Overwrites a, b, c, d of the video track's display matrix (the first tkhd box, version 0)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_a_written_clip_reads_back_with_its_colours_and_times(tmp_path):
    path = clip(tmp_path / "a.mp4")
    info = probe(path)
    assert (info.width, info.height, info.fps, info.frames, info.rotation) == (64, 48, 30, 30, 0)
    assert (info.has_audio, info.codec) == (False, "h264")
    read = list(read_frames(path))
    assert np.allclose([frame.time for frame in read], np.arange(30) / 30)
    for index, frame in enumerate(read):
        inner = np.abs(frame.image.astype(int) - picture(shift=index))[8:16, 8:24]
        assert inner.mean() < 3
    assert not list(tmp_path.glob(".*"))


def test_the_written_file_says_bt709_and_starts_fast(tmp_path):
    path = clip(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert [int(v) for v in (context.colorspace, context.color_primaries, context.color_trc)] == [1, 1, 1]
        assert int(context.color_range) == 1
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("matrix", "order", "rotation"),
    [
        ((1, 0, 0, 1), [0, 1, 2, 3], 0),
        ((0, 1, -1, 0), [2, 0, 3, 1], 270),
        ((-1, 0, 0, -1), [3, 2, 1, 0], 180),
        ((0, -1, 1, 0), [1, 3, 0, 2], 90),
        ((-1, 0, 0, 1), [1, 0, 3, 2], 0),
    ],
)
def test_pictures_stand_upright_whatever_the_display_matrix(tmp_path, matrix, order, rotation):
    path = clip(tmp_path / "a.mp4", frames=3)
    set_matrix(path, matrix)
    info, frame = probe(path), next(read_frames(path))
    assert corners(frame.image) == order
    assert info.rotation == rotation
    assert (info.height, info.width) == frame.image.shape[:2] == ((64, 48) if matrix[0] == 0 else (48, 64))


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (9, False), (1, True)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le"])
def test_matrix_range_and_depth_of_the_source_are_honoured(tmp_path, matrix, full, pixels):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
        frame = frame.reformat(
            format=pixels, src_color_range=2, dst_color_range=2 if full else 1, dst_colorspace=matrix
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image = next(read_frames(path)).image
    assert np.abs(image.astype(int) - picture())[4:20, 4:28].max() <= 3


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    path, stamps = tmp_path / "a.mp4", [100, 140, 150, 300, 310, 400]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = 64, 48
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.allclose([frame.time for frame in read_frames(path)], (np.array(stamps) - 100) / 1000, atol=1e-3)


def test_max_side_shrinks_and_never_enlarges(tmp_path):
    path = clip(tmp_path / "a.mp4", frames=2, size=(128, 96))
    assert next(read_frames(path, max_side=64)).image.shape == (48, 64, 3)
    assert next(read_frames(path, max_side=999)).image.shape == (96, 128, 3)


def test_frames_are_let_go_one_by_one(tmp_path):
    path = clip(tmp_path / "a.mp4", frames=60)
    set_matrix(path, (0, 1, -1, 0))
    gc.collect()
    gc.disable()
    try:
        for frame in read_frames(path):
            if frame.index == 50:
                alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 10


def test_odd_sizes_are_padded_and_sound_lasts_as_long_as_the_pictures(tmp_path):
    fps, sound = Fraction(30000, 1001), np.sin(np.arange(24000) / 9).astype(np.float32) / 2
    with VideoWriter(tmp_path / "a.mp4", fps=fps, width=63, height=47, audio=(sound, 16000)) as writer:
        for _ in range(frame_count(1.5, fps)):
            writer.write(picture(63, 47))
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (64, 48, fps, True)
    assert abs(info.duration - 1.5) <= 1 / fps
    heard = read_audio(tmp_path / "a.mp4")
    assert heard is not None
    assert abs(len(heard) - 24000) <= 1024
    assert np.corrcoef(heard[2000:20000], sound[2000:20000])[0, 1] > 0.99


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.mov", "prores")])
def test_transparency_survives(tmp_path, name, codec):
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    with VideoWriter(tmp_path / name, fps=Fraction(25), width=64, height=48, alpha=True) as writer:
        for _ in range(3):
            writer.write(np.dstack([picture(), alpha]))
    decoder = av.CodecContext.create(codec, "r")
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        decoder.extradata = stream.codec_context.extradata
        decoder.codec_tag = stream.codec_context.codec_tag
        decoded = next(frame for packet in container.demux(stream) for frame in decoder.decode(packet))
    assert decoded.format.name.startswith("yuva")
    found = decoded.reformat(format="rgba").to_ndarray()[..., 3].astype(int)
    assert np.abs(found - alpha).mean() < 4


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    path = clip(tmp_path / "a.mp4", frames=3)
    before = path.read_bytes()
    with (
        pytest.raises(InputError, match=r"uint8 array of shape \(48, 64, 3\)"),
        VideoWriter(path, fps=Fraction(30), width=64, height=48) as w,
    ):
        w.write(picture())
        w.write(np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="at least one picture"):
        VideoWriter(path, fps=Fraction(30), width=64, height=48).close()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("a.avi", {}, r"\.mp4"),
        ("a.mp4", {"alpha": True}, r"\.webm"),
        ("a.mp4", {"width": 0}, "positive size"),
        ("a.mp4", {"audio": (np.zeros((9, 3)), 16000)}, "sound cannot be written"),
        ("file/a.mp4", {}, "folder that can be written"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, name, options, text):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=text):
        VideoWriter(tmp_path / name, **{"fps": Fraction(25), "width": 8, "height": 8} | options)


def test_files_that_are_no_video_say_what_they_are(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n")
    (tmp_path / "empty.mp4").touch()
    whole = clip(tmp_path / "whole.mp4").read_bytes()
    box = whole.index(b"moov")
    (tmp_path / "headless.mp4").write_bytes(whole[: box - 4])
    sound = tmp_path / "sound.wav"
    import soundfile

    soundfile.write(sound, np.zeros(1600), 16000)
    for name, kind, message in (
        ("missing.mp4", InputError, "no such file"),
        (".", InputError, "a folder"),
        ("text.mp4", FormatError, "plain text"),
        ("empty.mp4", FormatError, "is empty"),
        ("headless.mp4", FormatError, "cut off"),
        ("sound.wav", FormatError, "has no video"),
    ):
        with pytest.raises(kind, match=message):
            probe(tmp_path / name)
        with pytest.raises(kind, match=message):
            next(read_frames(tmp_path / name))


def test_a_cut_off_file_gives_what_is_there_and_says_how_much(tmp_path, caplog):
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.mp4", fps=Fraction(10), width=64, height=48) as writer:
        for _ in range(60):
            writer.write(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    whole = (tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        count = sum(1 for _ in read_frames(path))
    assert 10 < count < 50
    assert "of 6.0 s could be decoded" in caplog.text


def test_a_damaged_stretch_costs_itself_only(tmp_path):
    path = clip(tmp_path / "a.mp4", frames=60)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (len(data) - start) // 2
    data[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(data)
    times = [frame.time for frame in read_frames(path)]
    assert len(times) > 40
    assert (np.diff(times) > 0).all()


def test_the_shared_clips_are_read_whole(shared):
    for path in sorted((shared / "clips").glob("*.mp4")):
        info = probe(path)
        times = [frame.time for frame in read_frames(path, max_side=64)]
        assert len(times) == info.frames
        assert times[-1] + float(1 / info.fps) == pytest.approx(info.duration, abs=0.02)
        sound = read_audio(path)
        assert sound is not None
        assert len(sound) / 16000 == pytest.approx(info.duration, abs=0.1)
