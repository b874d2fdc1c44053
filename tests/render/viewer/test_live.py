"""Faces from outside: over UDP, and as JSON over a WebSocket."""

import json
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError, InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.livelink_packet import LiveLinkPacket, write_packet
from avatar.render.viewer.live import LiveInput, head_turn, read_message
from avatar.render.viewer.puppet import LiveFace

JAW = ARKIT_NAMES.index("jawOpen")


class Faces:
    """Faces as they come, and the wait for the next."""

    def __init__(self) -> None:
        self.seen: list[tuple[LiveFace, str]] = []
        self.came = threading.Event()

    def __call__(self, face: LiveFace, source: str) -> None:
        self.seen.append((face, source))
        self.came.set()


@pytest.fixture
def faces() -> Faces:
    return Faces()


@pytest.fixture
def live(faces: Faces) -> Iterator[LiveInput]:
    pytest.importorskip("websockets", reason="the viewer is an extra: pip install 'headsplat[view]'")
    listening = LiveInput("127.0.0.1", faces, livelink=0, websocket=0)
    yield listening
    listening.stop()


def test_the_app_s_packets_arrive_and_others_do_no_harm(
    live: LiveInput, faces: Faces, caplog: pytest.LogCaptureFixture
) -> None:
    weights = np.zeros(52)
    weights[JAW] = 0.5
    packet = write_packet(LiveLinkPacket("phone", "id", 1.0, weights, np.array([0.2, 0.0, 0.0])))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        for data in (b"nonsense", b"more nonsense", packet):
            phone.sendto(data, ("127.0.0.1", live.ports[0]))
        assert faces.came.wait(5)
    face, source = faces.seen[0]
    assert source == "phone" and face.weights[JAW] == pytest.approx(0.5)
    assert face.turn is not None and np.allclose(face.turn, [0, 0.2, 0], atol=1e-6)
    assert len([record for record in caplog.records if "A packet cannot be read" in record.message]) == 1


def test_json_arrives_and_mistakes_are_answered(live: LiveInput, faces: Faces) -> None:
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{live.ports[1]}") as page:
        page.send(json.dumps({"weights": {"jawOpen": 0.4}, "head": [10, 0, 0]}))
        assert faces.came.wait(5)
        page.send("{}}")
        assert "A message cannot be read" in json.loads(page.recv(timeout=5))["error"]
    face, source = faces.seen[0]
    assert source == "WebSocket" and face.weights[JAW] == pytest.approx(0.4)
    assert face.turn is not None and face.turn[1] == pytest.approx(np.radians(10))


def test_messages_in_all_their_forms() -> None:
    row = [0.0] * 52
    row[JAW] = 2.0
    for message in (row, {"weights": row}, {"jawOpen": 1.0, "_neutral": 0.3}, {"weights": {"jawOpen": 1.5}}):
        face = read_message(json.dumps(message))
        assert face.weights[JAW] == 1 and face.weights.sum() == 1 and face.turn is None


def test_a_message_for_the_web_page_is_understood_too() -> None:
    face = read_message(json.dumps({"coefficients": {"jawOpen": 0.5}, "pose": {"neck": [0, 0.2, 0]}}))
    assert face.weights[JAW] == 0.5 and face.turn is not None and np.allclose(face.turn, [0, 0.2, 0])
    assert read_message(json.dumps({"coefficients": {}, "pose": {"jaw": [0, 0, 0]}})).turn is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "7", "[]", "[1, 2]", '{"jawopen": 1}', '{"weights": "x"}', '{"weights": {"jawOpen": "wide"}}'),
        *('{"weights": {}, "head": [1]}', '{"weights": {}, "head": "up"}', '{"jawOpen": NaN}', '{"jawOpen": null}'),
    ],
)
def test_messages_that_cannot_be_read(text: str) -> None:
    with pytest.raises(FormatError, match="A message cannot be read"):
        read_message(text)


def test_turns_are_to_the_head_s_own_left_and_up() -> None:
    left, up, tilt = (Rotation.from_rotvec(head_turn(*turn)) for turn in np.eye(3) * 0.3)
    nose, crown = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert left.apply(nose)[0] > 0.2 and up.apply(nose)[1] > 0.2 and tilt.apply(crown)[0] > 0.2


def test_ports_that_are_taken(faces: Faces) -> None:
    pytest.importorskip("websockets", reason="the viewer is an extra: pip install 'headsplat[view]'")
    for kind, option in ((socket.SOCK_DGRAM, "livelink"), (socket.SOCK_STREAM, "websocket")):
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            with pytest.raises(InputError, match=f"choose another with --{option}"):
                LiveInput("127.0.0.1", faces, **{option: taken.getsockname()[1]})
