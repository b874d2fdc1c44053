"""Pretrained parts: registry, verified cache, licences."""

from avatar.models.cache import CheckRow, PartRow, cache_folder, is_cached, parts, path_of, verify
from avatar.models.download import fetch
from avatar.models.registry import PARTS, Package, Part, Url

__all__ = [
    "PARTS",
    "CheckRow",
    "Package",
    "Part",
    "PartRow",
    "Url",
    "cache_folder",
    "fetch",
    "is_cached",
    "parts",
    "path_of",
    "verify",
]
