"""How sharp a picture is, without another to compare it with: CPBD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

# Narvekar and Karam 2011, "A no-reference image blur metric based on the cumulative probability of blur detection".
BLOCK, EDGE_SHARE, EXPONENT = 64, 0.002, 3.6
# Widths in pixels at which blur is just noticed, in blocks of low contrast (up to 50 of 255) and of higher.
LOW_CONTRAST, WIDTHS = 50, (5.0, 3.0)
# From this probability on (1 - 1/e, that at the just noticeable width) an edge counts as blurred.
NOTICED = 1 - np.exp(-1) + 1e-6


def edge_blur(
    image: UInt8[np.ndarray, "H W 3"],
) -> tuple[Bool[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Which pixels lie on upright edges of blocks that have edges, and the probability that blur is seen there.

    An edge's width is the run of pixels over which brightness keeps rising or falling along its row (Marziliano et al.
    2002). Blocks of 64 pixels count where at least 0.2 % of them are edges.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    edges = _upright_edges(gray)
    widths = _run_lengths(gray)
    noticed = np.zeros(gray.shape)
    for top in range(0, gray.shape[0], BLOCK):
        for left in range(0, gray.shape[1], BLOCK):
            block = np.s_[top : top + BLOCK, left : left + BLOCK]
            if edges[block].mean() <= EDGE_SHARE:
                edges[block] = False
            contrast = int(gray[block].max()) - int(gray[block].min())
            noticed[block] = WIDTHS[contrast > LOW_CONTRAST]
    edges &= widths > 0
    return edges, 1 - np.exp(-((widths / noticed) ** EXPONENT))


def cpbd(
    blur: tuple[Bool[np.ndarray, "H W"], Float[np.ndarray, "H W"]], region: Bool[np.ndarray, "H W"]
) -> float | None:
    """The share of a region's edges whose blur is not noticed, of `edge_blur`; None where it has no edges."""
    edges, probability = blur
    inside = probability[edges & region]
    return float((inside <= NOTICED).mean()) if len(inside) else None


def _upright_edges(gray: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Sobel's horizontal gradient, thinned to its ridges, above four times its mean square (Pratt's rule)."""
    strength = np.abs(cv2.Sobel(gray, cv2.CV_32F, 1, 0))
    ridge = (strength > np.roll(strength, 1, 1)) & (strength >= np.roll(strength, -1, 1))
    ridge[:, [0, -1]] = False
    return ridge & (strength**2 > max(4 * float((strength**2).mean()), 1.0))


def _run_lengths(gray: UInt8[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Length of the rising or falling run that each pixel lies in along its row, in steps; 0 on flat ground."""
    steps = np.sign(np.diff(gray.astype(np.int16), axis=1))
    found = np.zeros(gray.shape)
    for direction in (1, -1):
        going = steps == direction
        length = np.zeros(going.shape)
        for column in range(going.shape[1]):
            before = length[:, column - 1] if column else 0
            length[:, column] = np.where(going[:, column], before + 1, 0)
        for column in range(going.shape[1] - 2, -1, -1):
            longer = going[:, column] & going[:, column + 1]
            length[longer, column] = length[longer, column + 1]
        # A pixel belongs to the run on either side of it.
        np.maximum(found[:, 1:], length, out=found[:, 1:])
        np.maximum(found[:, :-1], length, out=found[:, :-1])
    return found
