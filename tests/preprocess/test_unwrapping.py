"""The face unwrapped: its cells lie on the face, follow it, and tell which pixels belong to which of them."""

import cv2
import numpy as np
import pytest

from avatar.heads import Head
from avatar.io.take import Take
from avatar.preprocess.unwrapping import OVAL, UnwrappedFace

CHEEK, LIP, NOSE = 50, 13, 1


@pytest.fixture(scope="module")
def face(tiny_take: Take, open_head: Head) -> UnwrappedFace:
    return UnwrappedFace.of(tiny_take, open_head)


@pytest.mark.parametrize("index", [0, 9, 22])
def test_cells_lie_where_the_landmarks_see_the_face(face: UnwrappedFace, tiny_take: Take, index: int) -> None:
    side = tiny_take.info.width
    pixels, marks = face.places(index), tiny_take.perception()["landmarks"][index, :, :2]
    drawn = []
    for outline in (pixels[np.isfinite(pixels[:, 0])], marks[list(OVAL)]):
        hull = cv2.convexHull(outline.astype(np.float32)).round().astype(int)
        drawn.append(cv2.fillPoly(np.zeros((side, side), np.uint8), [hull], 1) > 0)
    assert (drawn[0] & drawn[1]).sum() > 0.8 * (drawn[0] | drawn[1]).sum()
    eyes = np.linalg.norm(marks[33] - marks[263])
    nearest = np.nanmin(np.linalg.norm(pixels - marks[NOSE], axis=1))
    assert nearest < 0.05 * eyes


def test_a_cell_stays_on_its_place_while_the_head_moves(face: UnwrappedFace, tiny_take: Take) -> None:
    marks = tiny_take.perception()["landmarks"][..., :2]
    start = face.places(0)
    cell = int(np.nanargmin(np.linalg.norm(start - marks[0, CHEEK], axis=1)))
    for index in (5, 12, 25):
        place = face.places(index)[cell]
        if np.isfinite(place).all():
            apart = (place - marks[index, CHEEK]) - (start[cell] - marks[0, CHEEK])
            assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(marks[0, 33] - marks[0, 263])


def test_mouth_and_eyes_are_not_firm(face: UnwrappedFace, tiny_take: Take) -> None:
    marks, pixels, firm = tiny_take.perception()["landmarks"][0, :, :2], face.places(0), face.firm[face.face]
    for landmark, expected in ((CHEEK, True), (LIP, False), (159, False), (151, True)):
        assert firm[np.nanargmin(np.linalg.norm(pixels - marks[landmark], axis=1))] == expected


def test_colours_are_those_of_the_frame_at_the_cells(face: UnwrappedFace, take_copy: Take, open_head: Head) -> None:
    side = take_copy.info.width
    ramp = np.tile(np.linspace(20, 220, side)[None, :, None], (side, 1, 3)).astype(np.uint8)
    take_copy.write_image(3, ramp)
    own = UnwrappedFace.of(take_copy, open_head)
    pixels, colors = own.places(3), own.colors(3)[own.face]
    seen = np.isfinite(pixels[:, 0])
    assert np.array_equal(np.isfinite(colors[:, 0]), seen)
    assert np.isnan(own.colors(3)[~own.face]).all()
    expected = 20 + 200 * (pixels[seen, 0] - 0.5) / (side - 1)
    assert np.abs(colors[seen, 0] - expected).max() < 3


def test_pixels_go_with_the_nearest_cell_and_a_little_beyond_the_face(face: UnwrappedFace, tiny_take: Take) -> None:
    pixels, marks = face.places(0), tiny_take.perception()["landmarks"][0, :, :2]
    left = np.zeros(face.face.shape, bool)
    left[face.face] = np.nan_to_num(pixels[:, 0], nan=1e9) < marks[NOSE, 0]
    found = face.nearer(0, left, face.face)
    columns, rows = np.floor(pixels[np.isfinite(pixels[:, 0])]).astype(int).T
    assert np.mean(found[rows, columns] == (columns + 0.5 < marks[NOSE, 0])) > 0.95
    assert found[int(marks[NOSE, 1]), 0] and not found[int(marks[NOSE, 1]), -1]
    assert not face.nearer(0, np.zeros_like(left), face.face).any()
    # Cells that are not asked neither mark nor claim a pixel.
    assert face.nearer(0, left, left)[rows, columns].all()
