"""The options that edit a motion, for the commands that have them: `render` and `motion`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from avatar.editing import Curve, FaceMap, GazeKey, gain, look, motion_of, override, read_curves, read_keys, track_of
from avatar.editing.emotions import with_emotions
from avatar.editing.gaze import eye_turns, eyes_place
from avatar.errors import FormatError, InputError
from avatar.heads.retarget import motion_on
from avatar.io._files import replacing
from avatar.io.arkit_track import read_arkit_json, write_arkit_json
from avatar.io.livelink import read_livelink, write_livelink
from avatar.render import motions
from avatar.render.shots import stage
from avatar.render.trajectories import camera_eye

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.io.arkit_track import ArkitTrack
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.render.shots import Shot

TRACKS = {".csv": read_livelink, ".json": read_arkit_json}
WRITERS = {".csv": write_livelink, ".json": write_arkit_json}
ENDINGS = (".npz", *TRACKS)
CURVE_FORMAT = "[[0, 1], [2, 0]]"
GAZE_FORMAT = '[{"time": 0, "at": "camera"}, {"time": 2, "at": [0.3, 0, -0.2]}, {"time": 3, "at": "own"}]'


class Edits(Protocol):
    """The options that say what to change of a motion."""

    @property
    def emotion(self) -> tuple[str, ...]: ...
    @property
    def gain(self) -> tuple[str, ...]: ...
    @property
    def gaze(self) -> str | None: ...
    @property
    def keys(self) -> Path | None: ...


class _GazeRow(msgspec.Struct, forbid_unknown_fields=True):
    time: float
    at: str | tuple[float, float, float]


def file_track(path: Path) -> ArkitTrack | None:
    """The track in a file, by its ending; None for what is no track's."""
    reader = TRACKS.get(path.suffix.lower())
    return None if reader is None else reader(path)


def check_motion_name(path: Path, option: str) -> None:
    """Raises InputError for a name that no format of a motion has."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            "The motion cannot be written to that name",
            expected=f"{option} with one of {', '.join(ENDINGS)}",
            found=str(path),
            fix="choose the ending of the format that is wanted",
        )


def write_motion(path: Path, motion: Motion, head: Head) -> None:
    """Writes a motion in the format of a name's ending; raises InputError where it cannot be written."""
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        replacing(path, motion.save)
    else:
        write(path, track_of(motion, head))


def driving_motion(path: Path, stored: StoredAvatar) -> tuple[Motion, str | None]:
    """A file's motion for an avatar, and a note where it had to be converted from another head model.

    Raises:
        InputError: There is no such file, it is empty, or it belongs to a head model that it cannot be converted from.
        FormatError: It is no motion.
    """
    head, track = stored.head, file_track(path)
    if track is not None:
        return motion_of(track, head, motions.ease_motion(stored)), None
    return motion_on(motions.file_motion(path), head, betas=stored.gaussians.betas)


def edited_for(stored: StoredAvatar, motion: Motion, options: Edits, shot: Shot) -> Motion:
    """An avatar's motion as the options change it, the camera being the film's."""
    camera = None
    if options.gaze == "camera" and (shot.camera != "front" or shot.look_at_face):
        camera = np.stack([camera_eye(view) for view in stage(stored, motion, shot).cameras])
    return edited(motion, FaceMap(stored.head, motion.betas), options, camera=camera, rest=stored)


def edited(
    motion: Motion,
    face: FaceMap,
    options: Edits,
    *,
    camera: Float[np.ndarray, "T 3"] | None = None,
    rest: StoredAvatar | None = None,
) -> Motion:
    """A motion with gains, emotions, gaze and keys, in this order, as the options say.

    Raises:
        InputError: An option cannot be used.
        FormatError: Nor can a file that it names.
    """
    if options.gain:
        motion = gain(motion, face, named_numbers(options.gain, "--gain", "mouth=1.2"))  # type: ignore[arg-type]
    if options.emotion:
        motion = with_emotions(motion, face, intensities(options.emotion))
    if options.gaze:
        straight = None if rest is None else straight_gaze(rest)
        motion = look(motion, face, gaze_keys(options.gaze), camera=camera, straight=straight)
    return override(motion, face, read_keys(options.keys)) if options.keys else motion


