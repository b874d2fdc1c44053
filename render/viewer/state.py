"""What the panel sets and the loop shows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from avatar.render.trajectories import CameraPath
    from avatar.render.viewer.camera_keys import CameraKeys
    from avatar.render.viewer.programme import Programme
    from avatar.render.viewer.puppet import Puppet
    from avatar.render.viewer.timeline import Timeline

# Smallest and largest size of pictures, pixels.
SIDES = (128, 2048)
Drawing = Literal["pictures", "splats"]


@dataclass
class ViewerState:
    """Everything that can be changed while the viewer runs; `lock` is held for every change and every look.

    Attributes:
        programme: What is played.
        timeline: When.
        puppet: The avatar's adjustments.
        keys: Camera key-frames.
        drawing: ``pictures`` rendered here, or ``splats`` drawn in the browser.
        head_alone: Leave the shoulders out.
        background: A name of `background_image`.
        beside: Show the recording beside the avatar.
        side: Size of pictures: that of a square of the same area, pixels.
        flight: A camera path that is being flown, and when it began.
        live_source: Who drives the avatar from outside; empty where nobody does.
        version: Grows with every change that can be seen.
    """

    programme: Programme
    timeline: Timeline
    puppet: Puppet
    keys: CameraKeys
    drawing: Drawing = "pictures"
    head_alone: bool = False
    background: str = "gray"
    beside: bool = False
    side: int = 512
    flight: tuple[CameraPath, float] | None = None
    live_source: str = ""
    version: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def touch(self) -> None:
        """Says that something changed."""
        with self.lock:
            self.version += 1
