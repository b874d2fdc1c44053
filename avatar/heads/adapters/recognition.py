"""Which head model a path holds, by its content."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import FormatError, InputError
from avatar.heads.adapters.flame import looks_like_flame, read_flame
from avatar.heads.adapters.ict import find_ict, read_ict
from avatar.heads.layout import HeadLayout, read_head
from avatar.models.cache import sha256_of
from avatar.pickles import read_pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from avatar.heads.adapters.source import HeadSource

ACCEPTED = (
    "a FLAME model (the pickle as published, or the same keys in npz or safetensors), a clone of ICT-FaceKit, "
    "or an npz in the head layout"
)
OWN_KEYS = {"v_template", "exprdirs", "eyelids", "arkit_to_psi"}
MODELS = (".pkl", ".npz", ".safetensors")


def read_head_source(path: Path, *, progress: Callable[[int, int], None] | None = None) -> HeadSource | HeadLayout:
    """Reads the head model at a path; an npz that is in the head layout already comes as it is.

    Args:
        path: A file, or a folder: ICT-FaceKit's, or one with a single model file in it.
        progress: Called with (done, total) files where there are many.

    Raises:
        InputError: There is nothing at the path, or several models are.
        FormatError: The content is no head model that is known here, or a pickle asks for more than plain data.
    """
    if path.is_dir():
        folder = find_ict(path)
        return read_ict(folder, progress=progress) if folder else read_head_source(_only_model(path))
    if not path.is_file():
        raise InputError(f"There is no head model at {path}", expected=ACCEPTED, found="nothing", fix="check the path")
    with path.open("rb") as stream:
        start = stream.read(16)
    if start[:2] == b"PK":
        content = _read_npz(path)
        if set(content) >= OWN_KEYS:
            return read_head(path)
    elif start[8:9] == b"{":
        content = _read_safetensors(path)
    else:
        content = read_pickle(path)
    if not looks_like_flame(content):
        keys = ", ".join(sorted(map(str, content))[:12]) if isinstance(content, dict) else type(content).__name__
        raise FormatError(
            f"{path} holds no head model that is known here",
            expected=ACCEPTED,
            found=keys or "nothing",
            fix="name the model's own file, as its publisher distributes it",
        )
    return read_flame(content, path, digest=sha256_of(path))


def _only_model(folder: Path) -> Path:
    """The model in a folder as unpacked from the publisher's archive."""
    found = sorted(file for file in folder.iterdir() if file.suffix in MODELS)
    # FLAME's archives hold one model for each sex beside the generic one, and masks beside those.
    named = [file for file in found if file.name.startswith(("generic_model", "flame20"))]
    chosen = named if named else found
    if len(chosen) != 1:
        raise InputError(
            f"The folder {folder} does not say which head model is meant",
            expected=ACCEPTED,
            found=", ".join(file.name for file in found[:8]) or "no model file",
            fix="name the model's file",
        )
    return chosen[0]


def _read_npz(path: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            files = [name for name in archive.namelist() if not name.endswith("/")]
        if not all(name.endswith(".npy") for name in files):
            raise FormatError(
                f"{path} is an archive",
                expected="the head model's own file: a pickle, npz or safetensors, or ICT-FaceKit's folder",
                found=", ".join(files[:4]) + (" …" if len(files) > 4 else ""),
                fix="unpack it and import the model's file",
            )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise FormatError(
            f"{path} is not a head model",
            expected="an npz of plain arrays; the publisher's archive must be unpacked first",
            found=str(error),
            fix="unpack the archive and import the model's file; an npz with pickled arrays cannot be read",
        ) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path} is not a safetensors file", expected=ACCEPTED, found=str(error)) from error
