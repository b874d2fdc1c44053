"""Pages at the end of commands, the browser that may not be there, and pictures in the terminal."""

import base64
import io
import json
import re
import shutil
import webbrowser
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from rich.console import Console

from avatar import cli
from avatar.commands import _page, _preview, create
from avatar.commands._preview import half_blocks, iterm2_image, kitty_image, preview_way, show_preview
from avatar.io.take import Take

VARIABLES = ("TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "NO_COLOR", "FORCE_COLOR", "COLORTERM")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(*, tty: bool = True, colors: str | None = "truecolor") -> Console:
    file = Screen() if tty else io.StringIO()
    return Console(file=file, force_terminal=True, color_system=colors, width=60, _environ={})  # type: ignore[arg-type]


@pytest.fixture
def avatar(tmp_path: Path, tiny_avatar: Path, tiny_take: Take) -> Path:
    """An avatar with its take, to write pages to."""
    folder = Path(shutil.copytree(tiny_avatar, tmp_path / "me"))
    shutil.copytree(tiny_take.path, folder / "take")
    return folder


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"LC_TERMINAL": "iTerm2", "TERM": "xterm-256color"}, "iterm2"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/x"}, "blocks"),
        ({"TERM_PROGRAM": "Apple_Terminal"}, "blocks"),
    ],
)
def test_a_terminal_gets_what_it_can_show(environment: dict[str, str], way: str) -> None:
    assert preview_way(terminal(), environment) == way


