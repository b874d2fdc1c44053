"""FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", 2017) from the user's own file.

Read are the pickles that the publisher distributes (``generic_model.pkl`` of 2017 to 2020, ``flame2023.pkl``,
``flame2023_Open.pkl``) and the same keys in an npz or safetensors file. All editions share one topology and one layout:
5023 vertices, 400 directions of which the first 300 are identity and the last 100 expression, and five joints. No key
names the edition, so that it is told by, in this order: the file's digest where it is known; text inside the file; how
far the expressions reach, since those of 2019 and before move the face only and later ones all vertices; the file's
name. What told it is kept in `HeadSource.recognised`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import FormatError
from avatar.heads.adapters.source import HeadSource, around_uv, check_pose, eyeball_parts
from avatar.heads.layout import PARENTS, POSE_FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHAPES, EXPRESSIONS = 300, 100
KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")
OTHER_NAMES = {"faces": "f", "lbs_weights": "weights", "parents": "kintree_table"}
# Start and end of the SHA-256 of published files, as third parties report them.
DIGESTS = {("e75a0990", "7623"): "flame-2023-open"}
LICENCES = {"flame-2023-open": "CC-BY-4.0; user-supplied, licence of the publisher applies"}
LICENCE = "user-supplied; licence of the publisher applies"
HOME = "FLAME, https://flame.is.tue.mpg.de"
# Share of the vertices that expressions move by more than a hundredth of the most moved one's way.
REACH, FACE_ONLY = 0.01, 0.8


def looks_like_flame(content: object) -> bool:
    """Whether a file's content is a mapping with the keys that FLAME and its kin have."""
    if not isinstance(content, dict):
        return False
    names = {OTHER_NAMES.get(str(key), str(key)) for key in content}
    return {"v_template", "shapedirs", "weights", "J_regressor"} <= names


def read_flame(content: Mapping[str, Any], path: Path, *, digest: str) -> HeadSource:
    """A FLAME model from its file's content.

    Args:
        content: The file's keys and arrays.
        path: The file, for its name.
        digest: SHA-256 of the file, hexadecimal.

    Raises:
        FormatError: A key is missing or an array is not FLAME's.
    """
    content = {OTHER_NAMES.get(str(key), str(key)): value for key, value in content.items()}
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise FormatError(
            f"{path} is not a whole FLAME model",
            expected=f"the keys {', '.join(KEYS)}",
            found=f"no {', '.join(missing)}",
        )
    v_template = _array(content, "v_template", path)
    count = len(v_template)
    shapedirs, exprdirs = _directions(content, path)
    faces = np.asarray(content["f"])
    posedirs = _array(content, "posedirs", path)
    if posedirs.shape == (POSE_FEATURES, 3 * count):
        posedirs = posedirs.T.reshape(count, 3, POSE_FEATURES)
    regressor, weights = _array(content, "J_regressor", path), _array(content, "weights", path)
    shapes = {
        "v_template": (v_template, (count, 3)),
        "f": (faces, (len(faces), 3)),
        "shapedirs": (shapedirs, (count, 3, shapedirs.shape[-1])),
        "posedirs": (posedirs, (count, 3, POSE_FEATURES)),
        "J_regressor": (regressor, (len(PARENTS), count)),
        "weights": (weights, (count, len(PARENTS))),
    }
    for name, (value, shape) in shapes.items():
        if value.shape != shape:
            raise FormatError(
                f"{path} is not a FLAME model", expected=f"{name} of shape {shape}", found=str(value.shape)
            )
    if faces.dtype.kind not in "iu" or faces.min() < 0 or faces.max() >= count:
        raise FormatError(f"{path} is damaged", expected=f"triangles of vertices 0 to {count - 1}")
    faces = faces.astype(np.int64)
    _check_tree(content["kintree_table"], path)
    joints = regressor @ v_template
    check_pose(joints, v_template, name=str(path))
    order, parts = eyeball_parts(v_template, faces, joints)
    place = np.argsort(order)
    name, why = _edition(content, path, digest, exprdirs, parts)
    v_template, faces = v_template[order], place[faces]
    return HeadSource(
        name=name,
        recognised=f"{name} ({why})",
        v_template=v_template,
        f=faces,
        uv=around_uv(v_template, faces),
        shapedirs=shapedirs[order],
        exprdirs=exprdirs[order],
        posedirs=posedirs[order],
        J_regressor=regressor[:, order],
        weights=weights[order],
        parts=parts,
        licence=LICENCES.get(name, LICENCE),
        source=f"{HOME}; user's file {path.name}, SHA-256 {digest}",
    )


