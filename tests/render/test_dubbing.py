"""A rendered head over footage: untouched outside, seamless at its edge, itself within."""

import numpy as np
import torch

from avatar.render._outputs import Rendering
from avatar.render.dubbing import dub_picture

SIDE = 120
Y, X = np.mgrid[:SIDE, :SIDE] + 0.5
AWAY = np.hypot(X - 60, Y - 60)


def rendering(colors: np.ndarray, alpha: np.ndarray) -> Rendering:
    image = torch.as_tensor(colors * alpha[..., None], dtype=torch.float32)
    return Rendering(image, torch.as_tensor(alpha[..., None], dtype=torch.float32), None, None)


def footage() -> np.ndarray:
    """A disc of skin, brighter to the right, before a blue wall."""
    skin = np.array([180, 130, 110]) + 40 * (X[..., None] / SIDE)
    return np.where(AWAY[..., None] < 40, skin, [40, 60, 150]).astype(np.uint8)


def test_a_head_of_other_light_enters_without_a_step() -> None:
    scene, alpha = footage(), (AWAY < 40).astype(float)
    head = np.tile(np.array([0.55, 0.5, 0.5]), (SIDE, SIDE, 1))
    head[AWAY < 8] = (0.9, 0.1, 0.1)
    dubbed = dub_picture(scene, rendering(head, alpha), np.ones((SIDE, SIDE), np.float32))
    assert np.array_equal(dubbed.image[AWAY > 41], scene[AWAY > 41])
    assert dubbed.seam < 3 and dubbed.seam_unmatched > 20
    # What the head has of its own stays: the mouth is still redder than the skin.
    middle, around = dubbed.image[AWAY < 6].mean(0), dubbed.image[(AWAY > 12) & (AWAY < 20)].mean(0)
    assert middle[0] - middle[1] > around[0] - around[1] + 60


def test_the_same_head_changes_nothing() -> None:
    scene = footage()
    same = rendering(scene / 255.0, (AWAY < 40).astype(float))
    dubbed = dub_picture(scene, same, np.ones((SIDE, SIDE), np.float32))
    assert np.abs(dubbed.image.astype(int) - scene).max() <= 1 and dubbed.seam < 0.5


def test_what_hides_the_neck_in_the_footage_still_does() -> None:
    scene, shown = footage(), (Y < 70).astype(np.float32)
    head = np.tile(np.array([0.9, 0.2, 0.2]), (SIDE, SIDE, 1))
    dubbed = dub_picture(scene, rendering(head, (AWAY < 40).astype(float)), shown)
    assert np.array_equal(dubbed.image[Y > 71], scene[Y > 71])
    assert np.abs(dubbed.image[60, 60].astype(int) - scene[60, 60]).max() <= 40


def test_nothing_of_a_head_leaves_the_footage() -> None:
    scene = footage()
    for alpha, shown in ((0.0, 1.0), (1.0, 0.0)):
        head = rendering(np.full((SIDE, SIDE, 3), 0.5), np.full((SIDE, SIDE), alpha))
        dubbed = dub_picture(scene, head, np.full((SIDE, SIDE), shown, np.float32))
        assert np.array_equal(dubbed.image, scene) and np.isnan(dubbed.seam)
