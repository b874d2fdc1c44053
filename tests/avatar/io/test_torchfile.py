"""Files of torch.save, read without running anything in them."""

import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.errors import FormatError
from avatar.io.torchfile import read_torch


def test_what_torch_saves_comes_back_as_arrays(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    content = {
        "flame": OrderedDict(exp=torch.randn(1, 100), jaw=base.T[1:3, ::2], none=torch.zeros(0, 3)),
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.float64)),
        "img_size": np.array([512, 256]),
        "scale": np.float32(0.5),
        "matrix": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": [torch.tensor(True), 3, "00001", None, (1, 2.5)],
    }
    torch.save(content, tmp_path / "00000.frame")
    back = read_torch(tmp_path / "00000.frame")
    for name in ("exp", "jaw", "none"):
        assert np.array_equal(back["flame"][name], content["flame"][name].numpy())
    assert np.array_equal(back["parameter"], np.ones(2)) and back["scale"] == 0.5
    assert np.array_equal(back["img_size"], [512, 256]) and np.array_equal(back["matrix"], content["matrix"])
    assert bool(back["flags"][0]) and back["flags"][1:] == [3, "00001", None, (1, 2.5)]


class Evil:
    """An object whose pickle would run a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.target}",)


def test_code_in_a_file_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    torch.save({"flame": torch.ones(3), "extra": Evil(tmp_path / "ran")}, tmp_path / "a.frame")
    with pytest.raises(FormatError, match=r"(posix|nt)\.system, which was not run"):
        read_torch(tmp_path / "a.frame")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch.load", "numpy.load", "torch._utils._rebuild_xla_tensor"])
def test_any_other_name_is_refused(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    with zipfile.ZipFile(tmp_path / "a.frame", "w") as archive:
        archive.writestr("archive/data.pkl", f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(FormatError, match=attribute):
        read_torch(tmp_path / "a.frame")


def test_tensors_that_reach_beyond_their_storage_are_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(4, 4), tmp_path / "a.frame")
    with zipfile.ZipFile(tmp_path / "a.frame") as archive, zipfile.ZipFile(tmp_path / "b.frame", "w") as damaged:
        for entry in archive.namelist():
            data = archive.read(entry)
            damaged.writestr(entry, data.replace(b"K\x04K\x04", b"K\x04K\x40") if entry.endswith(".pkl") else data)
    with pytest.raises(FormatError, match="beyond its storage"):
        read_torch(tmp_path / "b.frame")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.frame").write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read"):
        read_torch(tmp_path / "a.frame")
