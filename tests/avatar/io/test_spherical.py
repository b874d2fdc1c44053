"""The marks of stereo and VR180 in MP4 and MOV: FFmpeg reads them, and the pictures stay what they were."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatar.errors import FormatError
from avatar.io._spherical import _children, _top_level, mark_stereo
from avatar.io.video import VideoWriter, read_frames


def write(path: Path, stereo: str | None, *, frames: int = 12) -> list[np.ndarray]:
    """A little film with sound; gives its pictures as they come back."""
    sound = np.sin(np.arange(16000) / 9).astype(np.float32) / 3
    with VideoWriter(path, fps=Fraction(24), width=64, height=32, audio=(sound, 16000), stereo=stereo) as video:  # type: ignore[arg-type]
        for index in range(frames):
            image = np.zeros((32, 64, 3), np.uint8)
            image[:, : 4 * index] = 200
            video.write(image)
    return [frame.image for frame in read_frames(path)]


def entry(path: Path) -> dict[bytes, bytes]:
    """The boxes of the video's sample entry."""
    start, size = _top_level(path)[b"moov"]
    data = bytearray(path.read_bytes()[start : start + size])
    place = data.index(b"avc1") - 4
    length = struct.unpack_from("!I", data, place)[0]
    return {kind: bytes(data[at + 8 : at + more]) for kind, at, more in _children(data, place + 86, place + length)}


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(("stereo", "mode"), [("sbs", 2), ("tb", 1), ("180", 2)])
def test_the_marks_are_there_and_the_film_is_the_same(stereo: str, mode: int, suffix: str, tmp_path: Path) -> None:
    plain = write(tmp_path / f"plain{suffix}", None)
    marked = write(tmp_path / f"marked{suffix}", stereo)
    assert len(plain) == len(marked) == 12
    assert all(np.abs(a.astype(int) - b).max() <= 3 for a, b in zip(plain, marked, strict=True))
    with av.open(str(tmp_path / f"marked{suffix}")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 15000
    boxes = entry(tmp_path / f"marked{suffix}")
    assert boxes[b"st3d"] == bytes([0, 0, 0, 0, mode])
    assert (b"sv3d" in boxes) == (stereo == "180")
    assert b"st3d" not in entry(tmp_path / f"plain{suffix}")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_half_sphere_leaves_out_a_quarter_on_either_side(tmp_path: Path) -> None:
    write(tmp_path / "vr.mp4", "180")
    sphere = entry(tmp_path / "vr.mp4")[b"sv3d"]
    top, bottom, left, right = struct.unpack("!4I", sphere[sphere.index(b"equi") + 8 :][:16])
    assert (top, bottom, left / 2**32, right / 2**32) == (0, 0, 0.25, 0.25)


def test_other_films_have_no_place_for_marks(tmp_path: Path) -> None:
    write(tmp_path / "film.mkv", "sbs")
    assert b"st3d" not in (tmp_path / "film.mkv").read_bytes()
    for content in (b"", b"no film", (tmp_path / "film.mkv").read_bytes()):
        (tmp_path / "other.mp4").write_bytes(content)
        with pytest.raises(FormatError, match="cannot be marked as stereo"):
            mark_stereo(tmp_path / "other.mp4", "sbs")
        assert (tmp_path / "other.mp4").read_bytes() == content


def test_ffmpeg_reads_a_half_sphere_for_two_eyes(tmp_path: Path) -> None:
    write(tmp_path / "vr.mp4", "180")
    with av.open(str(tmp_path / "vr.mp4")) as container:
        marks = {mark.type.name: bytes(mark) for mark in next(container.decode(video=0)).side_data}
    # AVSphericalMapping: projection, yaw, pitch, roll, bounds left, top, right, bottom, padding.
    projection, yaw, pitch, roll, left, top, right, bottom, _ = struct.unpack("=4i5I", marks["SPHERICAL"])
    assert (projection, yaw, pitch, roll) == (2, 0, 0, 0), "a part of an equirectangular picture"
    assert (left, top, right, bottom) == (2**30, 0, 2**30, 0)
    # AVStereo3D starts with its type: side by side.
    assert struct.unpack_from("=i", marks["STEREO3D"]) == (1,)
