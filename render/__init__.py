"""Avatar in, pixels out: the rasteriser, trajectories, video."""

from avatar.render.rasterization import rasterize
from avatar.render.rigged import rasterize_rigged

__all__ = ["rasterize", "rasterize_rigged"]
