"""Gaussians as SPZ, versions 3 and 4 (Niantic, github.com/nianticlabs/spz, "File Format").

20 bytes each before compression: positions in 24-bit fixed point, the three smallest components of the rotation in 10
bits, the rest in bytes. Version 3 is one gzip stream, version 4 one Zstandard stream for each attribute. The axes are
+x right, +y up, +z backward, which are a head's.
"""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.errors import InputError
from avatar.io._splats import harmonics, little_endian, log_scales, morton_order, picked, smallest_three, unit_quats

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.gaussians import Gaussians

MAGIC = 0x5053474E
# Steps of 15 micrometres, within 128 m. The 12 bits of Niantic's encoder, a quarter of a millimetre, cost a head 6 to
# 12 dB; further bits gain nothing and do not compress.
FRACTIONAL_BITS = 16
COLOR_SCALE = 0.15
SCALE_STEP, SCALE_START = 16.0, 10.0


def write_spz(path: Path, gaussians: Gaussians, *, version: int = 3) -> None:
    """Writes Gaussians in a head's axes, neighbours together, which compresses better.

    Raises:
        InputError: Gaussians too far away for 24-bit fixed point, or version 4 without its compression.
    """
    ordered = picked(gaussians, morton_order(gaussians.means))
    streams = spz_streams(ordered)
    head = struct.pack("<III", MAGIC, version, len(ordered.means))
    if version == 3:
        header = head + struct.pack("<BBBB", 0, FRACTIONAL_BITS, 0, 0)
        path.write_bytes(gzip.compress(header + b"".join(streams), mtime=0))
        return
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise InputError(
            "SPZ version 4 needs Zstandard",
            expected="the package zstandard",
            found="no such package",
            fix="pip install 'headsplat[export]', or export version 3 with --format spz",
        ) from error
    compressed = [zstandard.ZstdCompressor(level=12).compress(stream) for stream in streams]
    header = head + struct.pack("<BBBBI12x", 0, FRACTIONAL_BITS, 0, len(streams), 32)
    sizes = b"".join(struct.pack("<QQ", len(c), len(s)) for c, s in zip(compressed, streams, strict=True))
    path.write_bytes(header + sizes + b"".join(compressed))


def spz_streams(gaussians: Gaussians) -> list[bytes]:
    """Positions, opacities, colours, scales and rotations, packed; there are no harmonics beyond the colours."""
    fixed = np.round(gaussians.means.double().numpy() * 2**FRACTIONAL_BITS).astype(np.int64)
    if len(fixed) and np.abs(fixed).max() >= 2**23:
        raise InputError(
            "The avatar is too far from the origin for SPZ",
            expected=f"all Gaussians within {2**23 >> FRACTIONAL_BITS} m",
            found=f"{float(gaussians.means.abs().max()):.1f} m",
            fix="export the neutral pose, or another format",
        )
    positions = fixed.astype("<i4").view(np.uint8).reshape(-1, 3, 4)[..., :3]
    return [
        positions.tobytes(),
        _bytes(gaussians.opacities * 255),
        _bytes(harmonics(gaussians) * (COLOR_SCALE * 255) + 127.5),
        _bytes((log_scales(gaussians) + SCALE_START) * SCALE_STEP),
        _rotations(gaussians),
    ]


def _bytes(values: torch.Tensor) -> bytes:
    return np.round(values.double().numpy()).clip(0, 255).astype(np.uint8).tobytes()


def _rotations(gaussians: Gaussians) -> bytes:
    """Index of the largest of xyzw in two bits, then a sign and nine bits of each other, up to one over root two."""
    largest, others = smallest_three(unit_quats(gaussians).roll(-1, dims=-1))
    magnitudes = np.floor(others.abs().double().numpy() * np.sqrt(2) * 511 + 0.5).astype(np.int64).clip(0, 511)
    word = largest.numpy()
    for component, magnitude in zip(others.numpy().T, magnitudes.T, strict=True):
        word = (word << 10) | ((component < 0).astype(np.int64) << 9) | magnitude
    return little_endian(word, "<u4")
