"""Splats that leave as files come back through a reader that is not ours as the same picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from splat_parity import from_columns, picture, psnr

from avatar.gaussians import Gaussians
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar, posed, single_moment

LOSSLESS, QUANTISED = 45.0, 35.0
SH_C0 = 0.28209479177387814


@pytest.fixture(scope="module")
def stored(tiny_avatar: Path) -> StoredAvatar:
    return load_avatar(tiny_avatar)


@pytest.fixture(scope="module")
def moment(tiny_motion: Motion) -> Motion:
    """A turned head that speaks, half-way between two frames."""
    return single_moment(tiny_motion, float(tiny_motion.time[8:10].mean()))


@pytest.fixture(scope="module")
def shown(stored: StoredAvatar, moment: Motion) -> Gaussians:
    return posed(stored, moment)


def export(name: str, stored: StoredAvatar, moment: Motion, folder: Path) -> Path:
    path = folder / f"me{FORMATS[name].suffixes[0]}"
    figures = export_avatar(stored, path, FORMATS[name], moment=moment)
    assert figures["bytes"] == path.stat().st_size and figures["gaussians"] == len(stored.gaussians)
    assert [p.name for p in folder.iterdir()] == [path.name]
    return path


def turned(quats: np.ndarray) -> np.ndarray:
    """Quaternions wxyz turned half about x, by the product's definition."""
    w, x, y, z = quats.T
    return np.stack([-x, w, -z, y], axis=1)


def from_inria(vertex: np.ndarray) -> Gaussians:
    """What the reference implementation would train on, in a head's axes."""

    def columns(*names: str) -> np.ndarray:
        return np.stack([vertex[name] for name in names], axis=1).astype(np.float64)

    return from_columns(
        columns("x", "y", "z") * [1, -1, -1],
        turned(columns("rot_0", "rot_1", "rot_2", "rot_3")),
        np.exp(columns("scale_0", "scale_1", "scale_2")),
        1 / (1 + np.exp(-np.float64(vertex["opacity"]))),
        columns("f_dc_0", "f_dc_1", "f_dc_2") * SH_C0 + 0.5,
    )


def test_a_ply_shows_the_same_picture(stored: StoredAvatar, moment: Motion, shown: Gaussians, tmp_path: Path) -> None:
    data = PlyData.read(export("ply", stored, moment, tmp_path))
    assert not data.text and data.byte_order == "<" and data["vertex"].data.dtype.itemsize == 17 * 4
    back = from_inria(data["vertex"].data)
    assert psnr(picture(back), picture(shown)) > LOSSLESS
    assert torch.allclose(back.means, shown.means, atol=1e-6)
