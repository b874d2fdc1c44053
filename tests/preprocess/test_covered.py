"""What is before the face: found where it is and for as long, never in a clip without, and no part of the tracking."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from patches import pasted, with_patch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.sampling import Sampling
from avatar.heads import Head
from avatar.io.take import Take
from avatar.preprocess import covered
from avatar.preprocess._newton import refine
from avatar.preprocess.alignment import AlignmentConfig, align_take
from avatar.preprocess.capture_figures import CoveredFigures
from avatar.preprocess.capture_report import capture_report
from avatar.preprocess.covered import UsualFace, bridged, cover_take, covered_cells, find_covered
from avatar.preprocess.photometric import TrackedClip, refine_take
from avatar.preprocess.refinement_config import RefinementConfig, RefinementLevel
from avatar.preprocess.tracking import track
from avatar.preprocess.tracking_config import TrackingConfig
from avatar.speech.take import clear_frames

SHAPE, FRAMES = (34, 30), 120
PATCH = (slice(14, 24), slice(4, 13))
HIDDEN = range(30, 70)
QUICK = RefinementConfig(
    levels=(
        RefinementLevel(
            side=64,
            sampling=Sampling(gaussians=1500, torso_gaussians=200, components=4, closed=False),
            first_steps=40,
            later_steps=10,
            rounds=1,
            sweeps=1,
        ),
    ),
    key_frames=2,
    threads=1,
)


def face_and_firm() -> tuple[np.ndarray, np.ndarray]:
    """An oval face, and the same without the mouth and what is close to it."""
    face = cv2.ellipse(np.zeros(SHAPE, np.uint8), (15, 17), (13, 15), 0, 0, 360, 1, -1) > 0
    firm = face.copy()
    firm[23:30, 8:22] = False
    return face, firm


def talking(seed: int = 0) -> np.ndarray:
    """(T, h, w, 3) of a face with noise, two kinds of shading that come and go, and a mouth that opens at times."""
    generator = np.random.default_rng(seed)
    face, _ = face_and_firm()
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shades = np.stack([np.cos(columns / 8), np.sin(rows / 5)])
    strength = 12 * np.sin(np.arange(FRAMES)[:, None] * (0.11, 0.17) + (0, 1))
    skin = np.array([170, 130, 110]) + 20 * cv2.GaussianBlur(generator.normal(size=(*SHAPE, 1)), (0, 0), 2)[..., None]
    frames = skin + np.einsum("tk,khw->thw", strength, shades)[..., None]
    frames = frames + generator.normal(0, 1.5, frames.shape)
    frames[generator.random(FRAMES) < 0.1, 25:28, 10:20] = 30
    frames[:, ~face] = np.nan
    return frames.astype(np.float32)


def hand(frames: np.ndarray) -> np.ndarray:
    """The same with something of the skin's own colours, with dark gaps, that moves before a cheek in some frames."""
    frames, over = frames.copy(), np.full((10, 20, 3), (165, 120, 105), np.float32)
    over[:, ::4] -= 60
    for index in HIDDEN:
        place, start = frames[index][PATCH], index // 4 % 8
        place[:] = np.where(np.isfinite(place), over[:, start : start + 9], np.nan)
    return frames


def marks_of(frames: np.ndarray) -> np.ndarray:
    face, firm = face_and_firm()
    usual = UsualFace.of(frames, face)
    return np.stack([covered_cells(usual, firm, colors) for colors in frames])


def test_a_hand_is_found_where_and_when_it_is_there() -> None:
    marks = marks_of(hand(talking()))
    assert np.flatnonzero(marks.any((1, 2))).tolist() == list(HIDDEN)
    truth = np.zeros(SHAPE, bool)
    truth[PATCH] = face_and_firm()[0][PATCH]
    assert marks[HIDDEN.start : HIDDEN.stop, truth].mean() > 0.95
    assert not marks[:, :20, 22:].any()


def test_shading_an_opening_mouth_and_a_change_of_light_are_no_hand() -> None:
    frames = talking()
    frames[50:60] += 25
    assert not marks_of(frames).any()


def test_short_gaps_between_covered_frames_are_covered() -> None:
    times = np.arange(40) / 20.0
    one, other = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[5:9, 5:9], other[7:9, 5:12] = True, True
    found = bridged({4: one, 6: other, 20: one}, times)
    assert sorted(found) == [4, 5, 6, 20]
    assert np.array_equal(found[5], one & other)
    assert np.array_equal(found[4], one) and np.array_equal(found[20], one)


