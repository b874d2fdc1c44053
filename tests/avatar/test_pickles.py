"""Pickles as plain data: what published files hold comes back, and whatever asks for more is refused by name."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from avatar.errors import FormatError, InputError
from avatar.pickles import parse_pickle, read_pickle


class Calls:
    """Pickles as a call of something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_head_models_hold_comes_back(protocol: int, chumpy: Callable[[np.ndarray], Any]) -> None:
    held = np.random.default_rng(0).normal(size=(5, 3, 2))
    content = {
        "chumpy": chumpy(held),
        "fortran": np.asfortranarray(held),
        "tree": np.array([[2**32 - 1, 0], [0, 1]], np.uint32),
        "sparse": sparse.csc_matrix([[0, 2.0], [1, 0]]),
        "rows": sparse.csr_matrix([[0, 2.0, 0], [1, 0, 5]]),
        "big_endian": np.arange(4, dtype=">f8"),
        "number": np.float32(1.5),
        "list": [1, (2.5, "text"), None, {"a": b"bytes"}],
        "names": np.array(["left", "right"]),
    }
    found = parse_pickle(pickle.dumps(content, protocol=protocol), name="model.pkl")
    assert list(found) == list(content)
    np.testing.assert_array_equal(found["chumpy"], held)
    np.testing.assert_array_equal(found["fortran"], held)
    np.testing.assert_array_equal(found["tree"], content["tree"])
    np.testing.assert_array_equal(found["big_endian"], np.arange(4))
    for name in ("sparse", "rows"):
        np.testing.assert_array_equal(found[name].toarray(), content[name].toarray())
    assert found["number"] == 1.5 and found["list"] == content["list"] and found["names"].tolist() == ["left", "right"]


def test_files_of_python_2_are_read() -> None:
    # {'x': array([1., 2.])} as Python 2.7 with numpy 1.16 writes it by default.
    text = (
        b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
        b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\np15\ntp16\nbs."
    )
    assert parse_pickle(text, name="old.pkl")["x"].tolist() == [1.0, 2.0]


def test_python_2_instances_of_chumpy_are_read() -> None:
    text = (
        b"(dp0\nS'x'\nccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR"
        b"(dS'x'\nI7\nsS'_dirty_vars'\nc__builtin__\nset\n((ltRsbs."
    )
    assert parse_pickle(text, name="old.pkl") == {"x": 7}


@pytest.mark.parametrize(
    ("function", "arguments", "asked"),
    [
        (os.system, ("touch {mark}",), "system"),
        (eval, ("open('{mark}', 'w')",), "builtins.eval"),
        (exec, ("open('{mark}', 'w')",), "builtins.exec"),
        (getattr, (os, "system"), "builtins.getattr"),
        (np.load, ("{mark}",), "numpy.load"),
        (np.memmap, ("{mark}", "u1", "w+", 0, (4,)), "numpy.memmap"),
        (io.open, ("{mark}", "w"), "io.open"),
    ],
)
def test_calls_are_refused_by_name_and_not_made(
    function: Any, arguments: tuple[Any, ...], asked: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    filled = tuple(value.replace("{mark}", str(mark)) if isinstance(value, str) else value for value in arguments)
    if function is getattr:
        content = b"cbuiltins\ngetattr\n(cos\nenviron\nS'copy'\ntR."
    else:
        content = pickle.dumps({"v_template": Calls(function, *filled)}, protocol=2)
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(FormatError) as refused:
        read_pickle(tmp_path / "model.pkl")
    # os.system is pickled by the name of its platform's module, and builtins of Python 2 by theirs.
    assert asked.replace("builtins", "__builtin__") in str(refused.value) or asked in str(refused.value)
    assert "which was not run" in str(refused.value) and "attack" in str(refused.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps(np.array([{}], dtype=object)), "no plain number"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "no plain number"),
        # An array of a thousand numbers with the bytes of one.
        (pickle.dumps(np.zeros(1)).replace(b"K\x01\x85", b"M\xe8\x03\x85"), "1 numbers for an array of shape"),
        # BUILD on a stand-in class: its methods must stay what they are.
        (b"\x80\x02c__builtin__\nobject\nN}X\x0c\x00\x00\x00__setstate__K\x01s\x86b.", "an attempt to change"),
        (b"\x80\x02cnumpy\nndarray\n.", "no plain data"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncbuiltins\nset\n\x85R.", "subclass of numpy's"),
        (b"\x80\x02X\x03\x00\x00\x00refQ.", "outside the file"),
        (b"not a pickle at all", "undamaged pickle"),
        (pickle.dumps({"a": np.zeros(9)})[:-20], "undamaged pickle"),
        (b"", "undamaged pickle"),
    ],
)
def test_tricks_and_damage_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        parse_pickle(content, name="model.pkl")


def test_sparse_matrices_point_inside_themselves() -> None:
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 77
    with pytest.raises(FormatError, match="cannot be read"):
        parse_pickle(pickle.dumps(matrix), name="model.pkl")


def test_chumpy_expressions_are_refused(chumpy: Callable[[np.ndarray], Any]) -> None:
    expression = chumpy(np.zeros(2))
    del expression.x
    with pytest.raises(FormatError, match="a chumpy expression"):
        parse_pickle(pickle.dumps(expression), name="model.pkl")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pkl cannot be read"):
        read_pickle(tmp_path / "none.pkl")
