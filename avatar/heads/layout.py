"""One npz layout serves every head model: its reader, its writer, its checks and its content hash."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int

JOINTS = ("root", "neck", "jaw", "eye_l", "eye_r")
PARENTS = (-1, 0, 1, 1, 1)
POSE_FEATURES = 9 * (len(JOINTS) - 1)
HALF = ("shapedirs", "exprdirs", "posedirs", "weights", "eyelids")
OPTIONAL = {"regions", "lmk478", "lmk68", "iris_angle", "quality"}
# What a motion's coefficients mean depends on these arrays alone; a better landmark embedding keeps old motions valid.
HASHED = ("v_template", "f", "shapedirs", "exprdirs", "posedirs", "J_regressor", "kintree_table", "weights", "eyelids")


@dataclass(frozen=True)
class Embedding:
    """Landmarks pinned to the surface.

    Attributes:
        faces: (L,) index of the triangle each landmark lies on.
        barycentric: (L, 3) weights of the triangle's corners, summing to one.
        sigma: (L,) how far the detector and the embedding disagree across identities and views, metres.
    """

    faces: Int[np.ndarray, " L"]
    barycentric: Float[np.ndarray, "L 3"]
    sigma: Float[np.ndarray, " L"]


@dataclass(frozen=True)
class HeadLayout:
    """A head model as stored, in metres, +y up, +z out of the face; arrays are float32 once read.

    Attributes:
        id: Name and version of the model, for example ``open-1``.
        v_template: (V, 3) mean head.
        f: (F, 3) triangles, counter-clockwise from outside.
        uv: (F, 3, 2) texture coordinates of the triangles' corners, v upwards.
        shapedirs: (V, 3, S) identity directions, one standard deviation each.
        exprdirs: (V, 3, E) expression directions.
        posedirs: (V, 3, 36) correctives, linear in R - I (row-major) of the joints neck, jaw, left eye, right eye.
        J_regressor: (5, V) joints as affine functions of the identity's vertices.
        kintree_table: (2, 5) parents and ids of root, neck, jaw, left eye, right eye.
        weights: (V, 5) skinning weights.
        eyelids: (V, 3, 2) closing of the subject's left and right lid.
        parts: Vertex range [start, stop) of every part.
        regions: (V,) weights in [0, 1] of painted regions such as ``lips``, by name.
        arkit_names: (A,) ARKit actions in the expression basis.
        arkit_to_psi: (E, A) expression coefficients of one unit of each action.
        jaw_open_angle: Jaw rotation about +x at jawOpen = 1, radians.
        eye_look_angles: (4,) eye rotation at eyeLookUp, Down, In, Out = 1, radians, all positive.
        iris_angle: Half-angle of the iris as seen from the eyeball's centre, radians; 0 where unknown.
        lmk478: The 478 landmarks of MediaPipe's face mesh with irises, or None.
        lmk68: The iBUG-68 landmarks without the jaw line, hence 51 points, or None.
        licence: Licence name of the data.
        source: Where the data comes from.
        quality: How well what was added to an imported model fits it, by name: relative errors and spreads.
    """

    id: str
    v_template: Float[np.ndarray, "V 3"]
    f: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "F 3 2"]
    shapedirs: Float[np.ndarray, "V 3 S"]
    exprdirs: Float[np.ndarray, "V 3 E"]
    posedirs: Float[np.ndarray, "V 3 36"]
    J_regressor: Float[np.ndarray, "5 V"]
    kintree_table: Int[np.ndarray, "2 5"]
    weights: Float[np.ndarray, "V 5"]
    eyelids: Float[np.ndarray, "V 3 2"]
    parts: dict[str, tuple[int, int]]
    arkit_names: tuple[str, ...]
    arkit_to_psi: Float[np.ndarray, "E A"]
    jaw_open_angle: float
    eye_look_angles: Float[np.ndarray, " 4"]
    licence: str
    source: str
    iris_angle: float = 0.0
    regions: dict[str, Float[np.ndarray, " V"]] = field(default_factory=dict)
    lmk478: Embedding | None = None
    lmk68: Embedding | None = None
    quality: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_values(self)

    @property
    def hash(self) -> str:
        """SHA-256 over the geometry and the bases, as 64 hex digits."""
        digest = hashlib.sha256()
        for name in HASHED:
            value = np.ascontiguousarray(getattr(self, name))
            digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()


def read_head(path: Path) -> HeadLayout:
    """Reads a head npz.

    Raises:
        FileNotFoundError: `path` does not exist.
        FormatError: It is no npz, lacks a key, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path} is not a head model",
            expected="an npz of plain arrays",
            # What is no archive at all numpy takes for a pickle, and tells how to run it.
            found="something else" if "pickle" in str(error) else str(error),
            fix="name one that `avatar heads list` names, or import the model with `avatar heads import PATH`",
        ) from error
    arrays, embeddings = _split_embeddings(arrays)
    wanted = [f.name for f in fields(HeadLayout) if f.name not in OPTIONAL]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise FormatError(
            f"{path} is not a head model",
            expected=f"the keys {', '.join(wanted)}",
            found=f"no {', '.join(missing)}",
            fix="Convert the model to the head layout first; docs/ says how",
        )
    try:
        return HeadLayout(**_decode(arrays, embeddings))
    except (FormatError, json.JSONDecodeError, TypeError) as error:
        raise FormatError(f"{path} cannot be used as a head model", found=str(error)) from error


