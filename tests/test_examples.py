"""The numbered examples run as they stand."""

import runpy
import sys
from pathlib import Path

import cv2
import pytest

from avatar.io.take import Take

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
