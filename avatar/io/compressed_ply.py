"""Gaussians as the compressed PLY of PlayCanvas and SuperSplat: 16 bytes each.

Positions, log-scales and colours are fractions of the range of their chunk of 256 Gaussians, in 11+10+11 or 8 bits;
rotations are the three smallest components in 10 bits each (PlayCanvas, "Compressed PLY", developer.playcanvas.com).
Axes are those of `avatar.io.ply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from avatar.io._splats import (
    little_endian,
    log_scales,
    morton_order,
    picked,
    quantised,
    smallest_three,
    turned_about_x,
    unit_quats,
)
from avatar.io.ply import ply_header

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.gaussians import Gaussians

CHUNK = 256
TRIPLES = (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
VECTOR_BITS = (11, 10, 11)
COLOR_BITS = (8, 8, 8, 8)
ROTATION_BITS = (2, 10, 10, 10)
# What readers take for no range at all.
SMALLEST_RANGE = 1e-5


class Chunked(NamedTuple):
    """Values as fractions of the range within their chunk.

    Attributes:
        fractions: (N, 3) in [0, 1].
        low: (C, 3) smallest value of each chunk.
        high: (C, 3) largest value of each chunk.
    """

    fractions: Float[Tensor, "N 3"]
    low: Float[Tensor, "C 3"]
    high: Float[Tensor, "C 3"]


def write_compressed_ply(path: Path, gaussians: Gaussians) -> None:
    """Writes Gaussians in a head's axes, ordered so that a chunk's are near each other."""
    turned = turned_about_x(picked(gaussians, morton_order(gaussians.means)))
    position, scale, color = (in_chunks(v) for v in (turned.means, log_scales(turned), turned.colors))
    largest, others = smallest_three(unit_quats(turned))
    halves = quantised(others * np.sqrt(0.5) + 0.5, 2**10 - 1)
    words = (
        packed_word(quantised_bits(position.fractions, VECTOR_BITS), VECTOR_BITS),
        packed_word(np.column_stack([largest.numpy(), halves]), ROTATION_BITS),
        packed_word(quantised_bits(scale.fractions, VECTOR_BITS), VECTOR_BITS),
        packed_word(quantised_bits(torch.cat([color.fractions, turned.opacities[:, None]], 1), COLOR_BITS), COLOR_BITS),
    )
    ends = [f"float {end}_{name}" for triple in TRIPLES for end in ("min", "max") for name in triple]
    ranges = torch.cat([end for chunked in (position, scale, color) for end in (chunked.low, chunked.high)], dim=1)
    header = ply_header(
        {
            "chunk": (len(ranges), ends),
            "vertex": (len(turned.means), [f"uint {name}" for name in PACKED]),
        }
    )
    body = little_endian(ranges.numpy(), "<f4") + little_endian(np.stack(words, axis=1), "<u4")
    path.write_bytes(header + body)


def in_chunks(values: Float[Tensor, "N 3"]) -> Chunked:
    """Fractions of each value within its chunk of 256, and the chunks' ranges."""
    count = len(values)
    # The last chunk is filled with its last value, which widens no range.
    padded = F.pad(values.T, (0, -count % CHUNK), mode="replicate").T.reshape(-1, CHUNK, 3)
    low, high = padded.amin(1), padded.amax(1)
    high = torch.maximum(high, low + SMALLEST_RANGE)
    fractions = (padded - low[:, None]) / (high - low)[:, None]
    return Chunked(fractions.reshape(-1, 3)[:count], low, high)


def quantised_bits(fractions: Float[Tensor, "N k"], bits: tuple[int, ...]) -> Int[np.ndarray, "N k"]:
    """Fractions as integers of each column's number of bits."""
    return np.stack([quantised(fractions[:, i], 2**b - 1) for i, b in enumerate(bits)], axis=1)


def packed_word(columns: Int[np.ndarray, "N k"], bits: tuple[int, ...]) -> Int[np.ndarray, " N"]:
    """Columns of integers as one word each row, the first column in the highest bits."""
    word = np.zeros(len(columns), np.int64)
    for column, width in zip(columns.T, bits, strict=True):
        word = (word << width) | column
    return word
