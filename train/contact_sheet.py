"""One picture that says what an avatar is like: from around, with several faces, and beside its recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import UInt8

    from avatar.train.evaluation import HeldOutFrame

TILE, GAP, STRIP, BAND = 216, 6, 26, 22
GROUND, INK = (24, 26, 30), (226, 228, 232)


def contact_sheet(
    title: str,
    views: Mapping[str, UInt8[np.ndarray, "H W 3"]],
    faces: Mapping[str, UInt8[np.ndarray, "H W 3"]],
    held_out: Mapping[str, HeldOutFrame],
) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of named pictures under a title; rows without pictures are left out.

    Args:
        title: The line above everything.
        views: Pictures from around the head.
        faces: Pictures of faces.
        held_out: Frames, by name, for two rows: the recording, and the avatar below it.
    """
    rows = [
        ("from around", views),
        ("faces", faces),
        ("recording", {name: frame.truth for name, frame in held_out.items()}),
        ("avatar", {name: frame.render for name, frame in held_out.items()}),
    ]
    rows = [(name, pictures) for name, pictures in rows if pictures]
    across = max(len(pictures) for _, pictures in rows)
    width = across * (TILE + GAP) + GAP
    parts = [_line(title, width, size=0.6)]
    for name, pictures in rows:
        row = np.full((TILE, width, 3), GROUND, np.uint8)
        labels = _line(name, width, size=0.45)
        for place, (label, picture) in enumerate(pictures.items()):
            left = GAP + place * (TILE + GAP)
            row[:, left : left + TILE] = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)
            _label(row[TILE - BAND :, left : left + TILE], label)
        parts += [labels, row]
    parts.append(np.full((GAP, width, 3), GROUND, np.uint8))
    return np.concatenate(parts)


def _line(text: str, width: int, *, size: float) -> UInt8[np.ndarray, "H W 3"]:
    line = np.full((STRIP, width, 3), GROUND, np.uint8)
    cv2.putText(line, _plain(text), (GAP, STRIP - 8), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
    return line


def _label(band: UInt8[np.ndarray, "H W 3"], text: str) -> None:
    """Light text on a picture that is darkened for it, in place."""
    band[:] = (0.4 * band + 0.6 * np.array(GROUND)).astype(np.uint8)
    cv2.putText(band, _plain(text), (6, BAND - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)


def _plain(text: str) -> str:
    """OpenCV's drawn letters are ASCII."""
    return text.replace("°", " deg").encode("ascii", "replace").decode()
