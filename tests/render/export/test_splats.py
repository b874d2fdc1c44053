"""Splats that leave as files come back through a reader that is not ours as the same picture."""

import gzip
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from pygltflib import GLTF2
from splat_parity import from_columns, picture, psnr

from avatar.errors import InputError
from avatar.gaussians import Gaussians
from avatar.io._splats import turned_about_x
from avatar.io.avatar import StoredAvatar
from avatar.io.compressed_ply import write_compressed_ply
from avatar.io.ply import write_ply
from avatar.io.splat import write_splat
from avatar.io.spz import write_spz
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar

LOSSLESS, QUANTISED = 45.0, 35.0
SH_C0 = 0.28209479177387814


def half_turned(quats: np.ndarray) -> np.ndarray:
    """Quaternions wxyz turned half about x, by the product's definition."""
    w, x, y, z = quats.T
    return np.stack([-x, w, -z, y], axis=1)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


# Readers, each after its format's public description alone, giving Gaussians in a head's axes.


def read_ply(path: Path) -> Gaussians:
    vertex = PlyData.read(path)["vertex"]

    def columns(*names: str) -> np.ndarray:
        return np.stack([vertex[name] for name in names], axis=1).astype(np.float64)

    return from_columns(
        columns("x", "y", "z") * [1, -1, -1],
        half_turned(columns("rot_0", "rot_1", "rot_2", "rot_3")),
        np.exp(columns("scale_0", "scale_1", "scale_2")),
        sigmoid(np.float64(vertex["opacity"])),
        columns("f_dc_0", "f_dc_1", "f_dc_2") * SH_C0 + 0.5,
    )


def read_compressed_ply(path: Path) -> Gaussians:
    ply = PlyData.read(path)
    vertex, chunk = ply["vertex"], ply["chunk"]
    of = np.arange(vertex.count) // 256

    def within(word: np.ndarray, shifts: tuple[tuple[int, int], ...], names: tuple[str, ...]) -> np.ndarray:
        rows = []
        for (shift, bits), name in zip(shifts, names, strict=True):
            t = (word >> shift & (1 << bits) - 1) / ((1 << bits) - 1)
            rows.append(chunk[f"min_{name}"][of] * (1 - t) + chunk[f"max_{name}"][of] * t)
        return np.stack(rows, axis=1)

    words = {name: vertex[f"packed_{name}"].astype(np.int64) for name in ("position", "rotation", "scale", "color")}
    vector, rgb = ((21, 11), (11, 10), (0, 11)), ((24, 8), (16, 8), (8, 8))
    largest = words["rotation"] >> 30
    three = np.stack([(words["rotation"] >> s & 1023) / 1023 - 0.5 for s in (20, 10, 0)], axis=1) * np.sqrt(2)
    return from_columns(
        within(words["position"], vector, ("x", "y", "z")) * [1, -1, -1],
        half_turned(from_three(largest, three)),
        np.exp(within(words["scale"], vector, ("scale_x", "scale_y", "scale_z"))),
        (words["color"] & 255) / 255,
        within(words["color"], rgb, ("r", "g", "b")),
    )


def from_three(largest: np.ndarray, three: np.ndarray) -> np.ndarray:
    """Quaternions of their three smallest components, in the components' own order."""
    missing = np.sqrt(np.maximum(0, 1 - (three**2).sum(1)))
    return np.array([np.insert(row, i, m) for row, i, m in zip(three, largest, missing, strict=True)])


def read_splat(path: Path) -> Gaussians:
    data = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 32)
    numbers = np.ascontiguousarray(data[:, :24]).view("<f4")
    return from_columns(
        numbers[:, :3] * [1, -1, -1],
        half_turned((data[:, 28:].astype(float) - 128) / 128),
        numbers[:, 3:],
        data[:, 27] / 255,
        data[:, 24:27] / 255,
    )


