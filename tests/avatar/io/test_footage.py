"""A clip's pictures in any order: the same ones as in order, by little decoding, with few in memory."""

import gc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avatar.errors import FormatError
from avatar.io import footage
from avatar.io.footage import numbers_at, picture_times, pictures_at
from avatar.io.video import read_frames

COUNT, WIDTH, HEIGHT = 90, 96, 64
# From a picture after the first to the end, held there, backwards, held, forwards with gaps, and backwards again.
THERE_AND_BACK = np.array([*range(3, 90), 89, 89, *range(88, 4, -1), 4, 4, *range(5, 80, 2), *range(79, 70, -1)])


def clip(path: Path, codec: str = "libx264", *, count: int = COUNT, **options: str) -> Path:
    """A bar that wanders over a picture that brightens."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(30), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(count):
            image = np.full((HEIGHT, WIDTH, 3), index * 2 % 256, np.uint8)
            image[:, index % 90 : index % 90 + 6] = (255, 0, 90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Fraction]:
    """The moments of all that is decoded, with stretches of ten pictures."""
    moments, plain = [], footage.timed_frames

    def counted(*arguments) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        for moment, frame in plain(*arguments):
            moments.append(moment)
            yield moment, frame

    monkeypatch.setattr(footage, "timed_frames", counted)
    monkeypatch.setattr(footage, "STRETCH_BYTES", 10 * WIDTH * HEIGHT * 3 // 2)
    return moments


@pytest.mark.parametrize(
    ("name", "codec", "options", "most"),
    [
        ("a.mp4", "libx264", {"g": "12", "bf": "3"}, 400),
        ("short_groups.mp4", "libx264", {"g": "2", "bf": "3"}, 400),
        ("open_groups.mkv", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}, 400),
        ("late_start.ts", "libx264", {"g": "12", "bf": "3"}, 450),
        ("a.webm", "libvpx-vp9", {"g": "20"}, 450),
        ("a.avi", "mjpeg", {}, 300),
        # What has no times, or one key-frame only, is decoded from its beginning.
        ("a.h264", "libx264", {"g": "12", "bf": "3"}, 1200),
        ("one_group.mp4", "libx264", {"g": "500"}, 1200),
    ],
)
def test_pictures_are_those_that_come_in_order(
    name: str, codec: str, options: dict[str, Any], most: int, tmp_path: Path, decoded: list[Fraction]
) -> None:
    path = clip(tmp_path / name, codec, **options)
    in_order = [frame.image for frame in read_frames(path)]
    assert len(in_order) == COUNT
    shown = list(pictures_at(path, THERE_AND_BACK))
    wrong = [i for i, image in enumerate(shown) if not np.array_equal(image, in_order[THERE_AND_BACK[i]])]
    assert len(shown) == len(THERE_AND_BACK) and not wrong
    assert len(decoded) < most


def test_memory_holds_one_stretch_however_long_it_goes_on(tmp_path: Path, decoded: list[Fraction]) -> None:
    path = clip(tmp_path / "a.mp4", g="12", bf="3")
    numbers, alive = np.tile([*range(90), *range(88, 0, -1)], 3), []
    gc.collect()
    gc.disable()
    try:
        for index, _ in enumerate(pictures_at(path, numbers)):
            if index % 15 == 0:
                alive.append(sum(type(thing) is av.VideoFrame for thing in gc.get_objects()))
    finally:
        gc.enable()
    assert len(alive) == 36 and 5 < max(alive) < 20
    assert len(decoded) < 3 * len(numbers)


def test_a_picture_that_stands_still_is_decoded_once(tmp_path: Path, decoded: list[Fraction]) -> None:
    path = clip(tmp_path / "a.mp4", count=5)
    shown = list(pictures_at(path, np.full(1000, 4)))
    assert len(shown) == 1000 and len(decoded) == 6
    shown[0][:] = 0
    assert shown[1].any()


def test_a_number_beyond_the_end_shows_the_last_picture(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", count=5)
    last = [frame.image for frame in read_frames(path)][-1]
    assert all(np.array_equal(image, last) for image in pictures_at(path, np.array([4, 6, 9, 8, 7])))


def test_what_has_no_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no clip")
    with pytest.raises(FormatError, match="not a media file"):
        next(pictures_at(tmp_path / "a.mp4", np.arange(3)))


def timed_clip(path: Path, stamps: list[int]) -> Path:
    """A clip whose pictures are shown at these milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_times_are_the_files_own_and_no_more_is_decoded_than_asked(tmp_path: Path, decoded: list[Fraction]) -> None:
    path = timed_clip(tmp_path / "a.mkv", [200, 240, 300, 900, 950, 1000])
    assert np.allclose(picture_times(path, 0.5), [0, 0.04, 0.1, 0.7], atol=1e-3) and len(decoded) == 4
    assert np.allclose(picture_times(path, 9.0), [0, 0.04, 0.1, 0.7, 0.75, 0.8], atol=1e-3)


def test_a_picture_is_shown_from_its_time_until_the_next() -> None:
    slides = np.array([0, 2.0, 2.5])
    assert numbers_at(slides, np.array([0, 1.0, 1.99, 2.0, 2.4, 2.5]), hold=True).tolist() == [0, 0, 0, 1, 1, 2]
    assert numbers_at(slides, np.array([0, 3.0, 99.0]), hold=True).tolist() == [0, 2, 2]
    assert numbers_at(np.zeros(1), np.arange(5.0)).tolist() == [0] * 5
    # Of every rate that divides the film's all pictures are shown equally long, though the file rounds their times.
    for rate, film in ((25, 50), (30, 60), (24, 24), (29.97, 59.94)):
        numbers = numbers_at(np.round(np.arange(40) / rate, 3), np.arange(60) / film, hold=True)
        assert numbers.tolist() == (np.arange(60) // round(film / rate)).clip(max=39).tolist()
    there_and_back = numbers_at(np.arange(31) / 10, np.arange(0, 9, 0.1))
    assert there_and_back[:28].tolist() == list(range(28)) and (np.diff(there_and_back[:31]) >= 0).all()
    assert there_and_back[31:60].min() <= 1 and (np.diff(there_and_back[31:59]) <= 0).all()
    assert (np.diff(there_and_back[62:]) >= 0).all() and there_and_back.min() == 0 and there_and_back.max() >= 28


@pytest.mark.parametrize(
    ("cover", "shape"), [((48, 32), (32, 48)), ((48, 8), (32, 48)), ((12, 32), (32, 48)), ((200, 10), (HEIGHT, WIDTH))]
)
def test_pictures_are_shrunk_as_far_as_they_cover(
    cover: tuple[int, int], shape: tuple[int, int], tmp_path: Path
) -> None:
    path = clip(tmp_path / "a.mp4", count=2)
    (picture,) = pictures_at(path, np.array([1]), cover=cover)
    assert picture.shape == (*shape, 3)
    whole = next(pictures_at(path, np.array([1])))
    assert np.abs(picture.astype(int).mean((0, 1)) - whole.mean((0, 1))).max() < 2
