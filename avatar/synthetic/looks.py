"""Who a synthetic person is, as far as colours go."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """The colours of one synthetic person; every colour is sRGB in [0, 1].

    Attributes:
        skin: Skin of the cheek in neutral light.
        lips: Lips.
        hair: Hair of head and brows.
        iris: Iris.
        shirt: Shirt.
        redness: How much redder cheeks, nose and ears are, 0 to 1.
        freckles: How much the skin is spotted, 0 to 1.
        stubble: Darkness of a shaven beard, 0 to 1.
        bald: Whether the scalp is bare.
        brow_weight: Thickness and density of the brows, about 1.
    """

    skin: Colour = (0.80, 0.63, 0.54)
    lips: Colour = (0.70, 0.42, 0.40)
    hair: Colour = (0.20, 0.13, 0.09)
    iris: Colour = (0.34, 0.23, 0.14)
    shirt: Colour = (0.19, 0.30, 0.42)
    redness: float = 0.5
    freckles: float = 0.1
    stubble: float = 0.0
    bald: bool = False
    brow_weight: float = 1.0


LOOKS = {
    "fair": Look(
        skin=(0.88, 0.72, 0.64),
        lips=(0.76, 0.46, 0.45),
        hair=(0.42, 0.28, 0.16),
        iris=(0.32, 0.43, 0.50),
        shirt=(0.36, 0.20, 0.24),
        redness=0.7,
        freckles=0.5,
    ),
    "light": Look(),
    "olive": Look(
        skin=(0.72, 0.55, 0.43),
        lips=(0.62, 0.37, 0.34),
        hair=(0.11, 0.08, 0.06),
        iris=(0.30, 0.32, 0.18),
        shirt=(0.80, 0.78, 0.73),
        redness=0.4,
        stubble=0.4,
    ),
    "tan": Look(
        skin=(0.66, 0.47, 0.35),
        lips=(0.57, 0.33, 0.30),
        hair=(0.08, 0.06, 0.05),
        iris=(0.22, 0.14, 0.09),
        shirt=(0.22, 0.36, 0.30),
        redness=0.35,
    ),
    "brown": Look(
        skin=(0.52, 0.36, 0.27),
        lips=(0.47, 0.26, 0.24),
        hair=(0.06, 0.05, 0.04),
        iris=(0.17, 0.10, 0.07),
        shirt=(0.74, 0.55, 0.25),
        redness=0.25,
    ),
    "deep": Look(
        skin=(0.36, 0.24, 0.18),
        lips=(0.36, 0.19, 0.18),
        hair=(0.05, 0.04, 0.035),
        iris=(0.13, 0.08, 0.05),
        shirt=(0.62, 0.66, 0.70),
        redness=0.15,
        stubble=0.3,
    ),
}
