"""Pictures for browsers, as endless sequences of JPEGs over HTTP.

viser shows pictures as textures of its WebGL scene, each of which costs a browser without a GPU some 50 ms, and drops a
picture that is decoded slower than the next one comes. An image element takes the same pictures as
``multipart/x-mixed-replace`` at a twentieth of that cost, and a slow line skips pictures and never falls behind.
"""

from __future__ import annotations

import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BOUNDARY = b"--picture\r\n"
# What a browser without a graphics card adds to the address.
SOFTWARE = "software"
# Pictures that wait in the system's buffers are late: there is room for few.
SEND_BUFFER = 1 << 17
POLL_SECONDS = 1.0
# A busy browser may go on showing the picture before the last one: the last one is sent again so often.
REPEATS = 3


class _Slot:
    """The latest picture of one browser."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(12)
        self.changed = threading.Condition()
        self.picture = b""
        self.count = 0
        self.readers = 0
        self.delivered = 0
        self.software = False
        self.closed = False


class PictureStream:
    """A server of picture sequences, one for each browser.

    Args:
        host: Address to listen at; the port is any that is free.
    """

    def __init__(self, host: str) -> None:
        self._slots: dict[int, _Slot] = {}
        stream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stream._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                """Requests are nothing to report."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:
                """A browser that leaves in the middle of a picture is nothing to report."""

        self._server = Server((host, 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def open(self, number: int) -> str:
        """Makes a browser's sequence; gives its path, which nobody can guess."""
        slot = self._slots[number] = _Slot()
        return f"/{slot.token}"

    def is_watched(self, number: int) -> bool:
        """Whether the browser is listening."""
        slot = self._slots.get(number)
        return slot is not None and slot.readers > 0

    def delivered(self, number: int) -> int:
        """How many pictures the browser has taken."""
        slot = self._slots.get(number)
        return 0 if slot is None else slot.delivered

    def lacks_gpu(self, number: int) -> bool:
        """Whether the browser has said that its WebGL runs on the processor."""
        slot = self._slots.get(number)
        return slot is not None and slot.software

    def show(self, number: int, picture: bytes) -> None:
        """Replaces a browser's picture by a JPEG; one that has left needs none."""
        slot = self._slots.get(number)
        if slot is None:
            return
        with slot.changed:
            slot.picture, slot.count = picture, slot.count + 1
            slot.changed.notify_all()

    def close(self, number: int) -> None:
        """Ends a browser's sequence."""
        slot = self._slots.pop(number, None)
        if slot is not None:
            with slot.changed:
                slot.closed = True
                slot.changed.notify_all()

    def stop(self) -> None:
        """Ends all sequences and the server."""
        for number in list(self._slots):
            self.close(number)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        path, _, said = request.path.partition("?")
        slot = next((slot for slot in self._slots.values() if f"/{slot.token}" == path), None)
        if slot is None:
            request.send_error(404)
            return
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        request.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        request.send_header("Cache-Control", "no-store")
        # The page comes from viser's port; without this it may show the pictures and not read them.
        request.send_header("Access-Control-Allow-Origin", "*")
        request.end_headers()
        request.wfile.write(BOUNDARY)
        slot.software = said == SOFTWARE
        slot.readers += 1
        try:
            sent = repeats = 0
            while not slot.closed:
                with slot.changed:
                    if slot.count == sent:
                        slot.changed.wait(POLL_SECONDS)
                    picture, fresh, sent = slot.picture, slot.count != sent, slot.count
                repeats = 0 if fresh else repeats + 1
                if sent and repeats <= REPEATS:
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
                    # Browsers show a picture once they have seen what ends it.
                    request.wfile.write(head + picture + b"\r\n" + BOUNDARY)
                    slot.delivered += fresh
        finally:
            slot.readers -= 1
