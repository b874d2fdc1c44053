import numpy as np
import pytest

from avatar.errors import InputError
from avatar.preprocess.framing import bridge_gaps, choose_crop, inside_crop, require_enough


def faces(centres, size: float) -> np.ndarray:
    """Landmarks of upright faces: an oval of height `size`, hair line (10) above and chin (152) below."""
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    oval = np.stack([0.38 * size * np.sin(angle), -0.5 * size * np.cos(angle), 0 * angle], axis=1)
    oval[10], oval[152] = (0, -0.5 * size, 0), (0, 0.5 * size, 0)
    return (oval + np.append(np.asarray(centres, float), np.zeros((len(centres), 1)), axis=1)[:, None]).astype(
        np.float32
    )


def test_a_large_picture_is_cropped_to_head_and_shoulders():
    landmarks = faces([(900, 400)] * 60, 200)
    crop = choose_crop(landmarks, 1920, 1080)
    assert 2.0 * 200 <= crop.side <= 2.3 * 200
    assert abs(crop.left + crop.side / 2 - 900) <= 1
    # Room above the hair line for hair, and more below the chin for neck and shoulders.
    assert crop.top <= 300 - 0.4 * 200
    assert crop.top + crop.side >= 500 + 0.6 * 200
    assert inside_crop(landmarks, crop).all()


def test_a_picture_that_the_head_fills_stays_whole():
    assert choose_crop(faces([(225, 210)] * 60, 235), 450, 450) == (0, 0, 450)
    wide = choose_crop(faces([(400, 130)] * 60, 150), 640, 256)
    assert (wide.top, wide.side) == (0, 256)
    assert wide.left == pytest.approx(400 - 128, abs=1)


def test_a_head_that_moves_gets_a_larger_crop_and_a_wild_detection_does_not():
    still, moving = [(800, 500)] * 400, [(600 + i, 500) for i in range(400)]
    small = choose_crop(faces(still, 200), 1920, 1080)
    large = choose_crop(faces(moving, 200), 1920, 1080)
    assert large.side > small.side + 100
    assert inside_crop(faces(moving, 200), large).all()
    assert choose_crop(faces([*still, (1700, 200)], 200), 1920, 1080).side == small.side


def test_a_head_that_moves_further_than_a_crop_can_reach_is_held_where_it_is_longest():
    walk = [(300, 300)] * 60 + [(300 + 10 * i, 300) for i in range(100)] + [(1300, 300)] * 90
    crop = choose_crop(faces(walk, 200), 1920, 600)
    assert crop.side == 600
    assert inside_crop(faces(walk, 200), crop)[160:].all()


def test_the_crop_stays_in_the_picture_at_its_corners():
    for centre in ((60, 80), (1880, 80), (60, 1000), (1880, 1000)):
        left, top, side = choose_crop(faces([centre] * 50, 150), 1920, 1080)
        assert left >= 0 and top >= 0 and left + side <= 1920 and top + side <= 1080


def test_short_gaps_are_bridged_over_time_and_long_ones_are_not():
    times = np.array([0, 0.1, 0.15, 0.2, 0.6, 0.7, 0.8])
    seen = np.array([True, False, False, True, False, True, False])
    values = np.stack([times * 10, times * 0 + 1], axis=1)
    values[~seen] = 99
    filled = bridge_gaps(values, seen, times)
    assert np.allclose(filled[:4, 0], times[:4] * 10)
    assert np.isnan(filled[[4, 6]]).all()
    assert np.array_equal(filled[seen], values[seen])


def test_too_little_of_a_face_is_refused_with_advice():
    times = np.arange(100) / 25
    require_enough("a.mp4", np.ones(100, bool), times)
    for used, found in ((np.zeros(100, bool), "no face found in 100 frames"), (times < 1.5, "a face in 38 of 100")):
        with pytest.raises(InputError, match=found) as caught:
            require_enough("a.mp4", used, times)
        assert "record one person" in str(caught.value)
    # Fifty frames of a fast camera are too short, too.
    with pytest.raises(InputError):
        require_enough("a.mp4", np.ones(60, bool), np.arange(60) / 120)
