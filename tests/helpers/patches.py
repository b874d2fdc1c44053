"""A striped disc before one cheek in some frames of a take, as a hand or a cup might be."""

from __future__ import annotations

import numpy as np

from avatar.io.take import Take

CHEEK = 50
STRIPES = (250, 250, 40), (10, 40, 250)


def with_patch(take: Take, rows: range) -> None:
    """Pastes the disc over the cheek in some frames."""
    marks = take.perception()["landmarks"]
    for index in rows:
        picture, (x, y) = take.image(index), marks[index, CHEEK, :2]
        reach = 0.35 * np.linalg.norm(marks[index, 33, :2] - marks[index, 263, :2])
        height, width = np.mgrid[: picture.shape[0], : picture.shape[1]]
        inside = np.hypot(width + 0.5 - x, height + 0.5 - y) < reach
        picture[inside] = np.where((width[inside] // 4 % 2 == 0)[:, None], *STRIPES)
        take.write_image(index, picture)


def pasted(take: Take, index: int) -> np.ndarray:
    """Where a frame shows the disc."""
    picture = take.image(index).astype(int)
    return np.logical_or(*(np.abs(picture - color).sum(-1) == 0 for color in STRIPES))
