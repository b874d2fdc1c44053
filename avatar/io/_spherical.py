"""Marks in an MP4 that its pictures hold two eyes, and half a sphere: how headsets and video sites know VR180.

The boxes ``st3d`` and ``sv3d`` in the video's sample entry (Google, "Spherical Video V2 RFC").
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Literal

from avatar.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

STEREO_MODES = {"tb": 1, "sbs": 2}
# Of the full turn, in 0.32 fixed point, a half sphere leaves a quarter out on either side.
QUARTER = 1 << 30
# Boxes on the way to the sample entry, and what of them comes before their children.
PATH = ((b"moov", 0), (b"trak", 0), (b"mdia", 0), (b"minf", 0), (b"stbl", 0), (b"stsd", 8), (b"avc1", 78))
CHUNK = 1 << 22


def mark_stereo(path: Path, layout: Literal["sbs", "tb", "180"]) -> None:
    """Adds the marks to a finished H.264 MP4 or MOV; the file is replaced.

    Raises:
        FormatError: It is none.
    """
    marks = _box(b"st3d", bytes([0, 0, 0, 0, STEREO_MODES["sbs" if layout == "180" else layout]]))
    marks += _half_sphere() if layout == "180" else b""
    places = _top_level(path)
    if b"moov" not in places or b"mdat" not in places:
        raise _refusal(path, "no index")
    start, size = places[b"moov"]
    with path.open("rb") as file:
        file.seek(start)
        moov = bytearray(file.read(size))
    _insert(path, moov, marks)
    if start < places[b"mdat"][0]:
        _shift_chunks(moov, len(marks))
    partial = path.with_name(f".{path.name}.marked")
    with path.open("rb") as source, partial.open("wb") as target:
        _copy(source, target, start)
        target.write(moov)
        source.seek(start + size)
        _copy(source, target, None)
    partial.replace(path)


def _half_sphere() -> bytes:
    header = _box(b"svhd", b"\0\0\0\0" + b"headsplat\0")
    pose = _box(b"prhd", bytes(4 + 12))
    bounds = _box(b"equi", bytes(4) + struct.pack("!4I", 0, 0, QUARTER, QUARTER))
    return _box(b"sv3d", header + _box(b"proj", pose + bounds))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack("!I", 8 + len(content)) + kind + content


def _top_level(path: Path) -> dict[bytes, tuple[int, int]]:
    """Place and size of the boxes of a file."""
    places: dict[bytes, tuple[int, int]] = {}
    with path.open("rb") as file:
        place = 0
        while len(head := file.read(16)) >= 8:
            size, kind = struct.unpack("!I4s", head[:8])
            size = struct.unpack("!Q", head[8:])[0] if size == 1 and len(head) == 16 else size
            if size < 8:
                raise _refusal(path, f"a box of {size} bytes")
            places[kind] = (place, size)
            place += size
            file.seek(place)
    return places


def _children(data: bytearray, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """Kind, place and size of the boxes between two places."""
    found = []
    while start + 8 <= end:
        size, kind = struct.unpack_from("!I4s", data, start)
        if size < 8:
            break
        found.append((bytes(kind), start, size))
        start += size
    return found


def _insert(path: Path, moov: bytearray, marks: bytes) -> None:
    """Puts marks at the end of the video's sample entry, and makes all boxes around it larger."""

    def search(depth: int, start: int, end: int) -> list[int] | None:
        for kind, place, size in _children(moov, start, end):
            if kind != PATH[depth][0]:
                continue
            if depth + 1 == len(PATH):
                return [place]
            inside = search(depth + 1, place + 8 + PATH[depth][1], place + size)
            if inside is not None:
                return [place, *inside]
        return None

    around = search(0, 0, len(moov))
    if around is None:
        raise _refusal(path, "no H.264 video")
    entry_size = struct.unpack_from("!I", moov, around[-1])[0]
    for place in around:
        struct.pack_into("!I", moov, place, struct.unpack_from("!I", moov, place)[0] + len(marks))
    end = around[-1] + entry_size
    moov[end:end] = marks


def _shift_chunks(moov: bytearray, distance: int) -> None:
    """Moves what the index says about the place of the media, which lies behind the index."""
    inner = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
    waiting = [(0, len(moov))]
    while waiting:
        for kind, place, size in _children(moov, *waiting.pop()):
            if kind in inner:
                waiting.append((place + 8, place + size))
            elif kind in (b"stco", b"co64"):
                count = struct.unpack_from("!I", moov, place + 12)[0]
                layout = f"!{count}{'I' if kind == b'stco' else 'Q'}"
                moved = [offset + distance for offset in struct.unpack_from(layout, moov, place + 16)]
                struct.pack_into(layout, moov, place + 16, *moved)


def _copy(source: BinaryIO, target: BinaryIO, size: int | None) -> None:
    """Copies so many bytes, or all that are left."""
    while data := source.read(CHUNK if size is None else min(CHUNK, size)):
        target.write(data)
        size = None if size is None else size - len(data)


def _refusal(path: Path, found: str) -> FormatError:
    return FormatError(f"{path} cannot be marked as stereo", expected="an MP4 or MOV with H.264 video", found=found)
