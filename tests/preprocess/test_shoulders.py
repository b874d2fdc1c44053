"""The shoulders' motion: clothes that move by known amounts are found there."""

from types import SimpleNamespace

import numpy as np
import pytest

from avatar.preprocess.shoulders import clothes_shifts

SIZE, NECK, HALF_WIDTH = 96, 50, 34
SHIFTS = np.stack([3 * np.sin(np.arange(12) / 2), 1.5 * np.cos(np.arange(12) / 3)], axis=1)


class Clothes(SimpleNamespace):
    """A take of a shirt that moves under a still head, before a still background."""

    def __len__(self) -> int:
        return len(SHIFTS)

    def coordinates(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
        return x - SHIFTS[index, 0] - SIZE / 2, y - SHIFTS[index, 1]

    def worn(self, index: int) -> np.ndarray:
        x, y = self.coordinates(index)
        # A neckline and sloping shoulders.
        return (np.abs(x) < HALF_WIDTH) & (y > NECK + np.maximum(8 - np.abs(x), 0) + np.abs(x) / 4)

    def image(self, index: int) -> np.ndarray:
        x, y = self.coordinates(index)
        pattern = self.texture * np.sin(x / 4) * np.cos(y / 5)
        gray = np.where(self.worn(index), self.tone + pattern, 128)
        return np.repeat(gray.clip(0, 255)[..., None], 3, axis=2).astype(np.uint8)

    def parts(self, index: int) -> np.ndarray:
        return np.where(self.worn(index), np.uint8(self.label), np.uint8(0))


def take_of(label: int = 2, **changes: int) -> Clothes:
    info = SimpleNamespace(width=SIZE, height=SIZE)
    return Clothes(
        **{"used": np.ones(len(SHIFTS), bool), "info": info, "label": label, "tone": 90, "texture": 60} | changes
    )


@pytest.mark.parametrize(("tone", "texture"), [(90, 60), (40, 0), (220, 0)])
def test_known_shifts_are_found(tone: int, texture: int) -> None:
    found = clothes_shifts(take_of(tone=tone, texture=texture))  # type: ignore[arg-type]
    assert found is not None
    wanted = SHIFTS - SHIFTS[len(SHIFTS) // 2]
    # Labels are whole pixels, in the frame and in the one it is compared with: half a pixel each at worst.
    error = np.abs(found - wanted)
    assert error.max() < 1
    assert error.mean() < 0.4


def test_progress_counts_every_frame() -> None:
    seen: list[tuple[int, int]] = []
    clothes_shifts(take_of(), progress=lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]
    assert (len(SHIFTS), len(SHIFTS)) in seen


def test_without_clothes_there_is_nothing_to_follow() -> None:
    assert clothes_shifts(take_of(label=1)) is None  # type: ignore[arg-type]


def test_a_few_pixels_of_clothes_are_not_followed() -> None:
    class Speck(Clothes):
        def worn(self, index: int) -> np.ndarray:
            x, y = self.coordinates(index)
            return (np.abs(x) < 4) & (np.abs(y - 80) < 4)

    assert clothes_shifts(Speck(**vars(take_of()))) is None  # type: ignore[arg-type]
