"""Who is followed, which shots make the take, and what the take's clock does between them."""

import numpy as np
import pytest

from avatar.errors import InputError
from avatar.preprocess.faces import FaceFollower, Tracklet
from avatar.preprocess.landmarks import Region
from avatar.preprocess.main_face import SAME_SHAPE, cast_shot, shape_distance
from avatar.preprocess.selection import select_shots
from avatar.preprocess.shots import Shot

SIZE = (1280, 720)


def face(seed: int = 0) -> np.ndarray:
    """Landmarks of a face of height 1 around the origin; another seed is another person."""
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    points = np.stack([0.38 * np.sin(angle), -0.5 * np.cos(angle), 0.2 * np.cos(3 * angle)], axis=1)
    points += np.random.default_rng(seed).normal(0, 0.03, points.shape)
    points[10], points[152] = (0, -0.5, 0), (0, 0.5, 0)
    return points


def tracklet(start: int, stop: int, *, x: float, y: float = 360, height: float = 200, person: int = 0) -> Tracklet:
    result = Tracklet(start)
    rng = np.random.default_rng(start)
    for _ in range(start, stop):
        angle = rng.normal(0, 0.2)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        points = height * (face(person) + rng.normal(0, 0.003, (478, 3))) @ turn.T + (x, y, 0)
        result.landmarks.append(points.astype(np.float32))
        result.blendshapes.append(np.zeros(52, np.float32))
        result.confidence.append(1.0)
        result.colours.append(np.full((300, 3), 128, np.uint8))
    return result


def clock(count: int) -> np.ndarray:
    return np.arange(count) / 25


def choose(tracklets, *, shots=((0, 100),), all_shots=False, count: int = 100):
    times = clock(count)
    castings = [cast_shot(Shot(*shot), tracklets, times, size=SIZE) for shot in shots]
    return select_shots("a.mp4", castings, times, all_shots=all_shots, shrink=0.5)


def frames_of(selection) -> list[tuple[int, int]]:
    return [(t.start, t.stop) for person in selection.persons for t in person.tracklets]


@pytest.mark.parametrize(
    "other",
    [
        {"start": 0, "stop": 100, "x": 1000, "height": 120},  # smaller
        {"start": 0, "stop": 100, "x": 1200, "y": 650},  # at the border
        {"start": 0, "stop": 40, "x": 900},  # soon gone
        {"start": 0, "stop": 12, "x": 900, "height": 320},  # larger, for a moment
    ],
)
def test_the_larger_more_central_or_longer_face_is_followed_throughout(other):
    selection = choose([tracklet(**other, person=1), tracklet(0, 100, x=600)])
    assert frames_of(selection) == [(0, 100)]
    assert selection.persons[0].height == pytest.approx(200, rel=0.1)
    assert selection.notes == ()


def test_two_equal_faces_are_refused_with_their_frames():
    pair = [tracklet(0, 100, x=400), tracklet(20, 60, x=880, person=1), tracklet(80, 100, x=880, person=1)]
    with pytest.raises(InputError) as caught:
        choose(pair)
    text = str(caught.value)
    assert "a.mp4 shows two faces and none is the main one" in text
    # Sizes are those of the recording, of which the searched pictures are half as large.
    assert "frames 20 to 59 (0.8 to 2.4 s), 80 to 99 (3.2 to 4.0 s)" in text and "400 and" in text
    assert "one person" in text


def test_one_after_another_in_one_shot_is_refused_too():
    with pytest.raises(InputError, match=r"one in frames 0 to 49 .*another in frames 50 to 99"):
        choose([tracklet(0, 50, x=600), tracklet(50, 100, x=600, person=1)])


def test_a_face_that_leaves_and_returns_elsewhere_is_the_same_person():
    selection = choose([tracklet(0, 45, x=200), tracklet(60, 100, x=1000)])
    assert frames_of(selection) == [(0, 45), (60, 100)]
    assert selection.persons[0].seen(100).sum() == 85
    shapes = [choose([tracklet(0, 40, x=600, person=k)]).persons[0].shape for k in (0, 0, 1)]
    assert shape_distance(shapes[0], shapes[1]) < 0.01 < SAME_SHAPE < shape_distance(shapes[0], shapes[2])


