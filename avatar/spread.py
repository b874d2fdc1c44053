"""Fewer rows of many, spread evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int


def evenly_spread(rows: Int[np.ndarray, " N"], most: int) -> Int[np.ndarray, " n"]:
    """At most `most` of N rows, evenly spread from the first to the last; all of them where there are fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
