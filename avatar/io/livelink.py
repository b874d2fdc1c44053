"""Recordings of Live Link Face (Epic Games): a CSV of ARKit coefficients, beside the video they were measured in.

Columns: ``Timecode`` (hours, minutes, seconds, frames with a fraction), ``BlendShapeCount``, the 52 coefficients in
Pascal case, and yaw, pitch and roll of head and eyes in radians.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from avatar.errors import FormatError, InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io._files import replacing
from avatar.io.arkit_track import ArkitTrack
from avatar.io.livelink_packet import PACKET_NAMES

VIDEOS = (".mov", ".mp4", ".m4v")
TURNS = ("HeadYaw", "HeadPitch", "HeadRoll")
EYE_TURNS = tuple(f"{side}Eye{turn}" for side in ("Left", "Right") for turn in ("Yaw", "Pitch", "Roll"))
# Frames a second of the clock in the time codes; the app records at 30 or 60.
CLOCKS = (24, 25, 30, 50, 60)
_TABLE = "a CSV of Live Link Face: Timecode, BlendShapeCount and ARKit's coefficients"
_CODE = re.compile(r"(\d+):(\d+):(\d+)[:;.](\d+(?:\.\d+)?)$")


def is_livelink(path: Path) -> bool:
    """Whether a file is a CSV of Live Link Face, or a folder holds one."""
    return _csv(path) is not None


def livelink_video(path: Path) -> Path:
    """The video that belongs to a CSV, or to the CSV in a folder; raises InputError where there is not one."""
    table = _csv(path)
    folder = path if path.is_dir() else path.parent
    videos = sorted(file for file in folder.iterdir() if file.suffix.lower() in VIDEOS)
    # The app calls the CSV after the video; some of its versions add a suffix.
    same = [video for video in videos if table is not None and table.stem.startswith(video.stem)]
    chosen = same or videos
    if len(chosen) != 1:
        raise InputError(
            f"{path} has no video that belongs to it",
            expected="one video of the same name beside the CSV",
            found=", ".join(file.name for file in videos) or "none",
            fix="put the CSV and its video into one folder",
        )
    return chosen[0]


def read_livelink(path: Path, *, clock: float | None = None) -> ArkitTrack:
    """Reads a CSV, or the one in a folder.

    Args:
        path: The file or folder.
        clock: Frames a second of the time codes; the smallest usual one that fits them when None.

    Raises:
        InputError: There is no such file.
        FormatError: It is no CSV of Live Link Face.
    """
    table = _csv(path)
    if table is None:
        if not path.exists():
            raise InputError(f"There is no file {path}", expected=_TABLE, found="no such CSV", fix="check the path")
        raise _refusal(path, "another table" if path.is_file() else "a folder without one")
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    try:
        codes = [_code(row["Timecode"]) for row in rows]
        named = [{key.lower(): value for key, value in row.items() if isinstance(key, str)} for row in rows]
        weights = np.array([[float(row.get(name.lower()) or 0) for name in ARKIT_NAMES] for row in named])
        turns = np.array([[float(row.get(name.lower()) or 0) for name in TURNS] for row in named])
    except (KeyError, ValueError, TypeError) as error:
        raise _refusal(table, str(error)) from error
    if not rows or not np.isfinite(weights).all():
        raise _refusal(table, "no rows" if not rows else "values that are not finite")
    seconds, frames = np.array(codes).T
    rate = clock or float(next((fps for fps in CLOCKS if fps > frames.max()), CLOCKS[-1]))
    time = seconds + frames / rate
    # Midnight turns the clock back by a day.
    time = time + 86400 * np.cumsum(np.concatenate([[0], np.diff(time) < -43200]))
    time = time - time[0]
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(time)) > 0])
    return ArkitTrack(time[keep], weights.clip(0, 1)[keep], turns[keep])


def write_livelink(path: Path, track: ArkitTrack, *, clock: float = 60.0) -> None:
    """Writes a CSV that `read_livelink` and Live Link Face's importers read, in the app's own order of columns.

    The first row stands in the last frame of the first second, so that a reader sees what the clock counts to. The
    eyes' turns stay zero: their looks are among the coefficients.

    Raises:
        InputError: The file cannot be written.
    """
    names = [name[0].upper() + name[1:] for name in PACKET_NAMES]
    lines = [",".join(("Timecode", "BlendShapeCount", *names, *TURNS, *EYE_TURNS))]
    order = [ARKIT_NAMES.index(name) for name in PACKET_NAMES]
    # In thousandths of a frame, as the app writes them, no rounding can reach the next second unseen.
    ticks = np.rint((np.asarray(track.time) - track.time[0]) * clock * 1000).astype(np.int64) + round(clock - 1) * 1000
    for tick, weights, turns in zip(ticks, track.weights, track.turns, strict=True):
        whole, part = divmod(int(tick), round(clock * 1000))
        frames = f"{part // 1000:02d}.{part % 1000:03d}"
        code = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frames}"
        values = ",".join(f"{value:.8f}" for value in (*weights[order], *turns, *np.zeros(len(EYE_TURNS))))
        lines.append(f"{code},{len(names) + len(TURNS) + len(EYE_TURNS)},{values}")
    text = "\n".join(lines) + "\n"
    replacing(path, lambda file: file.write_text(text, encoding="utf-8"))


def _csv(path: Path) -> Path | None:
    for file in filter(Path.is_file, sorted(path.glob("*.csv")) if path.is_dir() else [path]):
        with file.open("rb") as stream:
            head = stream.read(64).decode("utf-8-sig", "replace")
        if head.startswith("Timecode,BlendShapeCount"):
            return file
    return None


def _code(text: str) -> tuple[float, float]:
    """Whole seconds and frames of a time code."""
    found = _CODE.match(text.strip())
    if found is None:
        raise ValueError(f"the time code {text!r}")
    hours, minutes, seconds, frames = found.groups()
    return 3600.0 * int(hours) + 60.0 * int(minutes) + int(seconds), float(frames)


def _refusal(path: Path, found: str) -> FormatError:
    return FormatError(
        f"{path} cannot be read",
        expected=_TABLE,
        found=found,
        fix="export the take from the app again",
    )
