"""Configuration of the identity detail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DetailConfig:
    """How the subject's head is told from the head model's nearest identity by its outline.

    Attributes:
        frames: Training frames whose outlines are looked at, those of the widest turns among them.
        sweeps: How often the outline is looked up and the mesh moved to it.
        bending: Below this length a fold costs more than it brings, metres.
        stretching: The same for a slope, metres; it keeps unseen parts from overshooting.
        sliding: Weight of motion along the surface, against the outline's 1.
        symmetry: Weight of a difference between the left and the right half.
        face: Weight of any offset where landmarks have told the shape.
        neck: Weight of any offset below the mouth, so that hair beside the neck does not widen it.
        rest: Weight of any offset elsewhere.
        face_reach: How far from the model the outline is believed in the face and on the neck, metres.
        hair_reach: The same on the skull, metres.
        outlier: Distance in metres above which an outline's pull grows no further.
    """

    frames: int = 32
    sweeps: int = 4
    bending: float = 0.006
    stretching: float = 0.003
    sliding: float = 0.01
    symmetry: float = 0.002
    face: float = 0.3
    neck: float = 0.05
    rest: float = 1e-4
    face_reach: float = 0.010
    hair_reach: float = 0.070
    outlier: float = 0.003


@dataclass(frozen=True)
class PictureConfig:
    """How offsets are corrected by what pictures show within the outline.

    Attributes:
        sweeps: How often the pictures are looked at anew.
        spacing: Distance of the points that are compared, metres.
        blur: Standard deviation of the pictures' smoothing, pixels.
        least_frames: In how many frames a point has to be seen.
        strength: A correction of this length is worth an error of one standard deviation of brightness everywhere,
            metres.
        bending: Below this length a fold of the correction costs more than it brings, metres.
        stretching: The same for a slope, metres.
        sliding: Weight of motion along the surface, which pictures do not tell, against the outline's 1.
    """

    sweeps: int = 2
    spacing: float = 0.003
    blur: float = 1.5
    least_frames: int = 5
    strength: float = 0.010
    bending: float = 0.02
    stretching: float = 0.01
    sliding: float = 1.0
