"""What a viewer plays: a motion, its sound, and the pictures it was tracked in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.motion import PER_FRAME, ROTATIONS, Motion
from avatar.render.viewer.pictures import Beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, UInt8

    from avatar.io.take import Take

# Pictures of the take that are kept decoded.
KEPT_PICTURES = 64


@dataclass(frozen=True, eq=False)
class Programme:
    """A motion to play.

    Attributes:
        name: What it is called in the viewer.
        motion: The motion, for the avatar's head model.
        sound: Samples and their rate in Hz, from the motion's first moment on; None for silence.
        take: The take the motion was tracked in, whose pictures are the truth beside the avatar.
    """

    name: str
    motion: Motion
    sound: tuple[Float[np.ndarray, " N"], int] | None = None
    take: Take | None = None

    @property
    def duration(self) -> float:
        """Seconds from the first to the last moment."""
        return float(self.motion.time[-1] - self.motion.time[0])

    def at(self, time: float) -> Motion:
        """The motion `time` seconds after its first moment, as one moment."""
        motion = self.motion
        moment = motion.time[0] + min(max(time, 0.0), self.duration)
        after = int(np.searchsorted(motion.time, moment).clip(1, max(len(motion) - 1, 1)))
        if len(motion) == 1:
            return motion
        first, last = motion.time[after - 1], motion.time[after]
        part = (moment - first) / (last - first)
        smooth = (*(name for name in PER_FRAME if name not in ROTATIONS), "sound")
        # What `Motion.resample` does, for one moment and all joints in one go: a viewer asks in every picture.
        rows = {name: getattr(motion, name)[after - 1 : after + 1] for name in smooth}
        mixed = {name: ((1 - part) * a + part * b)[None].astype(np.float32) for name, (a, b) in rows.items()}
        here, there = (
            Rotation.from_rotvec(np.stack([getattr(motion, name)[row] for name in ROTATIONS]))
            for row in (after - 1, after)
        )
        turns = (here * Rotation.from_rotvec(part * (here.inv() * there).as_rotvec())).as_rotvec().astype(np.float32)
        mixed |= {name: turn[None] for name, turn in zip(ROTATIONS, turns, strict=True)}
        return replace(motion, time=np.array([moment]), **mixed)

    def truth(self, time: float) -> UInt8[np.ndarray, "H W 3"] | None:
        """The take's picture at that time; None without a take or where the face was lost."""
        if self.take is None:
            return None
        times, used, picture = self._frames
        index = int(np.abs(times - (self.motion.time[0] + time)).argmin())
        return picture(index) if used[index] else None

    def beside(self, time: float) -> Beside:
        """What stands beside the avatar at that time."""
        info = None if self.take is None else self.take.info
        fov = np.pi / 2 if info is None else 2 * np.arctan(info.height / 2 / info.focal)
        return Beside(self.truth(time), float(fov))

    @cached_property
    def _frames(self) -> tuple[np.ndarray, np.ndarray, Callable[[int], np.ndarray]]:
        """Times and use of the take's pictures, and a function that keeps some of them."""
        assert self.take is not None
        return self.take.times, self.take.used, lru_cache(maxsize=KEPT_PICTURES)(self.take.image)
