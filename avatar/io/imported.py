"""A clip that another tool has taken apart: its pictures, and what that tool knows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.errors import FormatError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from avatar.motion import Motion


@dataclass(frozen=True)
class ImportedClip:
    """T pictures of another tool.

    Attributes:
        layout: Name of the layout, such as ``VHAP``.
        images: The pictures, in order of time.
        time: (T,) seconds.
        fps: Pictures a second.
        mask: Reads the soft alpha in [0, 1] of a picture by its number; None where the tool made none.
        parts: Reads the labels of a picture, those of `avatar.io.parts`; None where the tool made none.
        sound: A sound file, or None.
        focal: Focal length in pixels; 0 where it is not known.
        center: Principal point in pixels; None for the middle of the picture.
        to_world: (T, 4, 4) matrices as stored, camera-to-world in OpenGL axes by the layout; None without cameras.
        motion: The head in the layout's own world; None where it is not known.
    """

    layout: str
    images: list[Path]
    time: Float[np.ndarray, " T"]
    fps: float
    mask: Callable[[int], Float[np.ndarray, "H W"]] | None = None
    parts: Callable[[int], UInt8[np.ndarray, "H W"]] | None = None
    sound: Path | None = None
    focal: float = 0.0
    center: tuple[float, float] | None = None
    to_world: Float[np.ndarray, "T 4 4"] | None = None
    motion: Motion | None = None


def read_picture(path: Path, *, color: bool = True) -> UInt8[np.ndarray, "H W ..."]:
    """Reads an image of any common format as RGB or grey; raises FormatError where that is not possible."""
    data = np.frombuffer(path.read_bytes(), np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE) if len(data) else None
    if image is None:
        raise FormatError(
            f"{path} cannot be read",
            expected="a picture",
            found=f"{len(data)} bytes of something else" if path.is_file() else "no such file",
            fix="export the folder again with the tool that made it",
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if color else image
