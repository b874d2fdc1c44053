"""Adapters for other people's head models, one file per format: the user's own file in, our head layout out."""

from avatar.heads.adapters.recognition import read_head_source
from avatar.heads.adapters.source import HeadSource

__all__ = ["HeadSource", "read_head_source"]