def test_of_several_shots_the_longest_with_a_main_face_is_used_and_said():
    shots = ((0, 30), (30, 80), (80, 180), (180, 200))
    tracklets = [tracklet(0, 30, x=600), tracklet(30, 80, x=600), tracklet(90, 130, x=600), tracklet(180, 200, x=600)]
    selection = choose(tracklets, shots=shots, count=200)
    assert selection.shots == ((30, 80),)
    assert "cut into 4 shots" in selection.notes[0] and "frames 30 to 79 (1.2 to 3.2 s)" in selection.notes[0]
    assert [row["used"] for row in selection.rows] == [False, True, False, False]
    # A shot of two equal faces gives way to a shorter one that is clear.
    pair = [tracklet(30, 80, x=400), tracklet(30, 80, x=880, person=1), tracklets[0]]
    assert choose(pair, shots=shots, count=200).shots == ((0, 30),)


def test_all_shots_follow_the_same_person_and_a_stranger_is_reported():
    shots = ((0, 60), (60, 100), (100, 140), (140, 145))
    tracklets = [
        tracklet(0, 60, x=600),
        # The main person beside a larger one.
        tracklet(60, 100, x=300, height=150),
        tracklet(60, 100, x=800, height=250, person=1),
        tracklet(100, 140, x=600, person=2),
        tracklet(140, 145, x=600),
    ]
    selection = choose(tracklets, shots=shots, all_shots=True, count=145)
    assert selection.shots == ((0, 60), (60, 100), (100, 140))
    assert [round(person.height / 50) * 50 for person in selection.persons] == [200, 150, 200]
    assert "Another person seems to be shown in frames 100 to 139" in selection.notes[1]
    assert [row["used"] for row in selection.rows] == [True, True, True, False]


def test_the_clock_pauses_between_shots_and_the_sound_with_it():
    shots = ((0, 40), (40, 60), (60, 100))
    tracklets = [tracklet(0, 40, x=600), tracklet(60, 100, x=600)]
    selection = choose(tracklets, shots=shots, all_shots=True)
    source = clock(100)
    times = selection.times(source)
    assert np.allclose(np.diff(times)[[0, 38, 39, 40]], [0.04, 0.04, 1.0, 0.04])
    assert selection.frames.tolist() == [*range(40), *range(60, 100)]
    samples = np.arange(4 * 1000 + 500).astype(np.float32) + 1
    sound = selection.sound(samples, source, rate=1000)
    # Sample for sample what was heard at each picture's time, and silence in between.
    for row, frame in enumerate(selection.frames):
        assert sound[round(times[row] * 1000)] == samples[round(source[frame] * 1000)]
    assert (sound[1601:2559] == 0).all()
    assert sound[-1] == samples[-1]


def test_nobody_is_no_selection_error_of_its_own():
    selection = choose([])
    assert selection.persons[0].frames == 0
    assert selection.times(clock(100)).shape == (100,)


class TwoBlobs:
    """Faces are where it is told they are."""

    def __init__(self, places):
        self.places, self.frame = places, -1

    def detect(self, image):
        return [Region(x, y, 150, 0.0) for x, y in self.places(self.frame)]

    def look(self, image, region):
        for x, y in self.places(self.frame):
            if np.hypot(x - region.x, y - region.y) < 70:
                return Seen(100 * face() + (x, y, 0))
        return None


class Seen:
    def __init__(self, landmarks):
        self.landmarks, self.blendshapes, self.confidence = landmarks, np.zeros(52), 1.0


def follow(places, count: int) -> list[tuple[int, int]]:
    landmarker = TwoBlobs(places)
    follower = FaceFollower(landmarker)
    image = np.zeros((720, 1280, 3), np.uint8)
    for index in range(count):
        landmarker.frame = index
        follower.look(image, index / 25)
    return [(t.start, t.stop) for t in follower.tracklets]


def test_a_second_face_is_found_within_half_a_second():
    found = follow(lambda i: [(300, 300)] + ([(900, 300)] if i >= 15 else []), 60)
    assert found[0] == (0, 60)
    assert len(found) == 2 and 15 <= found[1][0] <= 28 and found[1][1] == 60


def test_a_face_that_jumps_is_another_tracklet():
    assert follow(lambda i: [(300 if i < 30 else 700, 300)], 60) == [(0, 30), (30, 60)]


def test_two_tracklets_that_meet_on_one_face_become_one():
    found = follow(lambda i: [(300 + 10 * min(i, 40), 300)] + ([(700, 300)] if i < 40 else []), 60)
    assert sorted(stop for _, stop in found)[-1] == 60
    assert sum(stop == 60 for _, stop in found) == 1
