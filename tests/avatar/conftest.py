"""A synthetic head in FLAME's exact layout: none of FLAME's data, the open head cut down to as many vertices."""

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from avatar.heads import Head

VERTICES, SHAPES, EXPRESSIONS = 5023, 300, 100


@pytest.fixture(scope="session")
def flame_content(open_head: Head) -> dict[str, Any]:
    """The keys and arrays of a FLAME pickle, on a face a little wider and larger than the open head's, off its place.

    Its hidden truth: vertex i is the open head's vertex ``kept[i]``, which the key that FLAME lacks tells.
    """
    ends = [open_head.parts[name] for name in ("skin", "eye_l", "eye_r")]
    kept = np.concatenate([np.arange(*end) for end in ends])
    place = np.full(len(open_head.v_template), -1)
    place[kept] = np.arange(len(kept))
    faces = place[open_head.faces.numpy()]
    faces = faces[(faces >= 0).all(axis=1)]
    points = open_head.v_template.double().numpy()
    faces, survivors = collapse(faces, points[kept], VERTICES, keep=points[kept, 2] > 0.0)
    kept = kept[survivors]
    bend = np.array([1.05, 1.02, 1.03])
    template = points[kept] * bend + [0.0, -0.012, 0.008]
    generator = np.random.default_rng(0)
    mixing = np.linalg.qr(generator.normal(size=(EXPRESSIONS, open_head.exprdirs.shape[2])))[0].T
    shapes = np.zeros((VERTICES, 3, SHAPES))
    shapes[..., : open_head.shapedirs.shape[2]] = open_head.shapedirs.numpy()[kept]
    expressions = open_head.exprdirs.numpy()[kept] @ mixing
    # As in FLAME since 2020, no vertex stays quite still.
    expressions = expressions + 0.015 * np.abs(expressions).max(axis=(0, 1)) * np.array([[0.0], [0.0], [1.0]])
    directions = np.concatenate([shapes, expressions], axis=2) * bend[:, None]
    joints = open_head.J_template.double().numpy() * bend + [0.0, -0.012, 0.008]
    return {
        "v_template": template,
        "f": faces.astype(np.uint32),
        "shapedirs": directions,
        "posedirs": open_head.posedirs.numpy()[kept].astype(np.float64),
        "J_regressor": sparse.csc_matrix(regressor(open_head.J_regressor.numpy()[:, kept], template, joints)),
        "J": joints,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": open_head.weights.numpy()[kept].astype(np.float64),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "kept": kept,
    }


def regressor(used: np.ndarray, template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The smallest weights, over the vertices that the open head's regressor uses, that give the joints."""
    result = np.zeros((5, len(template)))
    for row in range(5):
        near = np.flatnonzero(used[row])
        system = np.vstack([template[near].T, np.ones(len(near))])
        result[row, near] = np.linalg.lstsq(system, np.r_[joints[row], 1], rcond=None)[0]
    return result


def collapse(faces: np.ndarray, points: np.ndarray, count: int, *, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapses edges until `count` vertices are left; returns the faces over them and their old indices."""
    alive = np.ones(len(points), bool)
    while alive.sum() > count:
        around: dict[int, set[int]] = {}
        for a, b, c in faces.tolist():
            for one, two, three in ((a, b, c), (b, c, a), (c, a, b)):
                around.setdefault(one, set()).update((two, three))
        touched: set[int] = set()
        onto = np.arange(len(points))
        for vertex in np.random.default_rng(1).permutation(np.flatnonzero(alive & ~keep)).tolist():
            if int(alive.sum()) == count:
                break
            ring = around.get(vertex, set())
            if touched & (ring | {vertex}):
                continue
            for goal in sorted(ring, key=lambda other: float(np.sum((points[other] - points[vertex]) ** 2))):
                # Where exactly two triangles share the edge, nothing folds over; the ring is one fan inside the mesh.
                if len(ring & around[goal]) == 2 and len(around[goal]) > 3:
                    onto[vertex], alive[vertex] = goal, False
                    touched |= ring | {vertex}
                    break
        faces = onto[faces]
        faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    survivors = np.flatnonzero(alive)
    place = np.full(len(points), -1)
    place[survivors] = np.arange(len(survivors))
    return place[faces], survivors


@pytest.fixture
def chumpy() -> Iterator[Callable[[np.ndarray], Any]]:
    """Makes arrays of a class that pickles as chumpy's does, whose package is then gone again."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x, self._dirty_vars, self._itr = x, set(), None

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    modules = {"chumpy": ModuleType("chumpy"), "chumpy.ch": ModuleType("chumpy.ch")}
    modules["chumpy.ch"].Ch = Ch  # type: ignore[attr-defined]
    sys.modules.update(modules)
    yield Ch
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def flame_pickle(
    flame_content: dict[str, Any], chumpy: Callable[[np.ndarray], Any], tmp_path: Path
) -> Callable[..., Path]:
    """Writes the content as a pickle of Python 2's protocol, with the arrays that FLAME keeps in chumpy's class."""

    def write(name: str = "generic_model.pkl", *, protocol: int = 2, **changes: Any) -> Path:
        content = {
            key: value for key, value in (flame_content | changes).items() if key != "kept" and value is not None
        }
        for key in ("v_template", "shapedirs", "posedirs", "weights"):
            if key in content:
                content[key] = chumpy(content[key])
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=protocol))
        return tmp_path / name

    return write
