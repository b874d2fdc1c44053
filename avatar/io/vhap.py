"""VHAP's export folder, which GaussianAvatars trains on: transforms, pictures, masks and FLAME parameters.

Layout (VHAP, vhap/export_as_nerf_dataset.py): ``transforms*.json`` with one entry a picture, ``images/00000_00.png``
over white, ``fg_masks/``, ``flame_param/00000.npz``. Matrices are camera-to-world in OpenGL axes. The head's mean
translation is moved to the origin, and the cameras with it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.config import read_json, write_json
from avatar.errors import FormatError, InputError
from avatar.io._files import write_png, writing
from avatar.io.audio import write_wav
from avatar.io.imported import ImportedClip, read_picture
from avatar.motion import Motion

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.io.take import Take

LAYOUT = "VHAP"
FLAME = "flame"
# The arrays of a parameter file, one row each, and the motion's own names.
NAMES = {"rotation": "global_orient", "neck_pose": "neck_pose", "jaw_pose": "jaw_pose", "translation": "transl"}
# FLAME parameters of VHAP go here; those of another head model where nobody takes them for FLAME's.
FOLDERS = ("flame_param", "head_param")
FPS = 25.0
SOUND, SPEECH_RATE = "speech.wav", 16000


def is_vhap(path: Path) -> bool:
    """Whether a folder has VHAP's transforms."""
    return any((path / f"transforms{part}.json").is_file() for part in ("", "_train")) and any(
        (path / name).is_dir() for name in (*FOLDERS, "fg_masks")
    )


def read_vhap(path: Path, *, camera: int | None = None, fps: float = FPS) -> ImportedClip:
    """Reads an export folder; pictures are read when they are asked for.

    Args:
        path: The folder.
        camera: Which camera's pictures; needed where there are several.
        fps: Pictures a second, which the layout does not state.

    Raises:
        FormatError: The folder does not fit the layout.
        InputError: There are several cameras and none was chosen, or it is not there.
    """
    frames = _frames(path)
    found = sorted({int(frame.get("camera_index", 0)) for frame in frames})
    if (camera is None and len(found) > 1) or (camera is not None and camera not in found):
        raise InputError(
            f"{path} has pictures of {len(found)} camera{'s' if len(found) > 1 else ''}",
            expected="one camera: a take is monocular",
            found=f"cameras {', '.join(map(str, found))}" + ("" if camera is None else f", not {camera}"),
            fix=f"choose one, such as --camera {found[0]}",
        )
    rows = sorted(
        (row for row in frames if int(row.get("camera_index", 0)) == (found[0] if camera is None else camera)),
        key=lambda row: int(row["timestep_index"]),
    )
    stated = all("time" in row for row in rows)
    time = np.array([float(row["time"]) if stated else int(row["timestep_index"]) / fps for row in rows])
    if len(time) > 1:
        fps = float(1 / np.median(np.diff(time)))
    first = rows[0]
    masks = [row.get("fg_mask_path") for row in rows]
    return ImportedClip(
        layout=LAYOUT,
        images=[_inside(path, str(row["file_path"])) for row in rows],
        time=time,
        fps=fps,
        mask=_mask_reader([_inside(path, str(name)) for name in masks]) if all(masks) else None,
        sound=path / SOUND if (path / SOUND).is_file() else None,
        focal=float(first["fl_x"]),
        center=(float(first["cx"]), float(first["cy"])),
        to_world=np.array([row["transform_matrix"] for row in rows], np.float64),
        motion=_motion(path, rows, time),
    )