def write_head(path: Path, layout: HeadLayout) -> None:
    """Writes a head npz; directions, weights and lids in half precision, regions in a byte; reproducible."""
    arrays: dict[str, np.ndarray] = {}
    for entry in fields(layout):
        value = getattr(layout, entry.name)
        if isinstance(value, Embedding):
            arrays |= {f"{entry.name}_{part.name}": getattr(value, part.name) for part in fields(value)}
        elif entry.name == "regions":
            arrays["region_names"] = np.array(list(value), dtype=np.str_)
            stacked = np.stack(list(value.values())) if value else np.zeros((0, 0))
            arrays["regions"] = np.round(stacked * 255).astype(np.uint8)
        elif entry.name in {"parts", "quality"}:
            if value:
                arrays[entry.name] = np.array(json.dumps(value))
        elif value is not None:
            arrays[entry.name] = np.asarray(value, dtype=np.float16 if entry.name in HALF else None)
    single = {"f": np.float32, "i": np.int32}
    for name, value in arrays.items():
        if value.ndim and value.dtype.kind in single and value.dtype.itemsize > 4:
            arrays[name] = value.astype(single[value.dtype.kind])
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]


def _split_embeddings(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Embedding]]:
    embeddings: dict[str, Embedding] = {}
    for name in ("lmk478", "lmk68"):
        keys = [f"{name}_{part.name}" for part in fields(Embedding)]
        if all(key in arrays for key in keys):
            faces, barycentric, sigma = (arrays.pop(key) for key in keys)
            embeddings[name] = Embedding(
                faces.astype(np.int64), barycentric.astype(np.float32), sigma.astype(np.float32)
            )
    return arrays, embeddings


def _decode(arrays: dict[str, np.ndarray], embeddings: dict[str, Embedding]) -> dict[str, Any]:
    """Turns stored arrays into the fields' types; half precision becomes float32."""
    names = [str(name) for name in arrays.pop("region_names", np.array([], dtype=np.str_))]
    regions = arrays.pop("regions", np.zeros((0, 0), np.uint8))
    values: dict[str, Any] = dict(embeddings)
    known = {entry.name for entry in fields(HeadLayout)}
    for name, value in arrays.items():
        if name not in known:
            continue
        if name == "parts":
            ranges = json.loads(str(value))
            values[name] = {str(part): (int(start), int(stop)) for part, (start, stop) in ranges.items()}
        elif name == "quality":
            values[name] = {str(key): float(number) for key, number in json.loads(str(value)).items()}
        elif name == "arkit_names":
            values[name] = tuple(str(action) for action in value)
        elif name in {"jaw_open_angle", "iris_angle"}:
            values[name] = float(value)
        elif value.dtype.kind in "US":
            values[name] = str(value)
        else:
            values[name] = value.astype(np.int64 if value.dtype.kind in "iu" else np.float32)
    values["regions"] = {name: row.astype(np.float32) / 255 for name, row in zip(names, regions, strict=True)}
    return values


