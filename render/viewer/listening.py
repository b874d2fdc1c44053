"""viser's server, started without surprises."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import warnings
from typing import TYPE_CHECKING

from avatar.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import viser

EVERYWHERE = ("0.0.0.0", "::")


def start_server(host: str, port: int) -> viser.ViserServer:
    """A server at that port and no other.

    Raises:
        InputError: viser is not installed, or the port is taken.
    """
    try:
        import viser
    except ImportError as error:
        raise InputError(
            "The viewer cannot start",
            expected="viser 1.1 or newer",
            found=str(error),
            fix="pip install 'headsplat[view]'",
        ) from error
    # viser would take the next free port without a word.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"The viewer cannot listen at {host}:{port}",
                expected="a free port of this machine",
                found=getattr(error, "strerror", None) or str(error),
                fix=f"choose another with --port {port + 1 if 0 < port < 65535 else 8080}, or close what uses it",
            ) from error
    # A browser that leaves in the middle of a message is nothing to report.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")
    with quiet():
        return viser.ViserServer(host=host, port=port, label="Avatar", verbose=False)


def address(server: viser.ViserServer) -> str:
    """Where a browser of this machine finds a server."""
    host = server.get_host()
    name = "localhost" if host in (*EVERYWHERE, "127.0.0.1") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{server.get_port()}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps viser's own banner to itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
