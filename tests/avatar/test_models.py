"""The registry, the verified cache and the fall-back between sources; no network is used."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avatar.errors import InputError, PartError
from avatar.models import PARTS, Package, Part, Url, cache_folder, fetch, is_cached, parts, path_of, verify
from avatar.models import download as download_module

CONTENT = b"weights" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSPLAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_part(*sources: Url | Package, content: bytes = CONTENT) -> dict[str, Part]:
    digest = hashlib.sha256(content).hexdigest()
    return {"p": Part("p", "a test", "p.bin", digest, len(content), "MIT", sources)}


@pytest.fixture
def good(tmp_path: Path) -> Url:
    (tmp_path / "good.bin").write_bytes(CONTENT)
    return Url((tmp_path / "good.bin").as_uri())


def test_fetch_stores_the_file_and_then_needs_no_source(good: Url, tmp_path: Path) -> None:
    registry = make_part(good)
    assert not is_cached("p", registry=registry)
    path = fetch("p", registry=registry)
    assert path.read_bytes() == CONTENT
    (tmp_path / "good.bin").unlink()
    assert fetch("p", registry=registry) == path
    assert [row.status for row in verify("p", registry=registry)] == ["ok"]
    assert [entry.name for entry in cache_folder().iterdir()] == ["p.bin"]


@pytest.mark.parametrize("bad", [b"weights" * 999, b"x" * len(CONTENT), CONTENT + b"more"])
def test_wrong_bytes_fall_through_to_the_next_source(bad: bytes, good: Url, tmp_path: Path) -> None:
    (tmp_path / "bad.bin").write_bytes(bad)
    registry = make_part(Url((tmp_path / "bad.bin").as_uri()), good)
    assert fetch("p", registry=registry).read_bytes() == CONTENT


def test_one_error_names_every_source_and_the_way_by_hand(tmp_path: Path) -> None:
    (tmp_path / "bad.bin").write_bytes(b"x" * len(CONTENT))
    bad, absent = Url((tmp_path / "bad.bin").as_uri()), Url((tmp_path / "absent.bin").as_uri())
    registry = make_part(bad, absent)
    with pytest.raises(PartError) as caught:
        fetch("p", registry=registry)
    text = str(caught.value)
    for piece in ("part p", bad.address, absent.address, "wrong content", str(path_of(registry["p"])), "by hand"):
        assert piece in text
    assert not path_of(registry["p"]).exists()


def test_a_file_put_by_hand_is_used_and_a_corrupt_one_is_replaced(good: Url, cache: Path) -> None:
    registry = make_part(good)
    cache.mkdir()
    (cache / "p.bin").write_bytes(b"x" * len(CONTENT))
    assert [row.status for row in verify(registry=registry)] == ["corrupt"]
    assert fetch("p", registry=registry).read_bytes() == CONTENT
    by_hand = make_part()
    assert fetch("p", registry=by_hand).read_bytes() == CONTENT


def test_change_of_a_cached_file_is_noticed_in_the_same_process(good: Url) -> None:
    registry = make_part(good)
    path = fetch("p", registry=registry)
    path.write_bytes(b"y" * len(CONTENT))
    os.utime(path, ns=(1, 1))
    assert not is_cached("p", registry=registry)


def test_silent_source_is_left_after_the_timeout(good: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    real = download_module.urllib.request.urlopen

    def urlopen(address: str, timeout: float):
        if address.startswith("https"):
            time.sleep(3)
            raise OSError("too late")
        return real(address, timeout=timeout)

    monkeypatch.setattr(download_module.urllib.request, "urlopen", urlopen)
    start = time.perf_counter()
    fetch("p", registry=make_part(Url("https://silent.invalid/p.bin"), good), timeout=0.1)
    assert time.perf_counter() - start < 2.5


def test_full_disk_is_one_error(good: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download_module, "_read_address", full)
    with pytest.raises(PartError, match="No space left on device"):
        fetch("p", registry=make_part(good))


def test_member_of_a_wheel_is_taken_and_the_wheel_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    wheel = tmp_path / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/p.bin", CONTENT)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        target = Path(command[command.index("--dest") + 1])
        target.mkdir()
        (target / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download_module.subprocess, "run", pip)
    assert fetch("p", registry=make_part(Package("thing==1", "thing/p.bin", digest))).read_bytes() == CONTENT
    path_of(make_part()["p"]).unlink()
    with pytest.raises(PartError, match="wrong wheel"):
        fetch("p", registry=make_part(Package("thing==1", "thing/p.bin", "0" * 64)))
    with pytest.raises(PartError, match="the wheel cannot be read"):
        fetch("p", registry=make_part(Package("thing==1", "thing/q.bin", digest)))


def test_member_of_a_source_archive_is_taken_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import tarfile

    packed = tmp_path / "thing-1.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        entry = tarfile.TarInfo("thing-1/p.bin")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    asked: list[str] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(Path(command[command.index("-r") + 1]).read_text())
        assert "--require-hashes" in command and "--only-binary=:all:" not in command
        target = Path(command[command.index("--dest") + 1])
        target.mkdir()
        (target / packed.name).write_bytes(packed.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download_module.subprocess, "run", pip)
    source = Package("thing==1", "thing-1/p.bin", digest, source=True)
    assert fetch("p", registry=make_part(source)).read_bytes() == CONTENT
    assert asked == [f"thing==1 --hash=sha256:{digest}\n"]
    path_of(make_part()["p"]).unlink()
    with pytest.raises(PartError, match="the source archive cannot be read"):
        fetch("p", registry=make_part(Package("thing==1", "thing-1/q.bin", digest, source=True)))


def test_pip_s_own_reason_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")
    monkeypatch.setattr(download_module.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PartError, match="thing==1: No matching distribution found"):
        fetch("p", registry=make_part(Package("thing==1", "a", "0" * 64)))


def test_unknown_part_is_the_users_error() -> None:
    for call in (fetch, is_cached, verify):
        with pytest.raises(InputError, match="face_landmarker"):
            call("nothing")


def test_registry_is_complete() -> None:
    rows = {row.name: row for row in parts()}
    assert rows.keys() == PARTS.keys()
    for part in PARTS.values():
        assert len(part.sha256) == 64 and part.size > 0 and part.licence and part.sources
        assert not rows[part.name].cached
        for source in part.sources:
            if isinstance(source, Package):
                assert "==" in source.requirement and len(source.wheel_sha256) == 64
    assert len({part.filename for part in PARTS.values()}) == len(PARTS)


def test_import_stays_light() -> None:
    code = "import sys, avatar.models; print(sorted({'torch', 'numpy', 'cv2'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
