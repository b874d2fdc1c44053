"""The formats an avatar can be exported in."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from avatar.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion


class Writer(Protocol):
    """Writes an avatar to a place where nothing is yet."""

    def __call__(
        self, stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None
    ) -> dict[str, Any] | None:
        """Writes the file or the folder `target`, which is moved to where the user wants it once it is whole.

        Args:
            stored: The avatar.
            target: A file to write, or a folder to make.
            moment: The one moment that a still export shows.
            motion: The whole motion, where one was asked for without a moment.

        Returns:
            Figures to report.
        """
        ...


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes:
        summary: What it holds.
        suffixes: What its files' names may end in, the usual one first; none for a folder.
        module: The module of this package that writes it, imported on use.
        function: Its `Writer`.
        poses: Whether it shows one moment.
        plays: Whether it can hold a motion.
        sounds: Whether it can hold a sound; its writer then takes `sound`, samples and their rate.
    """

    summary: str
    suffixes: tuple[str, ...]
    module: str
    function: str
    poses: bool = True
    plays: bool = False
    sounds: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is written as a folder."""
        return not self.suffixes

    def writer(self) -> Writer:
        """The function that writes it."""
        return getattr(importlib.import_module(f"avatar.render.export.{self.module}"), self.function)


FORMATS: dict[str, ExportFormat] = {
    "ply": ExportFormat("splats as the 3DGS PLY", (".ply",), "splats", "export_ply"),
    "compressed-ply": ExportFormat("splats as compressed PLY", (".ply",), "splats", "export_compressed_ply"),
    "splat": ExportFormat("splats as .splat", (".splat",), "splats", "export_splat"),
    "spz": ExportFormat("splats as SPZ version 3", (".spz",), "splats", "export_spz"),
    "spz4": ExportFormat("splats as SPZ version 4", (".spz",), "splats", "export_spz4"),
    "gltf": ExportFormat("splats as glTF with KHR_gaussian_splatting", (".glb",), "splats", "export_gltf"),
    "mesh": ExportFormat("the mesh as GLB, skin and morph targets", (".glb",), "mesh", "export_mesh", plays=True),
    "obj": ExportFormat("the mesh as OBJ", (".obj",), "mesh", "export_obj"),
    "usd": ExportFormat("splats and mesh as OpenUSD", (".usdc", ".usda", ".usd"), "mesh", "export_usd", plays=True),
    "flame": ExportFormat("the head in FLAME's layout", (".npz",), "rig", "export_flame", poses=False),
    "lam": ExportFormat("splats and actions for LAM's web renderer", (".zip",), "lam", "export_lam", poses=False),
    "web": ExportFormat("a web page that plays it", (), "web", "export_web", poses=False, plays=True, sounds=True),
    "avatar": ExportFormat("the avatar in one file", (".avatar",), "one_file", "export_one_file", poses=False),
    "rig": ExportFormat("the rigged avatar, to be played elsewhere", (), "rig", "export_rig", poses=False, plays=True),
}


def find_format(name: str) -> ExportFormat:
    """The format of a name; raises InputError for an unknown one."""
    if name not in FORMATS:
        raise InputError(
            "The format is not known",
            expected=f"one of {', '.join(FORMATS)}",
            found=repr(name),
            fix="choose another --format",
        )
    return FORMATS[name]