def write_vhap(take: Take, path: Path) -> None:
    """Writes a tracked take as an export folder, its pictures over white as VHAP's are.

    Parameters of a head that is not FLAME go to ``head_param`` instead of ``flame_param``, with the head's name.

    Raises:
        InputError: The take is not tracked, or the folder cannot be written to.
    """
    motion, info = take.motion(), take.info
    for name in ("images", "fg_masks", _folder(motion)):
        writing(path / name, lambda folder: folder.mkdir(parents=True, exist_ok=True))
    used = np.flatnonzero(take.used)
    middle = motion.transl[used].mean(axis=0).astype(np.float64)
    camera = np.eye(4)
    camera[:3, 3] = -middle
    shared = {
        "cx": info.width / 2,
        "cy": info.height / 2,
        "fl_x": info.focal,
        "fl_y": info.focal,
        "h": info.height,
        "w": info.width,
        "camera_angle_x": 2 * math.atan(info.width / 2 / info.focal),
        "camera_angle_y": 2 * math.atan(info.height / 2 / info.focal),
    }
    rows: dict[int, dict[str, Any]] = {}
    for index in used.tolist():
        name = f"{index:05d}_00.png"
        alpha = take.mask(index)
        picture = take.image(index) * alpha[..., None] + 255 * (1 - alpha[..., None])
        write_png(path / "images" / name, np.round(picture).astype(np.uint8))
        write_png(path / "fg_masks" / name, np.round(alpha * 255).astype(np.uint8))
        values = _parameters(motion, index, middle)
        file = path / _folder(motion) / f"{index:05d}.npz"
        writing(file, lambda target, kept=values: np.savez(target, **kept))  # pyright: ignore[reportArgumentType]
        rows[index] = shared | {
            "timestep_index": index,
            "timestep_index_original": index,
            "timestep_id": f"{index:05d}",
            "camera_index": 0,
            "camera_id": "0",
            "time": float(take.times[index]),
            "transform_matrix": camera.tolist(),
            "file_path": f"images/{name}",
            "fg_mask_path": f"fg_masks/{name}",
            "flame_param_path": f"{_folder(motion)}/{index:05d}.npz",
        }
    parts = {"": used, **{f"_{name}": chosen for name, chosen in take.split().items()}}
    for name, chosen in parts.items():
        content = shared | {
            "frames": [rows[index] for index in chosen.tolist()],
            "timestep_indices": chosen.tolist(),
            "camera_indices": [0],
        }
        writing(path / f"transforms{name}.json", lambda target, kept=content: write_json(target, kept))
    sound = take.speech()
    if sound is not None:
        # No part of the layout: other readers pass it over, and the take comes back with its voice.
        write_wav(path / SOUND, sound, rate=SPEECH_RATE)
    first = _parameters(motion, 0, middle)
    canonical = {key: np.zeros_like(value) if value.ndim == 2 else value for key, value in first.items()}
    target = path / f"canonical_{_folder(motion)}.npz"
    writing(target, lambda file: np.savez(file, **canonical))  # pyright: ignore[reportArgumentType]


def in_camera(motion: Motion, to_world: Float[np.ndarray, "T 4 4"], *, root: Float[np.ndarray, " 3"] | None) -> Motion:
    """The motion as a camera sees it that stands at the origin: a take's world.

    A head turns about its root joint j, so that a rigid motion (R, t) of the posed head turns its rotation by R and
    moves its translation from T to R (T + j) + t - j.

    Args:
        motion: The motion in a world of its own.
        to_world: (T, 4, 4) camera-to-world in OpenGL axes.
        root: (3,) the head's root joint at rest, metres; None where it is not known, which serves cameras that are only
            moved and not turned.

    Raises:
        InputError: The cameras are turned and the root is not known.
    """
    view = np.linalg.inv(to_world)
    turned = float(np.abs(view[:, :3, :3] - np.eye(3)).max()) > 1e-5
    if turned and root is None:
        raise InputError(
            "The motion cannot be moved into the camera",
            expected=f"the head model {motion.head_id} that it belongs to, since the camera is turned",
            found="no such head model",
            fix="import the head model first; pictures and masks can be used without it",
        )
    joint = np.zeros(3) if root is None else np.asarray(root, np.float64)
    turns = Rotation.from_matrix(view[:, :3, :3])
    return replace(
        motion,
        global_orient=(turns * Rotation.from_rotvec(motion.global_orient)).as_rotvec().astype(np.float32),
        transl=(turns.apply(motion.transl + joint) + view[:, :3, 3] - joint).astype(np.float32),
    )


