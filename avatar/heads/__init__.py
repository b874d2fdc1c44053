"""The parametric head: linear blend skinning, the open head, ARKit names."""

from avatar.heads.arkit import (
    ARKIT_NAMES,
    MEDIAPIPE_BLENDSHAPES,
    ArkitMotion,
    arkit_to_motion_parts,
    from_mediapipe,
    motion_parts_to_arkit,
)
from avatar.heads.head import Head, LandmarkEmbedding, load_head
from avatar.heads.layout import Embedding, HeadLayout, read_head, write_head
from avatar.heads.lbs import lbs, rotation_matrices

__all__ = [
    "ARKIT_NAMES",
    "MEDIAPIPE_BLENDSHAPES",
    "ArkitMotion",
    "Embedding",
    "Head",
    "HeadLayout",
    "LandmarkEmbedding",
    "arkit_to_motion_parts",
    "from_mediapipe",
    "lbs",
    "load_head",
    "motion_parts_to_arkit",
    "read_head",
    "rotation_matrices",
    "write_head",
]
