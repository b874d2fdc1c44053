"""What is before the face: found where it is and for as long, never in a clip without, and not learnt."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.survey import take_camera
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render.playback import render_over
from avatar.train import covered
from avatar.train.config import TrainConfig
from avatar.train.covered import UsualFace, bridged, covered_cells, find_covered
from avatar.train.dataset import TrainingFrame, read_ahead, read_frame
from avatar.train.fitting import Objective, fit_avatar

SHAPE, FRAMES = (34, 30), 120
PATCH = (slice(14, 24), slice(4, 13))
HIDDEN = range(30, 70)


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


def with_patch(take: Take, rows: range) -> None:
    """Pastes a striped disc over one cheek of some frames."""
    marks = take.perception()["landmarks"]
    for index in rows:
        picture, (x, y) = take.image(index), marks[index, 50, :2]
        reach = 0.35 * np.linalg.norm(marks[index, 33, :2] - marks[index, 263, :2])
        height, width = np.mgrid[: picture.shape[0], : picture.shape[1]]
        inside = np.hypot(width + 0.5 - x, height + 0.5 - y) < reach
        picture[inside] = np.where((width[inside] // 4 % 2 == 0)[:, None], (250, 250, 40), (10, 40, 250))
        take.write_image(index, picture)


def pasted(take: Take, index: int) -> np.ndarray:
    picture = take.image(index).astype(int)
    return np.abs(picture - (250, 250, 40)).sum(-1) * np.abs(picture - (10, 40, 250)).sum(-1) == 0


@pytest.mark.parametrize("sampled", [400, 14])
def test_frames_of_a_take_are_looked_through(
    take_copy: Take, open_head: Head, sampled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covered, "FEWEST", 10)
    monkeypatch.setattr(covered, "SAMPLED", sampled)
    indices = take_copy.split()["train"]
    assert find_covered(take_copy, open_head, indices) is None
    rows = range(8, 16)
    with_patch(take_copy, rows)
    found = find_covered(take_copy, open_head, indices)
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
    assert find_covered(take_copy, open_head, take_copy.split()["train"]) is None


def test_covered_pixels_teach_nothing(tiny_gaussians: GaussianHead, tiny_take: Take, tiny_config: TrainConfig) -> None:
    objective = Objective.of(tiny_take, tiny_gaussians, tiny_config, 1)
    pose, background = tiny_gaussians.poses(tiny_take.motion())[5], torch.tensor([0.2, 0.5, 0.3])
    frame = read_frame(tiny_take, 5)
    hidden = torch.zeros(frame.alpha.shape, dtype=torch.bool)
    hidden[:, : hidden.shape[1] // 2] = True

    def seen(frame: TrainingFrame) -> list[float]:
        terms = objective.terms(tiny_gaussians, pose, frame, background)
        return [float(terms["image (L1 and D-SSIM)"].detach()), float(terms["alpha"].detach())]

    painted = replace(
        frame,
        image=torch.where(hidden[..., None], 0.9, frame.image),
        alpha=torch.where(hidden, 1 - frame.alpha, frame.alpha),
    )
    covered_frames = [replace(one, covered=hidden) for one in (frame, painted)]
    assert seen(covered_frames[0]) == seen(covered_frames[1])
    assert all(more > less for more, less in zip(seen(painted), seen(covered_frames[1]), strict=True))


def test_frames_are_read_with_what_hides_them(tiny_take: Take) -> None:
    hidden = np.zeros((tiny_take.info.height, tiny_take.info.width), bool)
    hidden[3:9] = True
    kept = read_ahead(
        tiny_take, [1, 2, 1], has_room=lambda _: True, covered=lambda index: hidden if index == 1 else None
    )
    first, second, again = kept
    assert second.covered is None
    for frame in (first, again):
        assert frame.covered is not None and np.array_equal(frame.covered.numpy(), hidden)


def test_training_leaves_out_what_is_before_the_face(
    take_copy: Take, tiny_take: Take, open_head: Head, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covered, "FEWEST", 10)
    with_patch(take_copy, range(5, 16))
    noted: list[dict[str, float]] = []
    truth, camera = tiny_take.image(10).astype(float), take_camera(take_copy)
    hidden, errors = pasted(take_copy, 10), []
    for skip in (True, False):
        config = replace(tiny_config, skip_covered=skip)
        gaussians = fit_avatar(take_copy, open_head, config, threads=1, on_covered=noted.append)
        pose = gaussians.poses(take_copy.motion()[10:11])[0]
        shown = render_over(gaussians, pose, camera, background=take_copy.background() / 255.0)
        errors.append(float(np.abs(shown - truth)[hidden].mean()))
    assert len(noted) == 1 and noted[0]["covered_frames"] == 11
    assert errors[0] < 0.95 * errors[1]