def _frames(path: Path) -> list[dict[str, Any]]:
    """The entries of all transforms, each with the file's shared intrinsics filled in."""
    whole = path / "transforms.json"
    files = [whole] if whole.is_file() else [path / f"transforms_{n}.json" for n in ("train", "val", "test")]
    rows: list[dict[str, Any]] = []
    for file in (file for file in files if file.is_file()):
        content = read_json(file, dict)
        shared = {key: content[key] for key in ("cx", "cy", "fl_x", "fl_y", "h", "w") if key in content}
        rows += [shared | row for row in content.get("frames", []) if isinstance(row, dict)]
    needed = ("file_path", "timestep_index", "transform_matrix", "fl_x", "cx", "cy")
    lacking = sorted({key for row in rows for key in needed if key not in row})
    square = all(np.shape(row["transform_matrix"]) == (4, 4) for row in rows) if not lacking else False
    if not rows or lacking or not square:
        raise FormatError(
            f"{path} is not an export of VHAP",
            expected=f"transforms with frames of {', '.join(needed)}",
            found="no frames"
            if not rows
            else f"none of {', '.join(lacking)}"
            if lacking
            else "matrices of another size",
            fix="export with vhap/export_as_nerf_dataset.py",
        )
    return rows


def _motion(path: Path, rows: list[dict[str, Any]], time: np.ndarray) -> Motion | None:
    """The parameters of all rows, or None where there are none."""
    names = [row.get("flame_param_path") for row in rows]
    if not all(names):
        return None
    stored = [_arrays(_inside(path, str(name))) for name in names]
    columns: dict[str, Any] = {
        ours: np.concatenate([row[theirs].reshape(1, 3) for row in stored]) for theirs, ours in NAMES.items()
    }
    eyes = np.concatenate([row["eyes_pose"].reshape(1, 6) for row in stored])
    lids = [row["eyelids"].reshape(1, 2) if "eyelids" in row else np.zeros((1, 2)) for row in stored]
    return Motion(
        time=time,
        betas=stored[0]["shape"].reshape(-1).astype(np.float32),
        expression=np.concatenate([row["expr"].reshape(1, -1) for row in stored]).astype(np.float32),
        leye_pose=eyes[:, :3].astype(np.float32),
        reye_pose=eyes[:, 3:].astype(np.float32),
        eyelids=np.concatenate(lids).astype(np.float32),
        head_id=str(stored[0].get("head_id", FLAME)),
        head_hash=str(stored[0].get("head_hash", "")),
        **{name: value.astype(np.float32) for name, value in columns.items()},
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    needed = (*NAMES, "eyes_pose", "shape", "expr")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            values = {key: stored[key] for key in stored.files if key != "static_offset"}
            lacking = [key for key in needed if key not in values]
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(
            f"{path} cannot be read", expected=f"an npz of {', '.join(needed)}", found=str(error)
        ) from error
    if lacking:
        raise FormatError(f"{path} cannot be read", expected=f"an npz of {', '.join(needed)}", found=f"no {lacking[0]}")
    return values


def _parameters(motion: Motion, index: int, middle: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of one parameter file: rows of one, and the identity."""
    row = slice(index, index + 1)
    values = {theirs: getattr(motion, ours)[row] for theirs, ours in NAMES.items()}
    values["translation"] = (values["translation"] - middle).astype(np.float32)
    values |= {
        "eyes_pose": np.concatenate([motion.leye_pose[row], motion.reye_pose[row]], axis=1),
        "expr": motion.expression[row],
        "shape": motion.betas,
        "eyelids": motion.eyelids[row],
    }
    if not motion.head_id.startswith(FLAME):
        values |= {"head_id": np.array(motion.head_id), "head_hash": np.array(motion.head_hash)}
    return values


def _folder(motion: Motion) -> str:
    return FOLDERS[0] if motion.head_id.startswith(FLAME) else FOLDERS[1]


def _mask_reader(paths: list[Path]) -> Callable[[int], np.ndarray]:
    return lambda index: read_picture(paths[index], color=False).astype(np.float32) / 255


def _inside(folder: Path, name: str) -> Path:
    """A file named in the transforms; raises FormatError where the name leads out of the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise FormatError(f"{folder} names a file outside itself", expected="paths below the folder", found=name)
    return path
