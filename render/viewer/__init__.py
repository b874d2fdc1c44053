"""The live viewer: an avatar in the browser, moved by a motion, by speech, by sliders or by a phone."""

from avatar.render.viewer.programme import Programme
from avatar.render.viewer.server import Viewer, ViewerSettings

__all__ = ["Programme", "Viewer", "ViewerSettings"]
