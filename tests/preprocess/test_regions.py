"""Head and torso labels on drawn people of all colours, and the background plate."""

import cv2
import numpy as np
import pytest

from avatar.errors import InputError
from avatar.face_mesh import EYE_CORNERS, OVAL
from avatar.io.parts import BACKGROUND, HEAD, TORSO
from avatar.preprocess import _face_graph as graph
from avatar.preprocess.plate import background_plate, fill_holes
from avatar.preprocess.regions import RegionModel, face_frame, label_parts

SIZE = 300
PEOPLE = {
    "light skin, fair hair, blue shirt": ((225, 180, 160), (200, 170, 110), (60, 80, 150), False),
    "dark skin, black hair, white shirt": ((85, 55, 42), (25, 22, 22), (235, 235, 240), False),
    "brown skin, black hair, black suit": ((150, 100, 75), (22, 20, 22), (28, 28, 32), False),
    "long red hair, green dress": ((230, 190, 170), (130, 55, 30), (40, 110, 60), True),
    "long dark hair, light shirt": ((190, 140, 110), (45, 32, 28), (200, 205, 210), True),
    "bald, beige jumper": ((215, 165, 140), (215, 165, 140), (200, 195, 170), False),
    "full brown beard, white shirt": ((225, 180, 160), (95, 62, 40), (235, 235, 240), False),
    "full black beard, black suit": ((150, 100, 75), (22, 20, 22), (28, 28, 32), False),
    "full grey beard, grey jumper": ((215, 165, 140), (150, 148, 145), (120, 120, 125), False),
}