def _array(content: Mapping[str, Any], name: str, path: Path) -> np.ndarray:
    value = content[name]
    if hasattr(value, "toarray"):
        value = value.toarray()
    value = np.asarray(value)
    if value.dtype.kind not in "fiu" or value.ndim == 0:
        raise FormatError(f"{path} is damaged", expected=f"numbers in {name}", found=f"{value.dtype} {value.shape}")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        raise FormatError(f"{path} is damaged", expected=f"finite numbers in {name}", found="NaN or infinity")
    return value


def _directions(content: Mapping[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Identity and expression directions, which FLAME keeps in one array."""
    shapedirs = _array(content, "shapedirs", path)
    if "exprdirs" in content:
        return shapedirs, _array(content, "exprdirs", path)
    if shapedirs.ndim != 3 or shapedirs.shape[2] != SHAPES + EXPRESSIONS:
        raise FormatError(
            f"{path} is not a FLAME model",
            expected=f"shapedirs of {SHAPES} identity and {EXPRESSIONS} expression directions, or exprdirs beside them",
            found=f"shapedirs of shape {shapedirs.shape}",
            fix="import the whole model; one cut down to fewer directions does not say which are expressions",
        )
    return shapedirs[..., :SHAPES], shapedirs[..., SHAPES:]


def _check_tree(table: Any, path: Path) -> None:
    """The parents in the file; the root's is the largest unsigned integer, which is -1 read without a sign."""
    parents = np.atleast_2d(np.asarray(table))[0].astype(np.int64)
    parents = np.where((parents < 0) | (parents >= len(parents)), -1, parents)
    if tuple(parents.tolist()) != PARENTS:
        raise FormatError(
            f"{path} has other joints than FLAME",
            expected=f"parents {PARENTS}: root, neck, jaw, left eye, right eye",
            found=str(tuple(parents.tolist())),
        )


def _edition(
    content: Mapping[str, Any], path: Path, digest: str, exprdirs: np.ndarray, parts: dict[str, tuple[int, int]]
) -> tuple[str, str]:
    """The edition's name and what told it."""
    for (start, end), name in DIGESTS.items():
        if digest.startswith(start) and digest.endswith(end):
            return name, "the published file, by its digest"
    said = " ".join(f"{key} {value}" for key, value in content.items() if isinstance(value, str)).lower()
    name = _named(said)
    if name:
        return name, "its text says so"
    way = np.linalg.norm(exprdirs[slice(*parts["skin"])], axis=1).max(axis=1)
    if (way > REACH * way.max()).mean() < FACE_ONLY:
        return "flame-2019", "its expressions move the face only, as in 2019 and before"
    name = _named(path.name.lower())
    if name:
        return name, "its expressions reach all vertices, as in 2020 and later, and the file's name says which"
    if path.name == "generic_model.pkl":
        return "flame-2020", "its expressions reach all vertices, and the file's name is that of 2020"
    return "flame", "an edition from 2020 on; neither content nor name says which"


def _named(text: str) -> str:
    if "2023" in text:
        return "flame-2023-open" if "open" in text else "flame-2023"
    return "flame-2020" if "2020" in text else ""
