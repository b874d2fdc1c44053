"""A face's controls in plain words, for the viewer and the web page: what `controls.json` beside this file says."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec


class Control(msgspec.Struct, frozen=True):
    """One slider.

    Attributes:
        text: What it does, to the subject's own left and right.
        moves: The ARKit actions that it moves, all of them together: one, or one of each side.
    """

    text: str
    moves: tuple[str, ...]

    def sides(self) -> list[Control]:
        """The same for each side alone."""
        if len(self.moves) == 1:
            return [self]
        # "Look to its left, left" would say two things by one word.
        organ = " eye" if self.moves[0].startswith("eye") else ""
        side = {name: "left" if name.endswith("Left") else "right" for name in self.moves}
        return [Control(f"{self.text}, {side[name]}{organ}", (name,)) for name in self.moves]


class ControlGroup(msgspec.Struct, frozen=True):
    """Controls that belong together.

    Attributes:
        name: Where they act.
        controls: In the order they are shown.
    """

    name: str
    controls: tuple[Control, ...]


@cache
def control_groups() -> tuple[ControlGroup, ...]:
    """All groups; together they have each of ARKit's 52 actions once."""
    content = (files("avatar.heads") / "controls.json").read_bytes()
    return msgspec.json.decode(content, type=tuple[ControlGroup, ...])
