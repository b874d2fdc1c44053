"""The viewer as a whole: it starts, is found, serves a real browser, refuses what it must, and closes clean."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from browser import browser_path, open_page

from avatar import cli
from avatar.errors import InputError
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.motion import Motion

viser = pytest.importorskip("viser", reason="the viewer is an extra: pip install 'headsplat[view]'")

from avatar.render.viewer import Programme, Viewer, ViewerSettings  # noqa: E402

Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def until() -> Until:
    """Waits for something to become true; fails after half a minute."""

    def wait(true: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, "it never happened"
            time.sleep(0.02)

    return wait


@pytest.fixture
def viewer(tiny_avatar: Path, tiny_take: Take, tiny_motion: Motion) -> Iterator[Viewer]:
    """A viewer of the tiny avatar and its take that runs in a thread."""
    tone = np.sin(np.arange(16000 * 8) / 9).astype(np.float32) / 3
    programme = Programme("tiny", tiny_motion, (tone, 16000), tiny_take)
    shown = Viewer(load_avatar(tiny_avatar), programme, ViewerSettings(port=0, side=128))
    thread = threading.Thread(target=shown.run)
    thread.start()
    yield shown
    shown.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_what_is_typed_and_what_is_sent_is_said(tiny_avatar: Path, tiny_motion: Motion) -> None:
    """The panel hands texts and files over, plays what comes back, and shows an error where it was caused."""
    said: list[str | Path] = []

    def speak(what: str | Path) -> Programme:
        said.append(what.name if isinstance(what, Path) else what)
        if what == "":
            raise InputError("There is nothing to say", fix="give words")
        return Programme("said", tiny_motion)

    shown = Viewer(load_avatar(tiny_avatar), Programme("tiny", tiny_motion), ViewerSettings(port=0), speak=speak)
    try:
        panel, client = shown.panel, Mock()
        say = panel.guarded(panel._say_text)
        panel._text.value = "Hello."
        say(SimpleNamespace(client=client))
        assert shown.state.programme.name == "said"
        client.add_notification.return_value.remove.assert_called_once()
        panel._text.value = ""
        say(SimpleNamespace(client=client))
        assert client.add_notification.call_args.args == ("There is nothing to say", "To do: give words.")
        sent = SimpleNamespace(value=SimpleNamespace(name="../a.wav", content=b"sound"))
        panel.guarded(panel._say_file)(SimpleNamespace(client=client, target=sent))
        assert said == ["Hello.", "", "a.wav"]
    finally:
        shown.stop()


def stands_still(count: Callable[[], int]) -> bool:
    """Whether a number stays what it is for a second."""
    before = count()
    time.sleep(1)
    return count() == before


def test_a_real_browser_sees_the_avatar_move(viewer: Viewer, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    browser_path()
    with open_page(viewer.address):
        until(lambda: viewer.server.get_clients())
        number = next(iter(viewer.server.get_clients()))
        # Pictures reach it past the scene's own texture, and it asks for more.
        until(lambda: viewer.audience.stream.delivered(number) > 5)
        with viewer.state.lock:
            viewer.state.timeline.pause(time.perf_counter())
        # Once the window has its shape, nothing moves and nothing is sent.
        until(lambda: stands_still(lambda: viewer.audience.stream.delivered(number)))
        still = viewer.audience.stream.delivered(number)
        viewer.state.puppet.adjustments.weights["jawOpen"] = 1.0
        viewer.state.touch()
        until(lambda: viewer.audience.stream.delivered(number) > still)
        # This browser has no graphics card, and is shown pictures where splats are chosen.
        assert viewer.audience.stream.lacks_gpu(number)
        with viewer.state.lock:
            viewer.state.drawing = "splats"
            viewer.state.touch()
        until(lambda: "graphics card" in viewer.panel.lack.content)
        assert viewer._splats._handle is None and viewer.audience.is_covered(number)
        # With one, splats go through the scene, and the pictures are taken away.
        monkeypatch.setattr(viewer.audience.stream, "lacks_gpu", lambda _: False)
        until(lambda: viewer._splats._handle is not None and not viewer.audience.is_covered(number))
        viewer.state.drawing = "pictures"
        viewer.state.touch()
        until(lambda: viewer._splats._handle is None and viewer.audience.is_covered(number))
    until(lambda: not viewer.server.get_clients())
    until(lambda: number not in viewer.audience.stream._slots)


def test_sliders_and_buttons_change_what_is_shown(viewer: Viewer, until: Until) -> None:
    inputs = viewer.server.gui._gui_input_handle_from_uuid.values()
    handles = {handle.label: handle for handle in inputs if hasattr(handle, "label")}
    state = viewer.state
    handles["Jaw open"].value = 0.75
    assert state.puppet.adjustments.weights["jawOpen"] == 0.75
    handles["Sad"].value = 0.5
    assert state.puppet.adjustments.emotions == {"sad": 0.5}
    handles["Nod up"].value = 5.0
    assert state.puppet.adjustments.neck[0] == 5.0
    handles["Head movement"].value = 0.0
    assert state.puppet.adjustments.head_gain == 0.0
    handles["Background"].value = "My colour"
    assert state.background == "#3c5a78"
    handles["Show"].value = "Head alone"
    assert state.head_alone
    handles["Recording beside it"].value = True
    assert state.beside
    handles["Drawn as"].value = "Splats in the browser"
    assert state.drawing == "splats" and not state.beside
    handles["Picture size"].value = 256
    assert state.side == 256
    handles["Play again at the end"].value = False
    assert not state.timeline.loop
    version = state.version
    viewer.play(Programme("other", state.programme.motion[:3]))
    assert state.version > version and state.timeline.duration == pytest.approx(0.5)
    until(lambda: handles["Time"].max == 0.5)
    assert not handles["Jaw open"].disabled


def test_a_taken_port_is_refused_with_a_hint(tiny_avatar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stop:
            cli.main(["view", str(tiny_avatar), "--port", str(port)])
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == ""
    assert f"error: The viewer cannot listen at 127.0.0.1:{port}.\n" in said.err
    assert f"To do: choose another with --port {port + 1}, or close what uses it.\n" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", "100000"), "Expected: 128 to 2048 pixels"),
        (("--port", "70000"), "Expected: a free port of this machine"),
        (("--host", "203.0.113.9"), "Expected: a free port of this machine"),
        (("--motion", "a.npz", "--audio", "a.wav"), "one of --audio FILE and --motion FILE"),
        (("no/such/take",), "no/such/take"),
    ],
)
def test_options_that_cannot_be(
    options: tuple[str, ...], said: str, tiny_avatar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["view", str(tiny_avatar), *options])
    text = capsys.readouterr().err
    assert stop.value.code == 2 and said in text and "Traceback" not in text


def test_without_viser_it_says_what_to_install(
    tiny_avatar: Path, tiny_motion: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(InputError, match=r"pip install 'headsplat\[view\]'"):
        Viewer(load_avatar(tiny_avatar), Programme("tiny", tiny_motion))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_closes_clean(how: signal.Signals, tiny_avatar: Path) -> None:
    command = [sys.executable, "-m", "avatar.cli", "view", str(tiny_avatar), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Started from a script's background, the tests' own process may ignore Ctrl-C, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://localhost:\d+", line)
        assert found and "Ctrl-C closes it" in line
        with urllib.request.urlopen(found.group(), timeout=10) as page:
            assert page.status == 200
        process.send_signal(how)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and out == "" and err.endswith("Closed.\n") and "Traceback" not in err


def test_a_face_from_outside_moves_the_avatar_until_it_is_silent(viewer: Viewer, until: Until) -> None:
    from websockets.sync.client import connect

    listening = viewer.listen(livelink=None, websocket=0)
    with connect(f"ws://127.0.0.1:{listening.ports[1]}") as page:
        page.send('{"jawOpen": 1}')
        until(lambda: viewer.state.puppet.live is not None)
        until(lambda: viewer.panel._name.content == "**Live: WebSocket**")
    until(lambda: viewer.state.puppet.live is None and viewer.panel._name.content == "**tiny**")


def test_a_window_that_takes_its_shape_late_is_placed_again_until_it_is_moved() -> None:
    from avatar.render.viewer.audience import Audience

    audience = Audience("127.0.0.1")
    try:
        camera = SimpleNamespace(image_width=390, image_height=844, position=np.zeros(3))
        client: Any = SimpleNamespace(client_id=3, camera=camera, gui=Mock())
        assert audience.welcome(client) == (True, True) and audience.welcome(client) == (False, False)
        camera.image_height = 371
        assert audience.welcome(client) == (False, True) and audience.welcome(client) == (False, False)
        camera.position, camera.image_height = np.array([0.1, 0.0, 0.0]), 844
        assert audience.welcome(client) == (False, False)
    finally:
        audience.stream.stop()
