"""The commands about what is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatar.options.shared import Positional


@dataclass(frozen=True)
class Heads:
    """Head models: import your own copy of one, list what is there, say how well one converts.

    Attributes:
        action: What to do.
        target: What to import (a FLAME pickle, npz or safetensors, a clone of ICT-FaceKit, an npz in the head layout),
            or which head to tell about.
        name: Name to keep an imported head under; what it was recognised as where it is left out.
        identities: Identities that an imported head is looked at with to find its landmarks.
        json: Print rows as JSON.
    """

    action: Positional[Literal["import", "list", "info"]] = "list"
    target: Positional[str | None] = None
    name: str | None = None
    identities: int = 2
    json: bool = False


@dataclass(frozen=True)
class Models:
    """Pretrained parts: list them, fetch them ahead, verify the cache.

    Attributes:
        action: What to do.
        name: One part; all of them where it is left out.
        json: Print rows as JSON.
    """

    action: Positional[Literal["list", "fetch", "verify"]] = "list"
    name: Positional[str | None] = None
    json: bool = False


@dataclass(frozen=True)
class Voices:
    """The voices that `avatar render --text` can speak with on this machine.

    Attributes:
        language: Only those of one language, such as `fr`.
        json: Print rows as JSON.
    """

    language: str | None = None
    json: bool = False


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, which backend will run, and what to do about what is missing.

    Attributes:
        json: Print as JSON.
    """

    json: bool = False