def test_no_picture_where_none_can_be_shown(avatar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    kitty = {"TERM": "xterm-kitty"}
    assert preview_way(terminal(tty=False), kitty) is None
    assert preview_way(terminal(colors="256"), {"TERM": "xterm-256color"}) is None
    assert preview_way(terminal(colors=None), {"TERM": "xterm"}) is None
    dumb = Console(file=Screen(), force_terminal=True, _environ={"TERM": "dumb"})
    assert preview_way(dumb, {}) is None
    for screen in (terminal(tty=False), terminal(colors="256")):
        show_preview(avatar, terminal=screen)
        assert screen.file.getvalue() == ""  # type: ignore[attr-defined]
    (avatar / "preview.png").unlink()
    empty = terminal()
    show_preview(avatar, terminal=empty)
    assert empty.file.getvalue() == ""  # type: ignore[attr-defined]


def test_half_blocks_hold_two_pixels_each() -> None:
    picture = np.zeros((4, 2, 3), np.uint8)
    picture[0] = (255, 0, 0)
    picture[1] = (0, 255, 0)
    picture[2:] = (1, 2, 3)
    screen = terminal()
    screen.print(half_blocks(picture, 2))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "38;2;255;0;0;48;2;0;255;0m" in lines[0] and lines[0].count("▀") == 2
    assert "38;2;1;2;3;48;2;1;2;3m" in lines[1]


def test_pictures_are_sent_whole(avatar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 40
    text = iterm2_image(data, 50)
    assert text.startswith("\x1b]1337;File=inline=1;size=10240;width=50;") and text.endswith("\x07")
    assert base64.b64decode(text.partition(":")[2][:-1]) == data
    parts = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", kitty_image(data, 50))
    assert parts[0][0] == "a=T,f=100,c=50,q=2,m=1" and [part[0] for part in parts[1:]] == ["m=1"] * 2 + ["m=0"]
    assert all(len(part[1]) <= 4096 for part in parts) and base64.b64decode("".join(p[1] for p in parts)) == data

    (avatar / "contact.png").write_bytes(data)
    monkeypatch.setattr(_preview.os, "environ", {"TERM": "xterm-kitty"})
    screen = terminal()
    show_preview(avatar, terminal=screen)
    assert screen.file.getvalue() == kitty_image(data, 59) + "\n"  # type: ignore[attr-defined]
    monkeypatch.setattr(_preview.os, "environ", {"TERM": "xterm"})
    screen = terminal()
    show_preview(avatar, terminal=screen)
    assert screen.file.getvalue().count("\n") == 24  # type: ignore[attr-defined]


@pytest.mark.parametrize("failure", [{"return_value": False}, {"side_effect": webbrowser.Error("none")}, None])
def test_a_browser_that_does_not_open_is_no_error(
    failure: dict | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(_page.sys, "platform", "linux")
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if failure is not None:
        monkeypatch.setenv("DISPLAY", ":0")
    opened = Mock(**(failure or {"return_value": True}))
    monkeypatch.setattr(webbrowser, "open", opened)
    page = tmp_path / "a [red]page.html"
    _page.open_page(page)
    assert f"No browser can be opened here. The page is {page}" in capsys.readouterr().err.replace("\n", "")
    # Without a screen, a browser would take the terminal over.
    assert opened.called == (failure is not None)


def test_a_page_is_opened_by_its_whole_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    opened = Mock(return_value=True)
    monkeypatch.setattr(webbrowser, "open", opened)
    monkeypatch.setenv("BROWSER", "something")
    monkeypatch.chdir(tmp_path)
    _page.open_page(Path("a page.html"))
    assert opened.call_args.args == ((tmp_path / "a page.html").as_uri(),)
    assert capsys.readouterr().err == ""


def test_eval_draws_its_page_for_people_and_not_for_programs(
    avatar: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Mock(return_value=True)
    monkeypatch.setattr(_page, "_opened", opened)
    monkeypatch.setenv("BROWSER", "something")
    cli.main(["eval", str(avatar), "--json", "--brief"])
    quiet = json.loads(capsys.readouterr().out)
    assert not (avatar / "evaluation.html").exists() and not opened.called

    cli.main(["eval", str(avatar)])
    said = capsys.readouterr()
    page = (avatar / "evaluation.html").read_text()
    assert "evaluation.html" in said.err and "psnr" in said.out and not opened.called
    assert f"{quiet['held_out']['video_driven']['psnr']:.2f} dB" in page

    assert "Beside what it has to beat" in page and "Where the error sits" in page and "Not judged" in page

    cli.main(["eval", str(avatar), "--json", "--brief", "--report", str(tmp_path / "other.html"), "--open"])
    assert json.loads(capsys.readouterr().out) == quiet
    assert opened.call_args.args == (tmp_path / "other.html",) and "<video" in (tmp_path / "other.html").read_text()


def test_eval_refuses_a_page_it_cannot_write_before_it_works(
    avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for page, found in ((tmp_path / "no" / "page.html", "no such folder"), (tmp_path, "a folder")):
        with pytest.raises(SystemExit) as stop:
            cli.main(["eval", str(avatar), "--report", str(page)])
        assert stop.value.code == 2
        text = capsys.readouterr().err
        assert f"The page {page} cannot be written" in text and found in text and "held-out frames" not in text


def test_the_end_of_a_job_shows_the_avatar_and_opens_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, Path]] = []
    monkeypatch.setattr(create, "show_preview", lambda path: calls.append(("preview", path)))
    monkeypatch.setattr(create, "open_page", lambda path: calls.append(("page", path)))
    report = {"speech": {"driven": False}}
    create.finish(tmp_path / "my me", report, as_json=False, in_browser=False)
    said = " ".join(capsys.readouterr().err.split())
    assert f"Next: avatar render '{tmp_path / 'my me'}' --audio SPEECH.wav -o talk.mp4" in said
    create.finish(tmp_path, report, as_json=True, in_browser=True)
    assert calls == [("preview", tmp_path / "my me"), ("page", tmp_path / "report.html")]
    assert json.loads(capsys.readouterr().out) == report


def test_commands_to_run_next_exist_and_fit_the_avatar(avatar: Path, tiny_take: Take) -> None:
    rows = _page.next_commands(avatar)
    assert all(line.split()[0] == "avatar" and line.split()[1] in cli.COMMANDS for _, line in rows)
    # An avatar of a silent clip speaks too, by the general model.
    assert "--audio" in rows[0][1] and "--take" not in rows[-1][1]
    elsewhere = _page.next_commands(avatar, take=tiny_take.path)
    assert f"--take {tiny_take.path} --open" in elsewhere[-1][1]
