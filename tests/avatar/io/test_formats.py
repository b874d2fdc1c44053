"""Codecs, containers and clocks that recordings come with, on the embedded clip and on flashes with clicks."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatar.io.audio import read_audio
from avatar.io.video import probe, read_frames

DEMO = Path(__file__).resolve().parents[3] / "assets" / "demo.mp4"
RATE, TICK = 48000, Fraction(1, 600)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    frames = read_frames(DEMO, max_side=128, wanted=range(0, 60, 5))
    return [frame.image for frame in frames]


def write(
    path: Path,
    images,
    *,
    times=None,
    codec="libx264",
    pixels="yuv420p",
    options=None,
    clicks=(),
    sound_start=0.0,
    sound_stop=None,
    shift=0.0,
) -> Path:
    """Pictures at their times in seconds, and clicks in sound that begins and ends at other times; all shifted."""
    times = np.arange(len(images)) / 25 if times is None else times
    codecs = {".webm": "libopus", ".mkv": "libopus"}
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], pixels
        context = stream.codec_context
        context.time_base = TICK
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        audio = container.add_stream(codecs.get(path.suffix, "aac"), rate=RATE, layout="mono") if len(clicks) else None
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=pixels, src_color_range=2, dst_color_range=1, dst_colorspace=1)
            frame.pts, frame.time_base = round((time + shift) / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is None:
            return path
        samples = np.zeros(round(((times[-1] + 0.04 if sound_stop is None else sound_stop) - sound_start) * RATE))
        for click in clicks:
            start = round((click - sound_start) * RATE)
            samples[start : start + 480] = 0.8 * np.sin(np.arange(480) * 0.4)
        for start in range(0, len(samples) - 959, 960):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960].astype("f4"), "fltp", "mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = start + round((sound_start + shift) * RATE)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


@pytest.fixture
def usual_scheduling():
    """Undoes what SVT-AV1 does when root runs it: it makes the thread that asks real-time, and all that it starts.

    A browser of a later test, real-time in every thread, can hold both cores for ever.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, policy, parameters)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mp4", "libx265", "yuv420p", {"x265-params": "log-level=none:crf=12"}),
        ("a.mov", "libx265", "yuv420p10le", {"x265-params": "log-level=none:crf=12"}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"crf": "12", "b": "0", "cpu-used": "8"}),
        ("a.mkv", "libx265", "yuv422p10le", {"x265-params": "log-level=none:crf=12"}),
        ("a.mp4", "libsvtav1", "yuv420p10le", {"crf": "15", "preset": "12"}),
        ("a.mov", "prores_ks", "yuv422p10le", {}),
        ("a.mkv", "mjpeg", "yuvj420p", {"qmin": "2", "qmax": "2"}),
    ],
)
def test_phone_and_desktop_formats_read_alike(
    tmp_path, pictures, monkeypatch, usual_scheduling, name, codec, pixels, options
):
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {codec}")
    monkeypatch.setenv("SVT_LOG", "0")
    path = write(tmp_path / name, pictures, codec=codec, pixels=pixels, options=options)
    read = list(read_frames(path))
    assert probe(path).frames == len(read) == len(pictures)
    assert np.allclose([frame.time for frame in read], np.arange(len(read)) / 25, atol=0.002)
    limit = 6 if codec == "mjpeg" else 4
    for frame, picture in zip(read, pictures, strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < limit


@pytest.mark.parametrize("fps", [24, Fraction(30000, 1001), 50, 60])
def test_any_frame_rate_keeps_its_clock(tmp_path, pictures, fps):
    times = np.arange(len(pictures)) / float(fps)
    path = write(tmp_path / "a.mp4", pictures, times=times)
    assert np.allclose([frame.time for frame in read_frames(path)], times, atol=0.002)


def moments(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """When flashes are seen and clicks are heard, in seconds."""
    seen = np.array([frame.time for frame in read_frames(path) if frame.image.mean() > 150])
    sound = read_audio(path)
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound) > 0.2) / 16000
    return seen, loud[np.diff(loud, prepend=-1) > 0.1]


def flashes(times: np.ndarray, at: list[float]) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 240 if np.abs(np.array(at) - time).min() < 1e-6 else 20, np.uint8) for time in times]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
@pytest.mark.parametrize(
    ("sound_start", "sound_stop", "shift"),
    [
        (0.0, 4.0, 0.0),
        (0.6, 4.0, 0.0),  # sound sets in later than the picture
        (-0.4, 4.0, 1.0),  # sound first, and neither at zero: an empty edit in MP4 and MOV
        (0.0, 3.0, 2.5),  # a late start of everything
    ],
)
def test_flash_and_click_stay_together(tmp_path, name, sound_start, sound_stop, shift):
    at = [1.0, 2.2]
    times = np.arange(100) / 25
    webm = name.endswith("webm")
    path = write(
        tmp_path / name,
        flashes(times, at),
        times=times,
        clicks=at,
        codec="libvpx-vp9" if webm else "libx264",
        options={"cpu-used": "8"} if webm else {},
        sound_start=sound_start,
        sound_stop=sound_stop,
        shift=shift,
    )
    seen, heard = moments(path)
    assert np.allclose(seen, at, atol=0.005)
    assert np.allclose(heard, at, atol=0.012)


def test_an_edit_list_that_skips_the_start_skips_it_in_both(tmp_path):
    """MP4 from a phone's trim: the file holds 4 s, its edit lists show them from 1 s on."""
    at, times = [1.4, 2.6], np.arange(100) / 25
    path = write(tmp_path / "a.mp4", flashes(times, at), times=times, clicks=at, options={"bf": "2", "g": "10"})
    before = moments(path)
    data = bytearray(path.read_bytes())
    place, scales = 0, []
    # Of both tracks: the one edit's media time is moved by one second in the track's own clock.
    while (place := data.find(b"mdhd", place + 1)) > 0:
        scales.append(int.from_bytes(data[place + 16 : place + 20], "big"))
    place = 0
    for scale in scales:
        place = data.index(b"elst", place + 1)
        assert data[place + 4] == 0 and int.from_bytes(data[place + 8 : place + 12], "big") == 1
        start = int.from_bytes(data[place + 16 : place + 20], "big")
        data[place + 16 : place + 20] = (start + scale).to_bytes(4, "big")
    path.write_bytes(data)
    seen, heard = moments(path)
    assert np.allclose(before[0], at, atol=0.005)
    assert np.allclose(seen, np.array(at) - 1, atol=0.005)
    assert np.allclose(heard, seen, atol=0.025)


def test_a_pause_longer_than_ten_seconds_is_kept(tmp_path):
    """A recorder that writes no sound while nobody speaks."""
    times = np.arange(0, 40, 0.5)
    path = write(tmp_path / "a.mkv", flashes(times, [1.0, 36.0]), times=times, clicks=[36.0], sound_start=35.0)
    seen, heard = moments(path)
    assert np.allclose(seen, [1.0, 36.0], atol=0.005)
    assert np.allclose(heard, [36.0], atol=0.012)
