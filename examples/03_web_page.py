"""Writes an avatar's web page, and beside it a page of one's own that drives the same avatar (03_own_page.html).

usage: python examples/03_web_page.py AVATAR FOLDER [SPEECH]

Then: python -m http.server -d FOLDER, and open http://localhost:8000 or http://localhost:8000/own.html
"""

import shutil
import sys
from pathlib import Path

from avatar.io.audio import read_audio
from avatar.io.avatar import load_avatar
from avatar.render.export import FORMATS, export_avatar

RATE = 48_000

stored = load_avatar(Path(sys.argv[1]))
folder = Path(sys.argv[2])
samples = read_audio(Path(sys.argv[3]), rate=RATE) if len(sys.argv) > 3 else None
export_avatar(stored, folder, FORMATS["web"], sound=None if samples is None else (samples, RATE))
shutil.copy(Path(__file__).with_name("03_own_page.html"), folder / "own.html")
