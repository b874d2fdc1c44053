"""Texture islands packed anew, so that the head has most of the sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MARGIN = 0.006


def islands(uv: Float[np.ndarray, "F 3 2"]) -> Int[np.ndarray, " F"]:
    """Label of the connected texture island of every triangle."""
    corners = np.unique(np.round(uv.reshape(-1, 2), 6), axis=0, return_inverse=True)[1].reshape(-1, 3)
    count = int(corners.max()) + 1
    links = sp.coo_matrix((np.ones(corners.size), (corners.ravel(), np.roll(corners, 1, 1).ravel())), (count, count))
    return sp.csgraph.connected_components(links, directed=False)[1][corners[:, 0]]


def pack(uv: Float[np.ndarray, "F 3 2"], label: Int[np.ndarray, " F"]) -> Float[np.ndarray, "F 3 2"]:
    """Puts labelled islands side by side into the unit square, all scaled by the largest factor that fits.

    Shelf packing, tallest first: the first island opens the first shelf, and later ones fill columns beside it.
    """
    labels = np.unique(label)
    low = np.array([uv[label == each].reshape(-1, 2).min(0) for each in labels])
    size = np.array([uv[label == each].reshape(-1, 2).max(0) for each in labels]) - low
    order = np.argsort(-size[:, 1], kind="stable")
    for factor in np.arange(1 / size.max(), 0, -0.004):
        corner = _place(size[order] * factor + 2 * MARGIN)
        if corner is not None:
            break
    else:
        raise ValueError("No scale lets the islands fit.")
    packed = uv.copy()
    for place, index in zip(corner, order, strict=True):
        chosen = label == labels[index]
        packed[chosen] = (uv[chosen] - low[index]) * factor + place + MARGIN
    return packed


def _place(boxes: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"] | None:
    """Lower left corners of boxes in the unit square, each at the lowest then leftmost free spot; None if too big."""
    placed: list[np.ndarray] = []
    for width, height in boxes:
        xs = [0.0, *(x + w for x, _, w, _ in placed)]
        ys = [0.0, *(y + h for _, y, _, h in placed)]
        spots = sorted((y, x) for x in xs for y in ys if x + width <= 1 and y + height <= 1)
        free = next(
            (
                (x, y)
                for y, x in spots
                if all(
                    x + width <= px + 1e-9 or px + pw <= x + 1e-9 or y + height <= py + 1e-9 or py + ph <= y + 1e-9
                    for px, py, pw, ph in placed
                )
            ),
            None,
        )
        if free is None:
            return None
        placed.append(np.array([*free, width, height]))
    return np.array([spot[:2] for spot in placed])
