"""Numbered pictures in a folder: complete or not at all."""

from fractions import Fraction
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from avatar.errors import InputError
from avatar.io.audio import read_audio
from avatar.io.picture_folder import PictureFolder


@pytest.mark.parametrize(
    ("shape", "kind"), [((6, 8, 3), np.uint8), ((6, 8, 4), np.uint8), ((6, 8), np.uint16), ((6, 8, 3), np.uint16)]
)
def test_pictures_come_back_as_they_were(shape: tuple[int, ...], kind: type, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (3, *shape)).astype(kind)
    with PictureFolder(tmp_path / "out", fps=Fraction(30000, 1001), facts={"unit": 0.5}) as folder:
        for picture in pictures:
            folder.write(picture)
        assert not (tmp_path / "out").exists()
    for index, picture in enumerate(pictures):
        stored = cv2.imread(str(tmp_path / "out" / f"{index:05d}.png"), cv2.IMREAD_UNCHANGED)
        assert stored is not None and stored.dtype == kind
        order = [2, 1, 0, 3][: stored.shape[2]] if stored.ndim == 3 else ...
        assert (stored[..., order] == picture if stored.ndim == 3 else stored == picture).all()
    said = msgspec.json.decode((tmp_path / "out" / "sequence.json").read_bytes())
    assert said == {"fps": [30000, 1001], "pictures": 3, "unit": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sound_lies_beside_the_pictures(tmp_path: Path) -> None:
    sound = np.sin(np.arange(1600) / 9).astype(np.float32) / 2
    with PictureFolder(tmp_path / "out", fps=Fraction(25), audio=(sound, 16000)) as folder:
        folder.write(np.zeros((4, 4, 3), np.uint8))
    again = read_audio(tmp_path / "out" / "sound.wav", rate=16000)
    assert again is not None and np.abs(again - sound).max() < 1e-4


def broken() -> None:
    raise InputError("The sound cannot be written")


def test_nothing_half_written_is_left_and_nothing_is_written_over(tmp_path: Path) -> None:
    with pytest.raises(KeyError), PictureFolder(tmp_path / "out", fps=Fraction(25)) as folder:
        folder.write(np.zeros((4, 4, 3), np.uint8))
        raise KeyError
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="The sound"), PictureFolder(tmp_path / "out", fps=Fraction(25)) as folder:
        folder._finish = broken  # type: ignore[method-assign]
    assert not list(tmp_path.iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(InputError, match="is in the way"):
            PictureFolder(tmp_path / name, fps=Fraction(25))
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
