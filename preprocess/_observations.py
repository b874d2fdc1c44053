"""What the tracker is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.io.take import Take


@dataclass(frozen=True)
class Observations:
    """What was seen of the face in T frames.

    Attributes:
        time: (T,) seconds, strictly increasing, any spacing.
        landmarks: (T, 478, 2 or 3) pixels; rows may be NaN where nothing was seen.
        blendshapes: (T, 52) scores in MediaPipe's order.
        confidence: (T,) weight of the frame's landmarks, 0 (bridged or unseen) to 1.
        used: (T,) frames that may be learnt from.
        width: Picture width in pixels.
        height: Picture height in pixels.
        hidden: (T, 478) landmarks that lie on something before the face, such as a hand; None for none.
    """

    time: Float[np.ndarray, " T"]
    landmarks: Float[np.ndarray, "T 478 c"]
    blendshapes: Float[np.ndarray, "T 52"]
    confidence: Float[np.ndarray, " T"]
    used: Bool[np.ndarray, " T"]
    width: int
    height: int
    hidden: Bool[np.ndarray, "T 478"] | None = None

    @classmethod
    def of_take(cls, take: Take) -> Observations:
        """What a take has seen; raises InputError where it has not been perceived yet."""
        seen, hidden = take.perception(), take.hidden_landmarks()
        return cls(
            time=take.times,
            landmarks=seen["landmarks"],
            blendshapes=seen["blendshapes"],
            confidence=seen["confidence"],
            used=take.used,
            width=take.info.width,
            height=take.info.height,
            hidden=hidden if hidden.any() else None,
        )

    @property
    def weight(self) -> Float[np.ndarray, " T"]:
        """Weight of each frame in the fit: zero where nothing was seen."""
        seen = np.isfinite(self.landmarks).all(axis=(1, 2)) & np.isfinite(self.blendshapes).all(axis=1)
        return np.where(seen & self.used, np.clip(np.nan_to_num(self.confidence), 0, 1), 0).astype(np.float32)

    @property
    def pixels(self) -> Float[np.ndarray, "T 478 2"]:
        """Finite landmark positions; zero where nothing was seen."""
        return np.nan_to_num(self.landmarks[..., :2]).astype(np.float32)
