"""Avatar in, pixels out: the rasteriser, trajectories, video."""