def _check_shapes(layout: HeadLayout) -> None:
    """Holds the arrays' shapes to each other."""
    count, joints = len(layout.v_template), len(JOINTS)
    expressions = layout.exprdirs.shape[-1] if layout.exprdirs.ndim else -1
    shapes = {
        "v_template": (count, 3),
        "f": (len(layout.f), 3),
        "uv": (len(layout.f), 3, 2),
        "shapedirs": (count, 3, layout.shapedirs.shape[-1]),
        "exprdirs": (count, 3, expressions),
        "posedirs": (count, 3, POSE_FEATURES),
        "J_regressor": (joints, count),
        "kintree_table": (2, joints),
        "weights": (count, joints),
        "eyelids": (count, 3, 2),
        "arkit_to_psi": (expressions, len(layout.arkit_names)),
        "eye_look_angles": (4,),
    }
    for name, shape in shapes.items():
        found = getattr(layout, name).shape
        if found != shape:
            raise FormatError(f"The head's {name} has the wrong shape", expected=str(shape), found=str(found))


def _check_values(layout: HeadLayout) -> None:
    """Holds the values to what skinning relies on."""
    count = len(layout.v_template)
    for entry in fields(layout):
        value = getattr(layout, entry.name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise FormatError(f"The head's {entry.name} has NaN or inf", expected="finite numbers")
    if len(layout.f) and (layout.f.min() < 0 or layout.f.max() >= count):
        raise FormatError("The head's triangles point outside its vertices", expected=f"indices in [0, {count})")
    if tuple(layout.kintree_table[0]) != PARENTS:
        raise FormatError(
            "The head's joints are not ours",
            expected=f"parents {PARENTS} of {', '.join(JOINTS)}",
            found=str(layout.kintree_table[0].tolist()),
        )
    for name in ("weights", "J_regressor"):
        sums = getattr(layout, name).sum(axis=1)
        if np.abs(sums - 1).max(initial=0) > 5e-3:
            worst = float(sums[np.abs(sums - 1).argmax()])
            raise FormatError(f"The head's {name} do not sum to one", expected="rows summing to 1", found=f"{worst:g}")
    for part, (start, stop) in layout.parts.items():
        if not 0 <= start <= stop <= count:
            raise FormatError(f"The head's part {part} is out of range", found=f"[{start}, {stop}) of {count}")
    for name, region in layout.regions.items():
        if region.shape != (count,):
            raise FormatError(f"The head's region {name} has the wrong shape", expected=f"({count},)")
    for name, embedding in (("lmk478", layout.lmk478), ("lmk68", layout.lmk68)):
        if embedding is not None:
            _check_embedding(name, embedding, len(layout.f))


def _check_embedding(name: str, embedding: Embedding, faces: int) -> None:
    points = {"lmk478": 478, "lmk68": 51}[name]
    shapes = (embedding.faces.shape, embedding.barycentric.shape, embedding.sigma.shape)
    if shapes != ((points,), (points, 3), (points,)):
        raise FormatError(f"The head's {name} has the wrong shape", expected=f"{points} landmarks", found=str(shapes))
    if embedding.faces.min() < 0 or embedding.faces.max() >= faces:
        raise FormatError(f"The head's {name} points outside its triangles", expected=f"indices in [0, {faces})")
    if np.abs(embedding.barycentric.sum(axis=1) - 1).max() > 1e-3 or (embedding.sigma <= 0).any():
        raise FormatError(f"The head's {name} cannot be used", expected="barycentric sums of 1 and positive sigmas")
