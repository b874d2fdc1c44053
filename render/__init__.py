"""Avatar in, pixels out: the rasteriser, trajectories, video."""

from avatar.render.rasterization import rasterize

__all__ = ["rasterize"]