def straight_gaze(stored: StoredAvatar) -> Float[np.ndarray, " 2"]:
    """Pitch and yaw of an avatar's eyes where they look straight ahead.

    Tracked eyes are off by a few degrees. People who film themselves look at the lens, so that what the eyes do at ease
    is taken for that.
    """
    ease = motions.ease_motion(stored)
    middle, turned = eyes_place(ease, FaceMap(stored.head, ease.betas))
    return (ease.leye_pose[0, :2] + ease.reye_pose[0, :2]) / 2 - eye_turns(-middle, turned)[0]


def intensities(options: tuple[str, ...]) -> dict[str, Curve]:
    """Emotions' intensities from NAME, NAME:NUMBER and files of curves."""
    result: dict[str, Curve] = {}
    for text in options:
        path = Path(text)
        if path.suffix.lower() == ".json":
            result |= existing(path, read_curves)
            continue
        name, separator, number = text.partition(":")
        result[name] = parsed_number(number, "--emotion", text, "NAME or NAME:0.5") if separator else 1.0
    return result


def named_numbers(options: tuple[str, ...], option: str, example: str) -> dict[str, float]:
    """Numbers by name, from texts such as ``mouth=1.2``."""
    result = {}
    for text in options:
        name, _, number = text.partition("=")
        result[name] = parsed_number(number, option, text, f"NAME=NUMBER, such as {example}")
    return result


def parsed_number(number: str, option: str, text: str, expected: str) -> float:
    """A number that an option has; raises InputError for anything else."""
    try:
        return float(number)
    except ValueError as error:
        raise InputError(
            f"The option {option} cannot be used", expected=expected, found=text, fix="avatar motion --help lists names"
        ) from error


def gaze_keys(text: str) -> list[GazeKey]:
    """Where to look when: ``camera``, a point as x,y,z, or a JSON file."""
    if text == "camera":
        return [GazeKey(0.0, "camera")]
    path = Path(text)
    if path.suffix.lower() == ".json":
        return existing(path, _read_gaze)
    try:
        x, y, z = (float(part) for part in text.split(","))
        if not np.isfinite([x, y, z]).all():
            raise ValueError
    except ValueError as error:
        raise InputError(
            "The option --gaze cannot be used", expected="camera, a point x,y,z in metres, or a .json file", found=text
        ) from error
    return [GazeKey(0.0, (x, y, z))]


def _read_gaze(path: Path) -> list[GazeKey]:
    try:
        rows = msgspec.json.decode(path.read_bytes(), type=list[_GazeRow])
        if wrong := [row.at for row in rows if isinstance(row.at, str) and row.at not in ("camera", "own")]:
            raise msgspec.ValidationError(f"a look at {wrong[0]!r}")
        if not rows:
            raise msgspec.ValidationError("no targets")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read", expected=f"JSON such as {GAZE_FORMAT}", found=str(error)) from error
    return [GazeKey(row.time, row.at) for row in rows]  # type: ignore[arg-type]


def existing(path: Path, read: Any) -> Any:
    """What is in a file; raises InputError where there is none."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"There is no file {path}", expected="JSON", found=found, fix="check the path")
    return read(path)


def file_curve(text: str) -> Curve:
    """A number, or the curve in a JSON file."""
    path = Path(text)
    if path.suffix.lower() != ".json":
        return parsed_number(text, "--mix", text, f"a number, or a .json file of a curve such as {CURVE_FORMAT}")
    return existing(path, _read_curve)


def _read_curve(path: Path) -> Curve:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[tuple[float, float]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path} cannot be read", expected=f"JSON such as {CURVE_FORMAT}", found=str(error), fix="correct the file"
        ) from error
