"""Avatar in, pixels out: the rasteriser, trajectories, video."""

from avatar.render._outputs import Rendering
from avatar.render.rasterization import rasterize

__all__ = ["Rendering", "rasterize"]
