"""The libraries of this machine: all built, and found."""

import platform
import shutil

import pytest

from avatar.errors import BackendError
from avatar.render import _native


def test_all_libraries_were_built():
    # Installing goes on without them where they do not compile, which must not pass unseen where there is a compiler.
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler, so torch does the work of the libraries")
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    wanted = {_native.BASELINE, _native.FLOAT64, *(("avx2", "avx512") if x86 else ())}
    assert {isa for isa in (*_native.ISAS, _native.FLOAT64) if _native.library_path(isa).is_file()} == wanted


def test_a_library_that_is_none_is_refused(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(BackendError, match=r"cannot be opened[\s\S]*broken.so"):
        _native.Library(broken)
