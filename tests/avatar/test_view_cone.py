"""The safe view cone's geometry."""

import numpy as np
import pytest

from avatar.view_cone import ViewCone, view_angles

CONE = ViewCone(yaw=(-20.0, 40.0), pitch=(-10.0, 30.0))


@pytest.mark.parametrize("angles", [(0, 0), (-20, 0), (40, 0), (0, -10), (0, 30), (28, 21), (-14, -7)])
def test_inside_nothing_is_beyond(angles: tuple[float, float]) -> None:
    assert CONE.beyond(np.array(angles)) == pytest.approx(0, abs=1e-9)


def test_outside_it_is_the_way_back_to_the_edge() -> None:
    angles = np.array([[-25, 0], [50, 0], [0, -40], [0, 33], [40, 30]])
    assert CONE.beyond(angles) == pytest.approx([5, 10, 30, 3, 50 - 50 / 2**0.5])


def test_a_cone_without_width_is_nearly_empty() -> None:
    assert ViewCone((0, 0), (0, 0)).beyond(np.array([8.0, 0])) == pytest.approx(7)


@pytest.mark.parametrize(("yaw", "pitch"), [((10, 20), (0, 0)), ((-10, -5), (0, 0)), ((0, 0), (-200, 0))])
def test_cones_that_cannot_be(yaw: tuple[float, float], pitch: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="view cone"):
        ViewCone(yaw, pitch)


def test_angles_count_from_the_face_however_it_is_turned() -> None:
    eyes, center = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 1]]), np.zeros((4, 3))
    still, turned = np.zeros((4, 3)), np.array([[0, 0, 0], [0, 0.3, 0], [0, 0, 0], [0.2, 0, 0]])
    degrees = np.degrees([0.3, 0.2])
    expected = [[90, 0], [-degrees[0], 0], [0, 45], [0, degrees[1]]]
    # A head that looks down (a positive turn about x) is seen from above; one turned to its left, from its right.
    assert np.allclose(view_angles(eyes, center, turned, still), expected)
    assert np.allclose(view_angles(eyes, center, still, turned), expected)
