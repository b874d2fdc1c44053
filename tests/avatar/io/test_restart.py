"""Restarts: a stage that changes files in place starts from the same ones however often it is stopped."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.config import write_json
from avatar.errors import InputError
from avatar.fields.gaussian_head import GaussianHead
from avatar.io._files import write_png, write_tensors
from avatar.io.avatar import load_avatar
from avatar.io.restart import forget_start, restartable
from avatar.io.take import Take


def hidden(take: Take) -> list[str]:
    return [path.name for path in take.path.iterdir() if path.name.startswith(".")]


def test_a_stopped_stage_starts_from_what_was_there(take_copy: Take) -> None:
    path = take_copy.path / "motion.npz"
    before = path.read_bytes()
    for content in (b"half", b"done"):
        # Stopped twice: after its first write, and after all of them.
        with pytest.raises(KeyboardInterrupt), restartable(take_copy, "refinement"):
            assert path.read_bytes() == before
            path.write_bytes(content)
            raise KeyboardInterrupt
        assert path.read_bytes() == content
    with restartable(take_copy, "refinement"):
        assert path.read_bytes() == before
        path.write_bytes(b"refined")
    assert path.read_bytes() == b"refined" and hidden(take_copy) == []


def test_a_new_beginning_forgets_the_old_one(take_copy: Take) -> None:
    with pytest.raises(KeyboardInterrupt), restartable(take_copy, "refinement"):
        raise KeyboardInterrupt
    assert hidden(take_copy) == [".before-refinement"]
    forget_start(take_copy, "refinement")
    forget_start(take_copy, "refinement")
    assert hidden(take_copy) == []
    (take_copy.path / "motion.npz").write_bytes(b"tracked anew")
    with restartable(take_copy, "refinement"):
        assert (take_copy.path / "motion.npz").read_bytes() == b"tracked anew"


def test_what_a_kill_left_half_kept_is_kept_anew(take_copy: Take) -> None:
    partial = take_copy.path / ".before-refinement.partial"
    partial.mkdir()
    (partial / "motion.npz").write_bytes(b"half a copy")
    before = (take_copy.path / "motion.npz").read_bytes()
    with pytest.raises(KeyboardInterrupt), restartable(take_copy, "refinement"):
        raise KeyboardInterrupt
    assert (take_copy.path / ".before-refinement" / "motion.npz").read_bytes() == before


def test_a_full_disk_leaves_what_was_there(small_files: Callable, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    png, numbers, text = (tmp_path / name for name in ("a.png", "a.safetensors", "a.json"))
    for path in (png, numbers, text):
        path.write_bytes(b"before")
    with small_files(500):
        with pytest.raises(InputError, match="make room on the disk"):
            write_png(png, noise)
        with pytest.raises(InputError, match="make room on the disk"):
            write_tensors(numbers, {"noise": torch.zeros(1000)})
        with pytest.raises(OSError, match="too large"):
            write_json(text, {"values": list(range(1000))})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.png", "a.safetensors"]
    assert all(path.read_bytes() == b"before" for path in (png, numbers, text))


def test_an_avatar_that_does_not_fit_on_the_disk_leaves_the_one_before(
    small_files: Callable, write_avatar: Callable, tiny_gaussians: GaussianHead, tmp_path: Path
) -> None:
    folder = write_avatar(tmp_path / "me", tiny_gaussians)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with small_files(20_000), pytest.raises(InputError, match="make room on the disk"):
        write_avatar(folder, tiny_gaussians)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert load_avatar(folder).info.gaussians == len(tiny_gaussians)
