"""Packets of Live Link Face: as the app sends them, and everything else refused."""

import struct

import numpy as np
import pytest

from avatar.errors import FormatError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.livelink_packet import PACKET_NAMES, LiveLinkPacket, read_packet, write_packet

DEVICE = "8F2D9C3A-0B7E-4E0C-9B7D-1A2B3C4D5E6F"


def raw_packet(values: np.ndarray, *, name: str = "Añn") -> bytes:
    """Written out by hand: what the app puts on the line at 59.94 frames a second."""
    text = name.encode()
    return (
        b"\x06"
        + struct.pack(">i", 36)
        + DEVICE.encode()
        + struct.pack(">i", len(text))
        + text
        + struct.pack(">ifii", 5994, 0.5, 60000, 1001)
        + b"\x3d"
        + values.astype(">f4").tobytes()
    )


def test_a_packet_is_read() -> None:
    values = np.linspace(0, 1, 61)
    values[52:55] = 0.1, -0.2, 0.3
    packet = read_packet(raw_packet(values))
    assert (packet.subject, packet.device) == ("Añn", DEVICE)
    assert packet.time == pytest.approx(5994.5 * 1001 / 60000)
    assert packet.weights[ARKIT_NAMES.index("eyeBlinkLeft")] == pytest.approx(0)
    assert packet.weights[ARKIT_NAMES.index("jawOpen")] == pytest.approx(values[17])
    assert packet.weights[ARKIT_NAMES.index("tongueOut")] == pytest.approx(values[51])
    assert np.allclose(packet.turn, [0.1, -0.2, 0.3])
    assert sorted(PACKET_NAMES) == sorted(ARKIT_NAMES)


def test_there_and_back() -> None:
    weights = np.random.default_rng(0).random(52)
    packet = LiveLinkPacket("me", DEVICE, 12.345, weights, np.array([0.1, 0.2, 0.3]))
    again = read_packet(write_packet(packet))
    assert np.allclose(again.weights, weights, atol=1e-7) and again.time == pytest.approx(12.345, abs=1e-5)
    assert np.allclose(again.turn, packet.turn) and again.subject == "me"


GOOD = raw_packet(np.zeros(61))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x06",
        b"\x05" + GOOD[1:],
        GOOD[:-1],
        GOOD[:60],
        b"\x06" + struct.pack(">i", 1 << 30) + GOOD[5:],
        b"\x06" + struct.pack(">i", -1) + GOOD[5:],
        raw_packet(np.full(61, np.nan)),
        GOOD[:5] + b"\xff" * 36 + GOOD[41:],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="A packet cannot be read"):
        read_packet(data)


def test_values_beyond_the_range_are_cut() -> None:
    values = np.full(61, 7.0)
    values[0] = -3
    packet = read_packet(raw_packet(values))
    assert packet.weights.max() == 1 and packet.weights.min() == 0