def draw(
    skin: tuple[int, ...],
    hair: tuple[int, ...],
    cloth: tuple[int, ...],
    long_hair: bool,
    shift: float = 0.0,
    beard: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A drawn person: image, alpha, landmarks and the true labels."""
    centre = np.array([150 + shift, 120.0])
    label = np.zeros((SIZE, SIZE), np.uint8)
    paint = np.full((SIZE, SIZE, 3), (90, 120, 100), np.uint8)

    def put(points: np.ndarray | tuple[int, int], axes: tuple[int, int], colour: tuple[int, ...], kind: int) -> None:
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.ellipse(mask, np.round(points).astype(int).tolist(), axes, 0, 0, 360, 1, -1)
        paint[mask > 0], label[mask > 0] = colour, kind

    put(centre + np.array((0, 185)), (125, 90), cloth, TORSO)
    put(centre + np.array((0, -10)), (72, 82), hair, HEAD)
    if long_hair:
        for side in (-58, 58):
            put(centre + np.array((side, 45)), (18, 75), hair, HEAD)
    shade = tuple(int(0.75 * c) for c in skin)
    put(centre + np.array((0, 75)), (32, 45), shade, HEAD)
    put(centre, (55, 72), skin, HEAD)
    if beard:
        # From below the cheekbones to well below the chin, around a bare mouth.
        put(centre + np.array((0, 48)), (48, 42), hair, HEAD)
        put(centre + np.array((0, 33)), (20, 9), skin, HEAD)
    rng = np.random.default_rng(int(shift) + 20)
    image = np.clip(cv2.GaussianBlur(paint, (0, 0), 0.8) + rng.normal(0, 4, paint.shape), 0, 255).astype(np.uint8)
    landmarks = np.tile(np.append(centre, 0.0), (478, 1))
    angle = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    landmarks[list(OVAL), :2] = centre + np.stack([52 * np.sin(angle), -68 * np.cos(angle)], axis=1)
    landmarks[graph.MOUTH, :2] = centre + np.array((0, 33))
    for index, x in zip(EYE_CORNERS, (-35, 35), strict=True):
        landmarks[index, :2] = centre + np.array((x, -15))
    alpha = cv2.GaussianBlur((label > 0).astype(np.float32), (0, 0), 0.8)
    return image, alpha, landmarks.astype(np.float32), label


@pytest.mark.parametrize("name", PEOPLE)
def test_labels_of_people_of_all_colours(name: str) -> None:
    frames = [draw(*PEOPLE[name], shift=shift, beard="beard" in name) for shift in (-8.0, 0.0, 8.0)]
    model = RegionModel.fit((image, alpha, landmarks) for image, alpha, landmarks, _ in frames)
    image, alpha, landmarks, truth = frames[1]
    label = model.label(image, alpha, landmarks)
    person = (truth > 0) & (alpha > 0.5)
    assert ((label > 0) == (alpha > 0.5)).all()
    head = truth == HEAD
    overlap = (head & (label == HEAD)).sum() / ((head & person) | (label == HEAD)).sum()
    assert overlap > 0.95, f"{name}: {overlap:.3f}"
    assert (model.beard is None) == ("beard" not in name)
    # None of the clothes well inside their outline may count as head.
    inside = cv2.erode((truth == TORSO).astype(np.uint8), np.ones((7, 7))) > 0
    assert (label[inside] == HEAD).mean() < 0.01


def test_a_collar_in_the_colour_of_the_beard_stays_clothes() -> None:
    """A narrow goatee, and a high collar on either side of the bare neck."""
    person = PEOPLE["full black beard, black suit"]
    image, alpha, landmarks, _ = draw(*person, beard=True)
    model = RegionModel.fit([(image, alpha, landmarks)])
    skin, _, cloth, _ = person
    cv2.rectangle(image, (100, 170), (200, 240), skin, -1)
    cv2.ellipse(image, (150, 175), (20, 30), 0, 0, 360, person[1], -1)
    for left in (118, 168):
        cv2.rectangle(image, (left, 196), (left + 14, 240), cloth, -1)
    alpha[170:240, 100:200] = 1
    label = model.label(image, alpha, landmarks)
    assert (label[185:203, 146:154] == HEAD).all()
    for left in (118, 168):
        assert (label[200:236, left + 4 : left + 11] == TORSO).all()


def test_labels_follow_a_turned_picture() -> None:
    image, alpha, landmarks, _ = draw(*PEOPLE["light skin, fair hair, blue shirt"])
    model = RegionModel.fit([(image, alpha, landmarks)])
    turn = cv2.getRotationMatrix2D((150, 150), 20, 1.0)
    turned = landmarks.copy()
    turned[:, :2] = landmarks[:, :2] @ turn[:, :2].T + turn[:, 2]
    label = model.label(
        cv2.warpAffine(image, turn, (SIZE, SIZE)), cv2.warpAffine(alpha, turn, (SIZE, SIZE)), turned.astype(np.float32)
    )
    expected = cv2.warpAffine(model.label(image, alpha, landmarks), turn, (SIZE, SIZE), flags=cv2.INTER_NEAREST)
    assert ((label == HEAD) == (expected == HEAD)).mean() > 0.985


def test_opening_the_mouth_leaves_the_axes_in_place() -> None:
    *_, landmarks, _ = draw(*PEOPLE["bald, beige jumper"])
    shut = face_frame(landmarks, SIZE, SIZE)
    opened = landmarks.copy()
    opened[graph.CHIN, 1] += 25
    assert face_frame(opened, SIZE, SIZE).size == pytest.approx(shut.size)
    assert face_frame(opened, SIZE, SIZE).below[SIZE - 1, 150] < shut.below[SIZE - 1, 150]


def test_a_patch_of_another_colour_on_the_neck_stays_head() -> None:
    image, alpha, landmarks, truth = draw(*PEOPLE["dark skin, black hair, white shirt"])
    model = RegionModel.fit([(image, alpha, landmarks)])
    marked = image.copy()
    cv2.circle(marked, (150, 200), 5, (230, 230, 235), -1)
    assert (model.label(marked, alpha, landmarks)[195:206, 145:156] == HEAD).all()
    assert (truth[195:206, 145:156] == HEAD).all()


def test_a_moving_head_leaves_no_rim_of_torso() -> None:
    frames = [draw(*PEOPLE["light skin, fair hair, blue shirt"], shift=4.0 * step)[:3] for step in range(5)]
    model = RegionModel.fit(frames)
    for label in label_parts(model, frames):
        assert not (label[:150] == TORSO).any()


def test_fit_needs_a_face() -> None:
    with pytest.raises(InputError, match="colours"):
        RegionModel.fit([])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
def test_label_parts_gives_a_label_for_each_frame_and_removes_flicker(count: int) -> None:
    class Flickering(RegionModel):
        calls = 0

        def label(self, image: np.ndarray, alpha: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
            self.calls += 1
            wrong = self.calls == 5
            return np.array([[HEAD if wrong else TORSO, BACKGROUND, HEAD]], np.uint8)

    model = Flickering(np.zeros(1), np.zeros(1))
    blank, points = np.zeros((1, 3, 3), np.uint8), np.zeros((478, 3), np.float32)
    frames = [(blank, np.ones((1, 3), np.float32), points)] * count
    labels = list(label_parts(model, frames))
    assert len(labels) == count
    # In a clip of at least five frames one wrong frame is outvoted.
    if count != 5:
        assert all(label.tolist() == [[TORSO, BACKGROUND, HEAD]] for label in labels)


def test_frames_without_a_face_keep_the_last_landmarks() -> None:
    image, alpha, landmarks, _ = draw(*PEOPLE["light skin, fair hair, blue shirt"])
    model = RegionModel.fit([(image, alpha, landmarks)])
    labels = list(label_parts(model, [(image, alpha, None), (image, alpha, landmarks), (image, alpha, None)], window=1))
    assert HEAD not in labels[0] and TORSO in labels[0]
    np.testing.assert_array_equal(labels[1], labels[2])


def test_plate_recovers_a_scene_behind_a_moving_person() -> None:
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), (120, 120), interpolation=cv2.INTER_CUBIC)

    def frames():
        for index in range(200):
            alpha = np.zeros((120, 120), np.float32)
            cv2.circle(alpha, (20 + index % 80, 70), 15, 1.0, -1)
            noisy = np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255)
            yield np.where(alpha[..., None] > 0, 255, noisy).astype(np.uint8), alpha

    plate = background_plate(frames(), max_frames=24)
    assert np.abs(plate.astype(int) - scene).max() < 12


def test_a_plate_shows_no_trace_of_changing_exposure() -> None:
    """A person who steps aside as the camera brightens: what was behind is as bright as what is beside."""
    scene = np.repeat(np.linspace(90, 120, 160)[None, :, None], 120, axis=0).repeat(3, axis=2)

    def frames():
        for index in range(24):
            alpha = np.zeros((120, 160), np.float32)
            left = 50 if index < 14 else 100
            alpha[20:, left : left + 40] = 1
            light = np.array([1.0, 1.0, 1.0] if index < 14 else [1.3, 1.25, 1.15])
            yield np.where(alpha[..., None] > 0, 30, np.rint(scene * light)).astype(np.uint8), alpha

    plate = background_plate(frames()).astype(int)
    assert np.abs(plate - scene).max() <= 2 or np.abs(plate - scene * [1.3, 1.25, 1.15]).max() <= 2


def test_holes_are_filled_smoothly_and_seen_pixels_stay() -> None:
    ramp = np.repeat(np.linspace(20, 220, 128).astype(np.uint8)[None, :, None], 96, axis=0).repeat(3, axis=2)
    known = np.ones((96, 128), bool)
    known[30:80, 40:90] = False
    filled = fill_holes(np.where(known[..., None], ramp, 0).astype(np.uint8), known)
    np.testing.assert_array_equal(filled[known], ramp[known])
    assert np.abs(filled.astype(int) - ramp)[~known].mean() < 14
    assert np.abs(np.diff(filled.astype(int), axis=1)).max() < 25
    assert (fill_holes(ramp, np.zeros_like(known)) == 128).all()


def test_plate_refuses_nothing_and_mixed_sizes() -> None:
    one = (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32))
    other = (np.zeros((5, 4, 3), np.uint8), np.zeros((5, 4), np.float32))
    with pytest.raises(InputError, match="at least one frame"):
        background_plate([])
    with pytest.raises(InputError, match="differ in size"):
        background_plate([one, other])