def read_spz(path: Path) -> Gaussians:
    data = path.read_bytes()
    if data[:4] == b"NGSP":
        zstandard = pytest.importorskip("zstandard")
        magic, version, count, degree, bits, _, streams, start = struct.unpack_from("<IIIBBBBI", data)
        assert not any(data[20:32])
        sizes = np.frombuffer(data, "<u8", 2 * streams, start).reshape(-1, 2)
        ends = start + 16 * streams + np.cumsum(sizes[:, 0], dtype=np.int64)
        parts = [zstandard.decompress(data[e - s : e]) for e, s in zip(ends, sizes[:, 0].astype(int), strict=True)]
        assert ends[-1] == len(data) and [len(part) for part in parts] == sizes[:, 1].tolist()
        body = b"".join(parts)
    else:
        data = gzip.decompress(data)
        magic, version, count, degree, bits, _, reserved = struct.unpack_from("<IIIBBBB", data)
        assert reserved == 0
        body = data[16:]
    assert magic == 0x5053474E and version in (3, 4) and degree == 0 and len(body) == 20 * count
    raw = np.frombuffer(body, np.uint8)
    position, alpha, color, scale, rotation = np.split(raw, np.cumsum([9, 1, 3, 3]) * count)
    low, middle, high = position.reshape(-1, 3, 3).astype(np.int64).transpose(2, 0, 1)
    fixed = low | middle << 8 | (high - (high >> 7 << 8)) << 16
    word = rotation.view("<u4").astype(np.int64)
    three = [np.where(word >> s + 9 & 1, -1, 1) * (word >> s & 511) / 511 * np.sqrt(0.5) for s in (20, 10, 0)]
    xyzw = from_three(word >> 30, np.stack(three, axis=1))
    return from_columns(
        fixed / 2**bits,
        np.roll(xyzw, 1, axis=1),
        np.exp(scale.reshape(-1, 3) / 16 - 10),
        alpha / 255,
        (color.reshape(-1, 3) / 255 - 0.5) / 0.15 * SH_C0 + 0.5,
    )


def read_gltf(path: Path) -> Gaussians:
    gltf = GLTF2.load_binary(str(path))
    assert gltf is not None and gltf.extensionsUsed == ["KHR_gaussian_splatting"] and gltf.scene == 0
    (primitive,) = gltf.meshes[0].primitives
    assert primitive.mode == 0 and primitive.extensions["KHR_gaussian_splatting"] == {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    # The attributes with colons in their names are fields that pygltflib keeps as it finds them.
    numbers = vars(primitive.attributes)

    def array(name: str, width: int) -> np.ndarray:
        accessor = gltf.accessors[numbers[name]]
        view = gltf.bufferViews[accessor.bufferView]
        dtype = {5126: "<f4", 5121: "u1"}[accessor.componentType]
        values = np.frombuffer(gltf.binary_blob()[view.byteOffset :][: view.byteLength], dtype).reshape(-1, width)
        assert accessor.type == {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[width] and len(values) == accessor.count
        return values

    fallback = array("COLOR_0", 4) / 255
    opacity = array("KHR_gaussian_splatting:OPACITY", 1)[:, 0]
    color = array("KHR_gaussian_splatting:SH_DEGREE_0_COEF_0", 3) * SH_C0 + 0.5
    assert np.abs(fallback - np.column_stack([color, opacity]).clip(0, 1)).max() < 0.003
    rotation = np.roll(array("KHR_gaussian_splatting:ROTATION", 4), 1, axis=1)
    return from_columns(array("POSITION", 3), rotation, array("KHR_gaussian_splatting:SCALE", 3), opacity, color)


READERS: dict[str, tuple[Callable[[Path], Gaussians], float]] = {
    "ply": (read_ply, LOSSLESS),
    "gltf": (read_gltf, LOSSLESS),
    "compressed-ply": (read_compressed_ply, QUANTISED),
    "splat": (read_splat, QUANTISED),
    "spz": (read_spz, QUANTISED),
    "spz4": (read_spz, QUANTISED),
}


def export(name: str, stored: StoredAvatar, moment: Motion, folder: Path) -> Path:
    path = folder / f"me{FORMATS[name].suffixes[0]}"
    figures = export_avatar(stored, path, FORMATS[name], moment=moment)
    assert figures["bytes"] == path.stat().st_size and figures["gaussians"] == len(stored.gaussians)
    assert [p.name for p in folder.iterdir()] == [path.name]
    return path


@pytest.mark.parametrize("name", READERS)
def test_the_picture_stays_the_same(
    name: str, stored: StoredAvatar, moment: Motion, shown: Gaussians, tmp_path: Path
) -> None:
    if name == "spz4":
        pytest.importorskip("zstandard")
    read, least = READERS[name]
    back = read(export(name, stored, moment, tmp_path))
    assert len(back.means) == len(shown.means)
    assert psnr(picture(back), picture(shown)) > least


@pytest.mark.parametrize("name", ["compressed-ply", "splat", "spz", "spz4"])
def test_the_official_tool_reads_what_we_write(
    name: str, stored: StoredAvatar, moment: Motion, shown: Gaussians, tmp_path: Path
) -> None:
    tool = shutil.which("splat-transform")
    if tool is None:
        pytest.skip("npm's @playcanvas/splat-transform is not installed")
    if name == "spz4":
        pytest.importorskip("zstandard")
    path = export(name, stored, moment, tmp_path)
    subprocess.run([tool, "-q", path, tmp_path / "back.ply"], check=True, capture_output=True, timeout=60)
    assert psnr(picture(read_ply(tmp_path / "back.ply")), picture(shown)) > QUANTISED


def test_a_lossless_format_keeps_every_number(
    stored: StoredAvatar, moment: Motion, shown: Gaussians, tmp_path: Path
) -> None:
    for name in ("ply", "gltf"):
        (tmp_path / name).mkdir()
        back = READERS[name][0](export(name, stored, moment, tmp_path / name))
        for field in ("means", "scales", "opacities", "colors"):
            assert torch.allclose(getattr(back, field), getattr(shown, field), atol=1e-6), (name, field)


# Gaussians at the ends of what formats can hold.


@pytest.fixture
def extremes() -> Gaussians:
    """Opaque, empty, flat, huge and far ones, rotations on every axis and of odd lengths, and colours beyond [0, 1]."""
    count = 300
    g = torch.Generator().manual_seed(3)
    quats = torch.randn(count, 4, generator=g)
    quats[:5] = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1], [3, 3, 3, -3]])
    scales = torch.rand(count, 3, generator=g) * 0.01 + 1e-3
    scales[0], scales[1] = 0.0, torch.tensor([1e-3, 2.0, 1e-3])
    opacities = torch.rand(count, generator=g)
    opacities[:2] = torch.tensor([0.0, 1.0])
    colors = torch.rand(count, 3, generator=g)
    colors[0] = torch.tensor([-0.2, 1.3, 0.5])
    means = torch.randn(count, 3, generator=g)
    means[0] = torch.tensor([-30.0, 20.0, -10.0])
    return Gaussians(means, quats, scales, opacities, colors)


