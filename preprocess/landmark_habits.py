"""Where a detector puts landmarks on a head that it sees turned or speaking, against the embedding.

A network that has learnt faces holds back what is unusual: it sees a nod smaller than it is and lets the nose run ahead
of a turn. What all people have in common of this is learnt from renders (`avatar.preprocess.habits_build`); as it
depends on the pose alone, it becomes part of the landmark model's pose basis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from avatar.assets import asset
from avatar.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

ASSET = "landmark_habits.npz"
LANDMARKS = 478
ROWS = {"constant": 1, "neck": 9, "jaw": 2}
JAW_ENTRIES = (5, 7)  # Of its rotation matrix, row by row: the two sines of its opening.


@dataclass(frozen=True)
class LandmarkHabits:
    """Displacements of the detected landmarks on the head at rest, metres.

    Attributes:
        head_id: The head model against whose embedding they were learnt.
        constant: (1, 3, 478) in every picture.
        neck: (9, 3, 478) per unit of the entries, row by row, of the head's rotation matrix less the identity.
        jaw: (2, 3, 478) likewise of `JAW_ENTRIES` of the jaw's.
    """

    head_id: str
    constant: Float[np.ndarray, "1 3 478"]
    neck: Float[np.ndarray, "9 3 478"]
    jaw: Float[np.ndarray, "2 3 478"]

    def save(self, path: Path) -> None:
        """Writes them: millimetres in half precision."""
        rows = {name: (1e3 * getattr(self, name)).astype(np.float16) for name in ROWS}
        np.savez_compressed(path, head_id=self.head_id, **rows)


def load_landmark_habits(path: Path | None = None) -> LandmarkHabits:
    """The shipped habits, or those of a file that `python -m avatar.preprocess.habits_build` wrote.

    Raises:
        FormatError: The file is not of that kind.
    """
    path = asset(ASSET) if path is None else path
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows = {name: 1e-3 * stored[name].astype(np.float32) for name in ROWS}
            habits = LandmarkHabits(head_id=str(stored["head_id"]), **rows)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise FormatError(
            f"{path} holds no landmark habits", expected="a file of habits_build", found=str(error)
        ) from error
    for item in fields(habits)[1:]:
        shape = getattr(habits, item.name).shape
        if shape != (ROWS[item.name], 3, LANDMARKS):
            raise FormatError(
                f"{path} holds no landmark habits",
                expected=f"{item.name} of shape {(ROWS[item.name], 3, LANDMARKS)}",
                found=str(shape),
            )
    return habits
