"""Key-framed overrides: single actions and turns of the head, set by hand over what a motion does."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from scipy.spatial.transform import Rotation

from avatar.editing.curves import seconds_of
from avatar.errors import FormatError, InputError
from avatar.heads.arkit import ARKIT_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avatar.editing.face import FaceMap
    from avatar.motion import Motion

# To the head's own left, up, and towards its left shoulder, degrees.
HEAD_CHANNELS = ("headYaw", "headPitch", "headRoll")
KEY_CHANNELS = (*ARKIT_NAMES, *HEAD_CHANNELS)
LARGEST_TURN = 90.0
_OPPOSITE = {"Up": "Down", "Down": "Up", "In": "Out", "Out": "In"}
_EXAMPLE = "time,channel,value,interpolation"


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value at one time.

    Attributes:
        time: Seconds from the motion's first moment.
        channel: One of `KEY_CHANNELS`.
        value: 0 to 1 of an ARKit action, or degrees; ``own`` is what the motion itself does.
        interpolation: The way to the next key of the channel.
    """

    time: float
    channel: str
    value: float | Literal["own"]
    interpolation: Literal["linear", "smooth", "step"] = "linear"

    def check(self) -> None:
        """Raises InputError where the key cannot be used."""
        low, high = (-LARGEST_TURN, LARGEST_TURN) if self.channel in HEAD_CHANNELS else (0.0, 1.0)
        if self.channel not in KEY_CHANNELS:
            expected, found = f"an ARKit action such as jawOpen, or {', '.join(HEAD_CHANNELS)}", repr(self.channel)
        elif not np.isfinite(self.time):
            expected, found = "a time in seconds", str(self.time)
        elif self.value != "own" and not low <= self.value <= high:
            expected, found = f"{low:g} to {high:g}, or own", f"{self.value:g}"
        else:
            return
        raise InputError(f"A key of {self.channel!r} cannot be used", expected=expected, found=found)


def override(motion: Motion, face: FaceMap, keys: Sequence[Key]) -> Motion:
    """The motion with what the keys say in place of its own, on the keyed channels only.

    Before a channel's first key and after its last one these are held.

    Args:
        motion: Any motion.
        face: The map of its head model.
        keys: In any order.

    Raises:
        InputError: A key cannot be used, or a channel has two of one time.
    """
    tracks: dict[str, list[Key]] = {}
    for key in keys:
        key.check()
        tracks.setdefault(key.channel, []).append(key)
    seconds = seconds_of(motion)
    courses = {name: _course(name, track, seconds) for name, track in tracks.items()}
    own = face.weights(motion)
    change = np.zeros_like(own)
    for name, (value, share) in courses.items():
        if name in HEAD_CHANNELS:
            continue
        index = ARKIT_NAMES.index(name)
        change[:, index] = share * (value - own[:, index])
        other = opposite_look(name)
        # An eye that is told to look up does not look down as well.
        if other is not None and other not in courses:
            index = ARKIT_NAMES.index(other)
            change[:, index] = -share * own[:, index]
    moved = face.moved(motion, change)
    return _turned(moved, {name: course for name, course in courses.items() if name in HEAD_CHANNELS})


def opposite_look(name: str) -> str | None:
    """The action that turns the same eye the other way; None for what is no look."""
    for way, other in _OPPOSITE.items():
        if name.startswith(f"eyeLook{way}"):
            return name.replace(f"eyeLook{way}", f"eyeLook{other}")
    return None


def _course(name: str, track: list[Key], seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) value of a channel, and (T,) how much of it is the keys' and not the motion's own."""
    track = sorted(track, key=lambda key: key.time)
    times = np.array([key.time for key in track])
    if len(set(times)) < len(times):
        raise InputError(f"The keys of {name} cannot be used", expected="one key a time", found="a time twice")
    shares = np.array([float(key.value != "own") for key in track])
    values = np.array([0.0 if key.value == "own" else key.value for key in track])
    before = (np.searchsorted(times, seconds, side="right") - 1).clip(0, len(track) - 1)
    after = np.minimum(before + 1, len(track) - 1)
    length = np.where(after > before, times[after] - times[before], 1.0)
    part = ((seconds - times[before]) / length).clip(0, 1)
    kinds = np.array([key.interpolation for key in track])[before]
    part = np.where(kinds == "smooth", part * part * (3 - 2 * part), np.where(kinds == "step", 0.0, part))
    # Towards `own`, and away from it, the value is that of the other key.
    first = np.where(shares[before] > 0, values[before], values[after])
    last = np.where(shares[after] > 0, values[after], values[before])
    return first + part * (last - first), shares[before] + part * (shares[after] - shares[before])


def _turned(motion: Motion, courses: dict[str, tuple[np.ndarray, np.ndarray]]) -> Motion:
    """The motion with angles of the head set, about its mean pose; the neck does it."""
    if not courses:
        return motion
    root, neck = (Rotation.from_rotvec(getattr(motion, name)) for name in ("global_orient", "neck_pose"))
    rest = (root * neck).mean()
    angles = head_angles(rest.inv() * root * neck)
    for column, name in enumerate(HEAD_CHANNELS):
        value, share = courses.get(name, (np.zeros(1), np.zeros(1)))
        angles[:, column] += share * (np.radians(value) - angles[:, column])
    turned = root.inv() * rest * head_rotation(angles)
    return replace(motion, neck_pose=turned.as_rotvec().astype(np.float32))


def head_rotation(angles: np.ndarray) -> Rotation:
    """The rotation of yaw to the head's own left, pitch up and roll to its left shoulder (..., 3), radians."""
    yaw, pitch, roll = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    return Rotation.from_euler("yxz", np.stack([yaw, -pitch, -roll], axis=-1))


def head_angles(turns: Rotation) -> np.ndarray:
    """The inverse of `head_rotation`."""
    return turns.as_euler("yxz") * [1, -1, -1]


def read_keys(path: Path) -> list[Key]:
    """Keys from a CSV with a head line (`time,channel,value` and maybe `interpolation`), or a JSON list of objects.

    Raises:
        InputError: There is no such file.
        FormatError: It is neither, or a key cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}", expected="keys", found="nothing", fix="check the path") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise _refusal(path, "a folder" if isinstance(error, IsADirectoryError) else "no text") from error
    try:
        rows = msgspec.json.decode(text) if path.suffix.lower() == ".json" else _table(text)
        rows = rows["keys"] if isinstance(rows, dict) and "keys" in rows else rows
        keys = msgspec.convert(rows, list[Key], strict=False)
        for key in keys:
            key.check()
    except InputError as error:
        raise _refusal(path, f"{error.what}: {error.found}; expected {error.expected}") from error
    except (msgspec.DecodeError, csv.Error) as error:
        raise _refusal(path, str(error)) from error
    if not keys:
        raise _refusal(path, "no keys")
    return keys


def _table(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV, without cells that are empty."""
    table = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    found = [name.strip() for name in table.fieldnames or ()]
    if not {"time", "channel", "value"} <= set(found):
        raise msgspec.ValidationError(f"the columns {', '.join(found) or 'of an empty file'}")
    rows = []
    for row in table:
        if None in row:
            raise msgspec.ValidationError(f"more cells than columns in line {table.line_num}")
        rows.append({name.strip(): value.strip() for name, value in row.items() if value and value.strip()})
    return [row for row in rows if row]


def _refusal(path: Path, found: str) -> FormatError:
    return FormatError(
        f"{path} cannot be read",
        expected=f"keys: a CSV with the columns {_EXAMPLE}, or a JSON list of such objects",
        found=found,
        fix="docs/editing.md shows the format",
    )