@pytest.mark.parametrize(
    ("write", "read", "place"),
    [
        (write_ply, read_ply, 1e-6),
        (write_splat, read_splat, 1e-6),
        (write_spz, read_spz, 2e-5),
        (write_compressed_ply, read_compressed_ply, 0.03),
    ],
)
def test_extremes_stay_finite_and_in_place(
    write: Callable[[Path, Gaussians], None],
    read: Callable[[Path], Gaussians],
    place: float,
    extremes: Gaussians,
    tmp_path: Path,
) -> None:
    write(tmp_path / "x", extremes)
    back = read(tmp_path / "x")
    assert all(torch.isfinite(getattr(back, f)).all() for f in ("means", "quats", "scales", "opacities", "colors"))
    distances, nearest = torch.cdist(extremes.means.double(), back.means.double()).min(1)
    assert distances.max() < place * 2 and len(nearest.unique()) == len(extremes.means)
    turns = (
        torch.nn.functional.normalize(extremes.quats, dim=-1),
        torch.nn.functional.normalize(back.quats[nearest], dim=-1),
    )
    assert (turns[0] * turns[1]).sum(-1).abs().min() > 0.9997
    assert (back.opacities[nearest] - extremes.opacities).abs().max() < 0.003


def test_a_half_turn_twice_is_no_turn(extremes: Gaussians) -> None:
    again = turned_about_x(turned_about_x(extremes))
    assert torch.equal(again.means, extremes.means)
    assert torch.equal(again.quats, -extremes.quats)


def test_spz_refuses_what_is_too_far(extremes: Gaussians, tmp_path: Path) -> None:
    far = replace(extremes, means=extremes.means + 600.0)
    with pytest.raises(InputError, match="too far from the origin for SPZ") as refused:
        write_spz(tmp_path / "far.spz", far)
    assert "within 128 m" in str(refused.value) and not list(tmp_path.iterdir())


def test_a_glb_is_made_of_whole_chunks(stored: StoredAvatar, moment: Motion, tmp_path: Path) -> None:
    data = export("gltf", stored, moment, tmp_path).read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    document = json.loads(data[20 : 20 + size])
    assert kind == b"JSON" and size % 4 == 0
    rest, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and 28 + size + rest == len(data)
    assert document["buffers"] == [{"byteLength": rest}]
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
