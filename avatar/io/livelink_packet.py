"""Packets that Live Link Face (Epic Games) sends over UDP, 60 a second and one face each; its usual port is 11111.

A packet is, big-endian: version 6 (one byte), device id and subject name (each a length of four bytes and UTF-8 text),
frame number (int32), its fraction (float32), rate as numerator and denominator (int32 each), the number of values (one
byte, 61) and the values (float32): 52 coefficients, then yaw, pitch and roll of the head and of both eyes in radians.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import FormatError
from avatar.heads.arkit import ARKIT_NAMES

if TYPE_CHECKING:
    from jaxtyping import Float

VERSION, VALUES = 6, 61
LONGEST_TEXT = 256
# The coefficients' order in a packet.
PACKET_NAMES: tuple[str, ...] = (
    *("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft"),
    *("eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight"),
    *("eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel"),
    *("mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft"),
    *("mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight"),
    *("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft"),
    *("browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft"),
    *("cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)
_ORDER = [PACKET_NAMES.index(name) for name in ARKIT_NAMES]


@dataclass(frozen=True)
class LiveLinkPacket:
    """One face at one moment.

    Attributes:
        subject: The name set in the app.
        device: The device's id.
        time: Seconds on the app's clock.
        weights: (52,) in the order of `ARKIT_NAMES`, within [0, 1].
        turn: (3,) yaw, pitch and roll of the head in radians, as sent.
    """

    subject: str
    device: str
    time: float
    weights: Float[np.ndarray, " 52"]
    turn: Float[np.ndarray, " 3"]


def read_packet(data: bytes) -> LiveLinkPacket:
    """Reads a packet; raises FormatError for anything else."""
    try:
        if data[0] != VERSION:
            raise _refusal(f"version {data[0]}")
        device, place = _text(data, 1)
        subject, place = _text(data, place)
        frame, part, rate, base, count = struct.unpack_from("!ifiiB", data, place)
        values = np.array(struct.unpack_from(f"!{VALUES}f", data, place + 17), np.float64)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise _refusal(f"{len(data)} bytes ({error})") from error
    if count != VALUES or rate <= 0 or base <= 0 or not np.isfinite(values).all():
        raise _refusal(f"{count} values at {rate}/{base} frames a second")
    weights = values[: len(PACKET_NAMES)][_ORDER].clip(0, 1)
    return LiveLinkPacket(subject, device, (frame + part) * base / rate, weights, values[52:55])


def write_packet(packet: LiveLinkPacket, *, rate: int = 60) -> bytes:
    """A packet as the app sends it; the eyes' own turns are zero."""
    frames = packet.time * rate
    values = np.zeros(VALUES)
    values[_ORDER], values[52:55] = packet.weights, packet.turn
    texts = b"".join(struct.pack("!i", len(t)) + t for t in (packet.device.encode(), packet.subject.encode()))
    head = struct.pack("!ifiiB", int(frames), frames % 1, rate, 1, VALUES)
    return bytes([VERSION]) + texts + head + struct.pack(f"!{VALUES}f", *values)


def _text(data: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("!i", data, place)
    end = place + 4 + length
    if not 0 <= length <= LONGEST_TEXT or end > len(data):
        raise _refusal(f"a text of {length} bytes")
    return data[place + 4 : end].decode(), end


def _refusal(found: str) -> FormatError:
    return FormatError(
        "A packet cannot be read",
        expected=f"version {VERSION} of Live Link Face with {VALUES} values",
        found=found,
        fix="choose Live Link (ARKit) in the app's settings",
    )
