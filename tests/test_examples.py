"""The numbered examples run as they stand."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.io.take import Take
from avatar.io.video import probe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_turntable_shows_five_sides(
    tiny_avatar: Path, tiny_take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "sides.png"
    monkeypatch.setattr(sys, "argv", ["01_turntable.py", str(tiny_avatar), str(tiny_take.path), str(picture)])
    runpy.run_path(str(EXAMPLES / "01_turntable.py"))
    shown = cv2.imread(str(picture))
    assert shown is not None
    assert shown.shape[1] == 5 * shown.shape[0]
    assert shown.std() > 5


def test_web_page(tiny_avatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["03_web_page.py", str(tiny_avatar), str(tmp_path / "site")])
    runpy.run_path(str(EXAMPLES / "03_web_page.py"))
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert {"index.html", "own.html", "player.js", "avatar.json", "avatar.bin"} <= names


def test_free_view_writes_film_depth_and_both_eyes(
    tiny_avatar: Path, tiny_take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion = tiny_take.path / "motion.npz"
    monkeypatch.setattr(sys, "argv", ["02_free_view.py", str(tiny_avatar), str(motion), str(tmp_path / "out")])
    runpy.run_path(str(EXAMPLES / "02_free_view.py"))
    film, both = (probe(tmp_path / "out" / name) for name in ("film.mp4", "stereo.mp4"))
    assert (film.width, film.height, film.frames) == (320, 240, 20)
    assert (both.width, both.frames) == (640, 20)
    depth = cv2.imread(str(tmp_path / "out" / "depth" / "00010.png"), cv2.IMREAD_UNCHANGED)
    assert depth is not None and depth.dtype == np.uint16
    assert 0.2 < 1e-4 * np.median(depth[depth > 0]) < 1
