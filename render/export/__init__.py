"""An avatar in the formats that other programs read (docs/exports.md)."""

from avatar.render.export.formats import FORMATS, ExportFormat, find_format
from avatar.render.export.writing import export_avatar
from avatar.render.motions import file_motion, neutral_motion, own_motion, posed, single_moment

__all__ = [
    "FORMATS",
    "ExportFormat",
    "export_avatar",
    "file_motion",
    "find_format",
    "neutral_motion",
    "own_motion",
    "posed",
    "single_moment",
]
