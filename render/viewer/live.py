"""A face from outside: Live Link Face over UDP, and ARKit coefficients as JSON over a WebSocket."""

from __future__ import annotations

import json
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError, InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.livelink_packet import read_packet
from avatar.render.viewer.puppet import LiveFace

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.sync.server import Server, ServerConnection

    Receive = Callable[[LiveFace, str], None]

LARGEST_MESSAGE = 1 << 16
POLL_SECONDS = 0.2
logger = logging.getLogger(__name__)


def head_turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Axis-angle of a turn to the head's own left, up, and of a tilt to its left, in radians."""
    return Rotation.from_euler("yxz", [yaw, -pitch, -roll]).as_rotvec()


def read_message(text: str | bytes) -> LiveFace:
    """A face from JSON.

    ``{"weights": {"jawOpen": 0.4, ...}, "head": [yaw, pitch, roll]}``: coefficients by ARKit's names, those left out
    being zero, or all 52 as a list in the order of `ARKIT_NAMES`; `head` is optional, in degrees, to the head's own
    left, up and to its left shoulder. The coefficients may also stand alone. What the web page understands is read too:
    ``{"coefficients": ..., "pose": {"neck": [x, y, z]}}``, whose turn is an axis-angle in radians.

    Raises:
        FormatError: It is something else.
    """
    try:
        content: Any = json.loads(text)
        said = content if isinstance(content, dict) else {}
        weights = said.get("weights", said.get("coefficients", content))
        if isinstance(weights, dict):
            unknown = set(weights) - {*ARKIT_NAMES, "_neutral", "head"}
            if unknown:
                raise ValueError(f"{min(unknown)!r}, which is no name of ARKit's")
            row = np.array([float(weights.get(name, 0.0)) for name in ARKIT_NAMES])
        else:
            row = np.array(weights, np.float64)
        turn = _turn(said)
    except (ValueError, TypeError) as error:
        raise _refusal(str(error)) from error
    if row.shape != (len(ARKIT_NAMES),) or not np.isfinite(row).all():
        raise _refusal(f"coefficients of shape {row.shape}")
    if turn is not None and (turn.shape != (3,) or not np.isfinite(turn).all()):
        raise _refusal(f"a head of shape {turn.shape}")
    return LiveFace(row.clip(0, 1), turn)


def _turn(said: dict[str, Any]) -> np.ndarray | None:
    """The head's turn as axis-angle, in one of its two forms; None where there is none."""
    if said.get("head") is not None:
        return head_turn(*np.radians(np.array(said["head"], np.float64)))
    pose = said.get("pose")
    neck = pose.get("neck") if isinstance(pose, dict) else None
    return None if neck is None else np.array(neck, np.float64)


def _refusal(found: str) -> FormatError:
    return FormatError(
        "A message cannot be read",
        expected='JSON such as {"weights": {"jawOpen": 0.4}, "head": [10, 0, 0]}, or a list of 52 numbers',
        found=found,
    )


class LiveInput:
    """Listens for faces until it is stopped.

    Args:
        host: Address to listen at.
        receive: Called with every face and the name of whom it comes from.
        livelink: UDP port for Live Link Face; None to leave it out.
        websocket: Port for JSON over a WebSocket; None to leave it out.

    Raises:
        InputError: A port is taken.
    """

    def __init__(
        self, host: str, receive: Receive, *, livelink: int | None = None, websocket: int | None = None
    ) -> None:
        self._receive = receive
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._socket: socket.socket | None = None
        self._server: Server | None = None
        try:
            if livelink is not None:
                self._socket = self._bound(host, livelink)
                self._begin(self._listen)
            if websocket is not None:
                self._server = self._served(host, websocket)
                self._begin(self._server.serve_forever)
        except InputError:
            self.stop()
            raise

    @property
    def ports(self) -> tuple[int | None, int | None]:
        """The ports listened at, of Live Link Face and of the WebSocket."""
        udp = None if self._socket is None else self._socket.getsockname()[1]
        return udp, None if self._server is None else self._server.socket.getsockname()[1]

    def stop(self) -> None:
        """Stops listening."""
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
        for thread in self._threads:
            thread.join(timeout=2)
        if self._socket is not None:
            self._socket.close()

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _bound(self, host: str, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            listener.close()
            raise _taken("Live Link Face", "--livelink", host, port, error) from error
        listener.settimeout(POLL_SECONDS)
        return listener

    def _served(self, host: str, port: int) -> Server:
        from websockets.sync.server import serve

        try:
            return serve(self._talk, host, port, max_size=LARGEST_MESSAGE, compression=None)
        except (OSError, OverflowError) as error:
            raise _taken("a WebSocket", "--websocket", host, port, error) from error

    def _listen(self) -> None:
        assert self._socket is not None
        told = False
        while not self._stopped.is_set():
            try:
                data, _ = self._socket.recvfrom(LARGEST_MESSAGE)
            except TimeoutError:
                continue
            except OSError:
                return
            try:
                packet = read_packet(data)
            except FormatError as error:
                # One word is enough: a wrong setting of the app makes 60 such packets a second.
                if not told:
                    logger.warning("%s", error)
                told = True
                continue
            self._receive(LiveFace(packet.weights, head_turn(*packet.turn)), packet.subject)

    def _talk(self, connection: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for message in connection:
                try:
                    self._receive(read_message(message), "WebSocket")
                except FormatError as error:
                    connection.send(json.dumps({"error": str(error)}))
        except ConnectionClosed:
            return


def _taken(what: str, option: str, host: str, port: int, error: Exception) -> InputError:
    return InputError(
        f"The viewer cannot listen for {what} at {host}:{port}",
        expected="a free port of this machine",
        found=getattr(error, "strerror", None) or str(error),
        fix=f"choose another with {option}",
    )
