"""Folders of AD-NeRF's preprocessing, which RAD-NeRF, ER-NeRF and SyncTalk share.

Layout: ``transforms_train.json`` and ``transforms_val.json`` with ``focal_len cx cy`` and frames of ``img_id`` and a
camera-to-world matrix, ``ori_imgs/0.jpg``, ``parsing/0.png`` in colours (blue head, green neck, red torso), and
``aud.wav``. The cameras belong to another head model in units of its own, so that only pictures, labels and sound are
taken over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.config import read_json
from avatar.errors import FormatError
from avatar.io.imported import ImportedClip, read_picture
from avatar.io.parts import HEAD, TORSO

if TYPE_CHECKING:
    from jaxtyping import UInt8

LAYOUT = "AD-NeRF"
FPS = 25.0
SUFFIXES = (".jpg", ".png")
# A label's channel is full and the others are empty; scaled pictures have shades between.
STRONG = 128


def is_adnerf(path: Path) -> bool:
    """Whether a folder has AD-NeRF's pictures and transforms."""
    return (path / "ori_imgs").is_dir() and (path / "transforms_train.json").is_file()


def read_adnerf(path: Path, *, fps: float = FPS) -> ImportedClip:
    """Reads a folder; pictures are read when they are asked for.

    Args:
        path: The folder.
        fps: Pictures a second, which the layout does not state; its scripts make 25.

    Raises:
        FormatError: The folder does not fit the layout.
    """
    files = [path / f"transforms_{name}.json" for name in ("train", "val")]
    contents = [read_json(file, dict) for file in files if file.is_file()]
    try:
        numbers = sorted({int(frame["img_id"]) for content in contents for frame in content["frames"]})
        focal, cx, cy = (float(contents[0][key]) for key in ("focal_len", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path} is not a folder of AD-NeRF",
            expected="transforms with focal_len, cx, cy and frames with img_id",
            found=f"none of {error}",
            fix="run the data preparation of AD-NeRF again",
        ) from error
    if not numbers:
        raise FormatError(f"{path} has no frames", expected="entries with img_id in the transforms", found="none")
    images = [_picture(path / "ori_imgs", number) for number in numbers]
    labels = [path / "parsing" / f"{number}.png" for number in numbers]
    sound = path / "aud.wav"

    def parts(index: int) -> UInt8[np.ndarray, "H W"]:
        return labels_of(read_picture(labels[index]))

    whole = all(file.is_file() for file in labels)
    return ImportedClip(
        layout=LAYOUT,
        images=images,
        time=(np.array(numbers) - numbers[0]) / fps,
        fps=fps,
        mask=(lambda index: (parts(index) > 0).astype(np.float32)) if whole else None,
        parts=parts if whole else None,
        sound=sound if sound.is_file() else None,
        focal=focal,
        center=(cx, cy),
    )


def labels_of(colors: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """A take's labels of a parsing picture in RGB: blue head, green neck, red torso; white and black are nothing."""
    red, green, blue = (colors[..., channel] >= STRONG for channel in range(3))
    head, torso = (blue | green) & ~red, red & ~blue & ~green
    return (HEAD * head + TORSO * torso).astype(np.uint8)


def _picture(folder: Path, number: int) -> Path:
    return next(
        (file for file in (folder / f"{number}{s}" for s in SUFFIXES) if file.is_file()), folder / f"{number}.jpg"
    )
