"""Avatar in, pixels out: the rasteriser, trajectories, video."""

from avatar.render._outputs import Rendering
from avatar.render.rasterization import rasterize
from avatar.render.rigged import rasterize_rigged

__all__ = ["Rendering", "rasterize", "rasterize_rigged"]
