"""Imports run one way (docs/architecture.md), and the command line starts without torch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = {"preprocess", "train", "render"}
# Where stages may meet: the command line and developer commands.
EXCEPTED = ("avatar/cli.py", "avatar/commands/", "avatar/synthetic/", "avatar/heads/build/")
FORBIDDEN = {"avatar": STAGES, "render": {"preprocess", "train"}, "preprocess": {"train"}, "train": {"preprocess"}}


def imported_modules(path: Path) -> set[str]:
    """Full names of every module and member that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_stages_import_one_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(EXCEPTED):
            continue
        for module in imported_modules(path):
            stage = module.removeprefix("avatar.").split(".")[0] if module.startswith("avatar.") else ""
            if stage in FORBIDDEN[folder]:
                wrong.append(f"{name} imports {module}")
    assert not wrong


def test_every_package_is_installed() -> None:
    """An editable install has what the list in setup.py forgets; a wheel has not."""
    listed = ast.literal_eval(re.search(r"^PACKAGES = (\{.*?^\})", (ROOT / "setup.py").read_text(), re.S | re.M)[1])  # type: ignore[index]
    folders = {"avatar", "preprocess", "render", "train", "assets"}
    found = {path.parent.relative_to(ROOT).as_posix() for top in folders for path in (ROOT / top).rglob("__init__.py")}
    assert found == set(listed.values())


def test_help_does_not_load_torch() -> None:
    script = (
        "import sys, avatar.cli\n"
        "try:\n    avatar.cli.main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules, 'heavy modules were loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "create" in done.stdout
