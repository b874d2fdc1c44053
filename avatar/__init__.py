"""Talking 3D Gaussian head avatars from monocular video: ``headsplat``."""

__version__ = "0.1.0"
