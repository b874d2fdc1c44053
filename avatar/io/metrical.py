"""Folders of metrical-tracker, which INSTA and FlashAvatar train on: one ``.frame`` of torch.save a picture.

Layout (metrical-tracker, tracker.py): ``checkpoint/00000.frame`` holds ``flame`` (exp, shape, eyes, jaw as the first
two rows of rotation matrices, eyelids), ``opencv`` (world-to-camera R and t, and K) and ``img_size``; pictures are in
``input``, or in ``images`` or ``imgs`` of the projects that use it. The head rests and the camera moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError
from avatar.io.imported import ImportedClip
from avatar.io.torchfile import read_torch
from avatar.motion import Motion

LAYOUT = "metrical-tracker"
FLAME = "flame2020"
FPS = 25.0
PICTURES = ("input", "images", "imgs")
SUFFIXES = (".png", ".jpg", ".jpeg")
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def is_metrical(path: Path) -> bool:
    """Whether a folder has a tracker's frames."""
    return bool(_frames(path))


def read_metrical(path: Path, *, fps: float = FPS) -> ImportedClip:
    """Reads a folder; its motion is FLAME's, with the head at rest and a camera that moves.

    Args:
        path: The folder that holds ``checkpoint``, or that folder itself.
        fps: Pictures a second, which the layout does not state.

    Raises:
        FormatError: The folder does not fit the layout, or a frame holds anything but numbers.
    """
    frames, images = _frames(path), _pictures(path)
    if len(images) != len(frames):
        # Pictures that the tracker left out have no frame; equal numbers name the same moment.
        named = {int(file.stem): file for file in images if file.stem.isdigit()}
        images = [named[int(file.stem)] for file in frames if file.stem.isdigit() and int(file.stem) in named]
    if not frames or len(images) != len(frames):
        raise FormatError(
            f"{path} is not a folder of metrical-tracker",
            expected=f"a picture in {', '.join(PICTURES)} for each .frame",
            found=f"{len(frames)} frames, {len(images)} pictures that belong to them",
            fix="put the tracker's input pictures beside its checkpoint folder",
        )
    time = np.arange(len(frames)) / fps
    rows = [_row(file) for file in frames]
    K = rows[0]["K"]
    column = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in rows[0]}
    still = np.zeros((len(rows), 3), np.float32)
    motion = Motion(
        time=time,
        betas=column["betas"][0],
        expression=column["expression"],
        global_orient=still,
        neck_pose=still,
        jaw_pose=column["jaw_pose"],
        leye_pose=column["leye_pose"],
        reye_pose=column["reye_pose"],
        eyelids=column["eyelids"],
        transl=still,
        head_id=FLAME,
        head_hash="",
    )
    return ImportedClip(
        layout=LAYOUT,
        images=images,
        time=time,
        fps=fps,
        focal=float(K[0, 0]),
        center=(float(K[0, 2]), float(K[1, 2])),
        to_world=np.stack([np.linalg.inv(row["view"]) @ _FLIP for row in rows]),
        motion=motion,
    )


def _row(path: Path) -> dict[str, np.ndarray]:
    """What a take can use of one frame."""
    content: Any = read_torch(path)
    try:
        flame, camera = content["flame"], content["opencv"]
        view = np.eye(4)
        view[:3, :3], view[:3, 3] = camera["R"].reshape(3, 3), camera["t"].reshape(3)
        eyes = np.asarray(flame["eyes"]).reshape(2, 6)
        return {
            "view": view,
            "K": np.asarray(camera["K"], np.float64).reshape(3, 3),
            "betas": np.asarray(flame["shape"]).reshape(-1),
            "expression": np.asarray(flame["exp"]).reshape(-1),
            "jaw_pose": _turn(np.asarray(flame["jaw"]).reshape(6)),
            "leye_pose": _turn(eyes[0]),
            "reye_pose": _turn(eyes[1]),
            "eyelids": np.asarray(flame.get("eyelids", np.zeros(2))).reshape(2),
        }
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{path} is not a frame of metrical-tracker",
            expected="flame with exp, shape, eyes and jaw, and opencv with R, t and K",
            found=str(error),
            fix="track the clip again with metrical-tracker",
        ) from error


def _turn(rows: np.ndarray) -> np.ndarray:
    """Axis-angle of the first two rows of a rotation matrix, made orthonormal (Zhou et al. 2019)."""
    first = rows[:3] / np.linalg.norm(rows[:3])
    second = rows[3:] - first * (first @ rows[3:])
    second = second / np.linalg.norm(second)
    return Rotation.from_matrix(np.stack([first, second, np.cross(first, second)])).as_rotvec()


def _frames(path: Path) -> list[Path]:
    folder = path / "checkpoint" if (path / "checkpoint").is_dir() else path
    return sorted(folder.glob("*.frame")) if folder.is_dir() else []


def _pictures(path: Path) -> list[Path]:
    places = [base / name for base in (path, path.parent) for name in PICTURES]
    found = ([f for f in sorted(place.iterdir()) if f.suffix.lower() in SUFFIXES] for place in places if place.is_dir())
    return next((files for files in found if files), [])
