"""The shoulders' motion: clothes that move by known amounts are found there."""

from types import SimpleNamespace

import numpy as np

from avatar.preprocess.shoulders import clothes_shifts

SIZE = 96
SHIFTS = np.stack([3 * np.sin(np.arange(12) / 2), 1.5 * np.cos(np.arange(12) / 3)], axis=1)


class Clothes(SimpleNamespace):
    """A take of a textured shirt that moves under a still head; labelled as such from a row downwards."""

    def __len__(self) -> int:
        return len(SHIFTS)

    def image(self, index: int) -> np.ndarray:
        x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
        moved = np.sin((x - SHIFTS[index, 0]) / 4) * np.cos((y - SHIFTS[index, 1]) / 5)
        gray = np.where(y > SIZE // 2, 128 + 90 * moved, 40)
        return np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)

    def parts(self, index: int) -> np.ndarray:
        labels = np.zeros((SIZE, SIZE), np.uint8)
        labels[self.top :] = self.label
        return labels


def take_of(label: int, *, top: int = SIZE // 2) -> Clothes:
    info = SimpleNamespace(width=SIZE, height=SIZE)
    return Clothes(used=np.ones(len(SHIFTS), bool), info=info, label=label, top=top)


def test_known_shifts_are_found() -> None:
    found = clothes_shifts(take_of(2))  # type: ignore[arg-type]
    assert found is not None
    wanted = SHIFTS - SHIFTS[len(SHIFTS) // 2]
    assert np.abs(found - wanted).max() < 0.25


def test_without_clothes_there_is_nothing_to_follow() -> None:
    assert clothes_shifts(take_of(1)) is None  # type: ignore[arg-type]


def test_a_few_pixels_of_clothes_are_not_followed() -> None:
    # The mask keeps two rows away from the label's upper edge; the one left is about a hundredth of the picture.
    assert clothes_shifts(take_of(2, top=SIZE - 3)) is None  # type: ignore[arg-type]


def test_clothes_without_texture_are_not_followed() -> None:
    class Plain(Clothes):
        def image(self, index: int) -> np.ndarray:
            return np.full((SIZE, SIZE, 3), 90, np.uint8)

    assert clothes_shifts(Plain(**vars(take_of(2)))) is None  # type: ignore[arg-type]