@pytest.mark.parametrize("sampled", [400, 14])
def test_frames_of_a_take_are_looked_through(
    take_copy: Take, open_head: Head, sampled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covered, "FEWEST", 10)
    monkeypatch.setattr(covered, "SAMPLED", sampled)
    indices = take_copy.split()["train"]
    assert find_covered(take_copy, open_head, indices, learnt=indices) is None
    rows = range(8, 16)
    with_patch(take_copy, rows)
    found = find_covered(take_copy, open_head, indices, learnt=indices)
    assert found is not None
    assert set(found.cells) == set(rows)
    for index in (8, 11, 15):
        hidden, truth = found(index), pasted(take_copy, index)
        assert hidden is not None and hidden[truth].mean() > 0.9
        assert hidden[take_copy.parts(index) == 1].mean() < 0.6
    assert found(4) is None and not found.marked(4).any()
    figures = found.figures()
    assert figures["frames"] == len(indices) and figures["covered_frames"] == len(found.cells)
    assert 0.02 < figures["covered_share"] < 0.5


def test_few_frames_tell_nothing(take_copy: Take, open_head: Head) -> None:
    with_patch(take_copy, range(6, 12))
    indices = take_copy.split()["train"]
    assert find_covered(take_copy, open_head, indices, learnt=indices) is None


def test_a_take_keeps_what_is_before_its_faces(
    take_copy: Take, open_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covered, "FEWEST", 10)
    held_out, rows = take_copy.split()["test"], range(20, 30)
    assert set(held_out) & set(rows)
    with_patch(take_copy, rows)
    stale = np.ones((take_copy.info.height, take_copy.info.width), bool)
    take_copy.write_covered(2, stale)
    figures = cover_take(take_copy, open_head)
    assert figures == {key: take_copy.info.stages["covered"].detail[key] for key in figures}
    assert [index for index in range(len(take_copy)) if take_copy.covered(index) is not None] == list(rows)
    for index in rows:
        hidden = take_copy.covered(index)
        assert hidden is not None and hidden[pasted(take_copy, index)].mean() > 0.9
    report = capture_report(take_copy)
    assert report.covered == CoveredFigures(len(rows), figures["covered_share"], [(5.0, 7.5)])
    assert "covered" in {finding.name for finding in report.findings}
    assert "something in 10 frames (33%)" in (take_copy.path / "report.html").read_text()
    marks = take_copy.hidden_landmarks()
    assert marks[rows.start, 50] and not marks[rows.start, 280] and not marks[rows.start - 1].any()
    cheek, forehead = clear_frames(take_copy, [50], [10])
    assert not cheek[rows.start : rows.stop].any() and cheek[: rows.start].all() and forehead.all()
    # A motion that is found anew does not tell it any longer.
    track(take_copy, open_head)
    assert take_copy.covered(rows.start) is None and not take_copy.hidden_landmarks().any()


def test_a_take_without_anything_says_nothing(take_copy: Take, open_head: Head, monkeypatch) -> None:
    monkeypatch.setattr(covered, "FEWEST", 10)
    assert cover_take(take_copy, open_head) == {}
    assert not list(take_copy.path.glob("covered/*"))


LEFT = range(8, 14)


def half_covered(take: Take) -> np.ndarray:
    """Says of some frames that something is before the left half of the picture; returns where that is."""
    hidden = np.zeros((take.info.height, take.info.width), bool)
    hidden[:, : hidden.shape[1] // 2] = True
    for index in LEFT:
        take.write_covered(index, hidden)
    return hidden


def test_hidden_landmarks_pull_at_nothing(take_copy: Take, open_head: Head) -> None:
    config = TrackingConfig(shared_steps=60)
    track(take_copy, open_head, config=config)
    half_covered(take_copy)
    clip = TrackedClip.of(take_copy, open_head, config)
    unseen = clip.problem.weight == 0
    rows = slice(LEFT.start, LEFT.stop)
    assert 0.2 < unseen[rows].float().mean() < 0.8 and not unseen[: LEFT.start].any()
    found = []
    for shift in (0.0, 4.0):
        problem = replace(clip.problem, target=clip.problem.target + shift * unseen[:, None])
        found.append(refine(problem, clip.shared, clip.frames, config=config)[0])
    for name, value in vars(found[0]).items():
        assert np.array_equal(value.numpy(), getattr(found[1], name).numpy()), name


@pytest.mark.parametrize("stage", ["refinement", "alignment"])
def test_covered_pixels_pull_at_nothing(
    tiny_take: Take, open_head: Head, tiny_gaussians: GaussianHead, tmp_path, stage: str
) -> None:
    found = []
    for paint in (None, 230):
        take = Take.open(shutil.copytree(tiny_take.path, tmp_path / str(paint)))
        track(take, open_head, config=TrackingConfig(shared_steps=60))
        hidden = half_covered(take)
        for index in LEFT if paint else ():
            picture = take.image(index)
            picture[hidden] = paint
            take.write_image(index, picture)
        if stage == "refinement":
            refine_take(take, open_head, config=QUICK)
        else:
            align_take(take, tiny_gaussians, config=AlignmentConfig(sweeps=1, refinement=QUICK))
        found.append(take.motion())
    for name in ("expression", "pose", "eyelids", "transl"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name)), name
    assert not np.array_equal(found[0].pose, tiny_take.motion().pose)
