"""A face over time as ARKit's 52 coefficients, and its JSON.

    {"format": "arkit-52", "names": [52 names], "frames": [
      {"time": 0.0, "weights": [52 numbers], "head": [yaw, pitch, roll]}, ...]}

Times are seconds; `head` is optional, in degrees to the head's own left, up, and to its left shoulder. Weights may also
be an object by name, what is left out being zero; `names` may be left out where they are in the order of `ARKIT_NAMES`,
and `time` where the file has an `fps`. Read too: the JSON of NVIDIA's Audio2Face (`facsNames`, `weightMat`,
`exportFps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from avatar.errors import FormatError, InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io._files import replacing

if TYPE_CHECKING:
    from jaxtyping import Float

FORMAT = "arkit-52"
_LOWER = {name.lower(): index for index, name in enumerate(ARKIT_NAMES)}


@dataclass(frozen=True)
class ArkitTrack:
    """Coefficients over T moments.

    Attributes:
        time: (T,) seconds, strictly increasing.
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        turns: (T, 3) the head's yaw to its own left, pitch up and roll to its left shoulder, radians.
    """

    time: Float[np.ndarray, " T"]
    weights: Float[np.ndarray, "T 52"]
    turns: Float[np.ndarray, "T 3"]


def write_arkit_json(path: Path, track: ArkitTrack) -> None:
    """Writes a track; raises InputError where the file cannot be written."""
    rows = zip(track.time, track.weights, np.degrees(track.turns), strict=True)
    frames = [{"time": _round(time), "weights": _round(weights), "head": _round(head)} for time, weights, head in rows]
    lines = ",\n    ".join(msgspec.json.encode(frame).decode() for frame in frames)
    names = msgspec.json.encode(ARKIT_NAMES).decode()
    text = f'{{\n  "format": "{FORMAT}",\n  "names": {names},\n  "frames": [\n    {lines}\n  ]\n}}\n'
    replacing(path, lambda file: file.write_text(text, encoding="utf-8"))


def read_arkit_json(path: Path) -> ArkitTrack:
    """Reads a track.

    Raises:
        InputError: There is no such file.
        FormatError: It is something else.
    """
    try:
        content: Any = msgspec.json.decode(path.read_bytes())
        return _track(content)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}", expected="JSON", found="nothing", fix="check the path") from error
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError, TypeError, IsADirectoryError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        found = "a folder" if isinstance(error, IsADirectoryError) else found
        raise FormatError(
            f"{path} cannot be read",
            expected='JSON such as {"fps": 30, "frames": [{"weights": {"jawOpen": 0.4}, "head": [10, 0, 0]}]}',
            found=found,
            fix="docs/editing.md shows the format",
        ) from error


def _track(content: Any) -> ArkitTrack:
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__} and no object")
    if "weightMat" in content:
        names, fps = content["facsNames"], float(content["exportFps"])
        frames = [{"weights": row} for row in content["weightMat"]]
    else:
        names, frames = content.get("names", ARKIT_NAMES), content["frames"]
        fps = float(content.get("fps", 0))
    if not frames:
        raise ValueError("no frames")
    columns = [_column(name) for name in names]
    time = np.array([_time(frame, index, fps) for index, frame in enumerate(frames)])
    weights = np.stack([_weights(frame["weights"], columns) for frame in frames])
    turns = np.array([frame.get("head") or (0.0, 0.0, 0.0) for frame in frames], np.float64)
    if turns.shape != (len(frames), 3):
        raise ValueError("a head that is not three numbers")
    if not (np.isfinite(weights).all() and np.isfinite(turns).all() and np.isfinite(time).all()):
        raise ValueError("numbers that are not finite")
    if not (np.diff(time) > 0).all():
        raise ValueError("times that do not increase")
    return ArkitTrack(time, weights.clip(0, 1), np.radians(turns))


def _time(frame: dict[str, Any], index: int, fps: float) -> float:
    if "time" in frame:
        return float(frame["time"])
    if not fps > 0:
        raise ValueError("frames without a time, and no fps")
    return index / fps


def _weights(given: Any, columns: list[int | None]) -> np.ndarray:
    row = np.zeros(len(ARKIT_NAMES))
    if isinstance(given, dict):
        columns, given = [_column(name) for name in given], list(given.values())
    if len(given) != len(columns):
        raise ValueError(f"{len(given)} weights for {len(columns)} names")
    for column, value in zip(columns, given, strict=True):
        if column is not None:
            row[column] = float(value)
    return row


def _column(name: Any) -> int | None:
    """Where a coefficient is; None for MediaPipe's `_neutral`, which says nothing."""
    if str(name).lower() == "_neutral":
        return None
    if str(name).lower() not in _LOWER:
        raise ValueError(f"{name!r}, which is no name of ARKit's")
    return _LOWER[str(name).lower()]


def _round(value: Any) -> Any:
    """Plain numbers without digits that mean nothing."""
    return np.round(np.asarray(value, np.float64), 6).tolist()
