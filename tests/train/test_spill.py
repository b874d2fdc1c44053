"""Spill: a background's hues leave the outline, and nothing of the person does."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from avatar.io.parts import BACKGROUND, HEAD
from avatar.io.take import Take
from avatar.train.dataset import SOFT, read_ahead, read_frame, taught_pictures
from avatar.train.palette import MARGIN
from avatar.train.spill import Spill

SIDE, RADIUS = 200, 60
REACH = MARGIN * SIDE
SKIN, HAIR = np.array([0.75, 0.5, 0.4]), np.array([0.2, 0.15, 0.12])
BLUE, GREEN, BEIGE, GREY = (np.array(c) for c in ([0.1, 0.2, 0.8], [0.1, 0.7, 0.2], [0.8, 0.6, 0.5], [0.5, 0.5, 0.5]))


@dataclass(frozen=True)
class Recording:
    """What is read of a take: a round head of skin and hair before a wall of one colour, the same in all frames.

    Attributes:
        wall: Its colour.
        hair: That of the upper half of the head.
        blur: Deviation of the blur that carries the wall over the outline, pixels.
    """

    wall: np.ndarray
    hair: np.ndarray = field(default_factory=lambda: HAIR)
    blur: float = 2.0

    @property
    def depth(self) -> np.ndarray:
        """How far within the outline each pixel lies."""
        rows, columns = np.indices((SIDE, SIDE)) + 0.5 - SIDE / 2
        return RADIUS - np.hypot(rows, columns)

    @property
    def person(self) -> np.ndarray:
        """The person's own colours, everywhere."""
        upper = np.arange(SIDE)[:, None, None] < SIDE / 2
        return np.where(upper, self.hair, SKIN) * np.ones((SIDE, SIDE, 1))

    def background(self) -> np.ndarray:
        return np.rint(255 * self.wall * np.ones((SIDE, SIDE, 1))).astype(np.uint8)

    def image(self, index: int) -> np.ndarray:
        sharp = np.where(self.depth[..., None] > 0, self.person, self.wall).astype(np.float32)
        return np.rint(255 * cv2.GaussianBlur(sharp, (0, 0), self.blur)).astype(np.uint8)

    def mask(self, index: int) -> np.ndarray:
        return (self.depth + 0.5).clip(0, 1).astype(np.float32)

    def parts(self, index: int) -> np.ndarray:
        return np.where(self.depth > 0, HEAD, BACKGROUND).astype(np.uint8)

    def cleaned(self) -> np.ndarray:
        """A frame of which the spill was taken out, in [0, 1]."""
        return Spill.of(self.background())(self.image(0), self.mask(0), self.parts(0)) / 255.0


def hue_apart(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far colours are apart but for their brightness."""
    difference = picture - other
    return np.linalg.norm(difference - difference.mean(-1, keepdims=True), axis=-1)


@pytest.mark.parametrize("wall", [BLUE, GREEN], ids=["blue", "green"])
def test_the_hue_of_a_screen_leaves_the_outline(wall: np.ndarray) -> None:
    recording = Recording(wall)
    rim = (recording.depth > 0.5) & (recording.depth < REACH)
    before = hue_apart(recording.image(0) / 255.0, recording.person)[rim].mean()
    after = hue_apart(recording.cleaned(), recording.person)[rim].mean()
    assert before > 0.05
    assert after < 0.5 * before


@pytest.mark.parametrize("wall", [BEIGE, GREY], ids=["a hue of skin", "grey"])
def test_a_wall_that_has_no_hue_of_its_own_takes_nothing_of_the_person(wall: np.ndarray) -> None:
    recording = Recording(wall, hair=SKIN)
    within = recording.mask(0) == 1
    assert np.abs(recording.cleaned() - recording.image(0) / 255.0)[within].max() < 0.01


def test_what_lies_deeper_stays_to_the_bit() -> None:
    recording = Recording(BLUE, blur=8.0)
    deep = recording.depth > 1.6 * REACH
    assert np.array_equal(np.rint(255 * recording.cleaned())[deep], recording.image(0)[deep])


def test_where_nobody_is_the_frame_is_the_plate() -> None:
    recording = Recording(BLUE)
    outside = recording.mask(0) == 0
    assert np.array_equal(np.rint(255 * recording.cleaned())[outside], recording.background()[outside])
    assert not np.array_equal(recording.image(0)[outside], recording.background()[outside])


def test_a_hat_in_the_colour_of_the_screen_keeps_it() -> None:
    recording = Recording(BLUE, hair=BLUE)
    hat = (recording.mask(0) == 1) & (np.arange(SIDE)[:, None] < SIDE / 2 - 3 * REACH)
    assert np.abs(recording.cleaned() - recording.image(0) / 255.0)[hat].max() < 0.01


def test_training_reads_frames_without_it(tiny_take: Take) -> None:
    spill = Spill.of(tiny_take.background())
    frame = next(iter(read_ahead(tiny_take, [5], spill=spill)))
    expected = spill(tiny_take.image(5), tiny_take.mask(5), tiny_take.parts(5))
    assert np.array_equal(taught_pictures(tiny_take, SOFT, spill)(5), expected)
    assert np.array_equal((frame.image * 255).round().numpy().astype(np.uint8), expected)
    assert not np.array_equal(expected, (read_frame(tiny_take, 5).image * 255).round().numpy().astype(np.uint8))
