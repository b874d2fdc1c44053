"""The rows of an evaluation, on the tiny take and the Gaussians that it was drawn from."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avatar.errors import InputError, PartError
from avatar.face_mesh import EYES_AND_BROWS, OUTER_LIPS
from avatar.fields.gaussian_head import GaussianHead
from avatar.heads import Head
from avatar.io.parts import HEAD
from avatar.io.take import Take
from avatar.speech.features import SpeechFeatures
from avatar.speech.held_out import SpokenTake
from avatar.train import rows as rows_module
from avatar.train import speaking, speech_quality
from avatar.train.evaluation import head_region
from avatar.train.identity import load_identity
from avatar.train.picture_judges import IdentityJudge, PerceptualJudge
from avatar.train.picture_regions import edge_band, error_parts, hull, inter_ocular, picture_regions
from avatar.train.rows import RowFigures, evaluate_rows, stretches
from avatar.train.speech_quality import judge_speech
from avatar.train.tally import TRUTH, VIDEO, Moment, Tally


class Displaced:
    """A detector that sees the take's landmarks, in every row but the first a known way off, and half-shut eyes."""

    made = 0

    def __init__(self, landmarks: np.ndarray) -> None:
        self._landmarks, self._next = landmarks, 0
        self._shift = 3.0 * (Displaced.made > 0)
        Displaced.made += 1

    def track(self, image: np.ndarray, /) -> SimpleNamespace:
        seen = self._landmarks[self._next].copy()
        seen[:, 0] += self._shift
        self._next += 1
        return SimpleNamespace(landmarks=seen, blendshapes=np.full(52, 0.01 * self._shift))


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network but the one that a test asks for."""

    def missing(*_: object) -> None:
        raise PartError("not here")

    for name in ("load_st_lpips", "load_lpips", "load_identity"):
        monkeypatch.setattr(rows_module, name, missing)


@pytest.fixture
def found(light: None, tiny_take: Take, tiny_gaussians: GaussianHead) -> RowFigures:
    landmarks = tiny_take.perception()["landmarks"][27:]
    steps: list[tuple[int, int]] = []
    # The first one only tells whether there is a detector; the next is the truth's.
    Displaced.made = -1
    result = evaluate_rows(
        tiny_take,
        tiny_gaussians,
        speech_motion=tiny_take.motion()[np.array([26, 27, 28])],
        observer=lambda: Displaced(landmarks),
        progress=lambda *row: steps.append(row),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    return result


def test_rows_are_ordered_as_they_should_be(found: RowFigures) -> None:
    assert list(found.rows) == ["truth", "nearest_frame", "video_driven", "speech_driven"] == list(found.shown)
    psnr = {row: figures["head"]["psnr"] for row, figures in found.rows.items()}
    assert psnr["truth"] is None and psnr["video_driven"] > 45 > psnr["speech_driven"] > 10
    truth = found.rows["truth"]["mouth"]
    assert (truth["ssim"], truth["l1"], truth["flicker_ratio"]) == (1.0, 0.0, 1.0)
    video = found.rows["video_driven"]["head"]
    assert video["flicker_ratio"] == pytest.approx(1, abs=0.02) and video["seam"] < 0.005
    assert video["edge_alpha"] == pytest.approx(found.rows["truth"]["head"]["edge_alpha"], abs=0.01)
    assert found.rows["nearest_frame"]["head"]["flicker_ratio"] > 1
    assert found.frames == {"held_out": 3, "count": 3, "sampled": 3, "skipped": 0}
    assert [moment.index for moment in found.examples] == [27, 28, 29]


def test_what_was_rendered_and_what_pasted_adds_up(found: RowFigures) -> None:
    for row in found.rows.values():
        for figures in row.values():
            shares = [figures[name] for name in ("rendered_share", "plate_share", "pasted_share")]
            assert sum(s for s in shares if s is not None) == pytest.approx(1)
    assert found.rows["video_driven"]["face"]["rendered_share"] > 0.95
    assert found.rows["nearest_frame"]["face"]["pasted_share"] == 1


def test_landmarks_are_compared_with_those_seen_in_the_truth(found: RowFigures, tiny_take: Take) -> None:
    eyes = inter_ocular(tiny_take.perception()["landmarks"][27:])
    for region in ("face", "mouth"):
        assert found.rows["truth"][region]["landmark_px"] == 0
        assert found.rows["video_driven"][region]["landmark_px"] == pytest.approx(3)
        assert found.rows["video_driven"][region]["landmark_iod"] == pytest.approx(np.mean(3 / eyes))
    assert found.rows["video_driven"]["face"]["expression_distance"] == pytest.approx(0.03)
    assert found.rows["video_driven"]["face"]["face_found"] == 1


def test_missing_parts_are_noted_and_errors_are_shared_out(found: RowFigures) -> None:
    assert {"st_lpips", "lpips", "identity_distance"} <= set(found.notes) and "ms_ssim" in found.notes
    assert not any("st_lpips" in figures for row in found.rows.values() for figures in row.values())
    for parts in found.errors.values():
        for share in ("error_share", "area_share"):
            assert sum(part[share] for part in parts.values()) == pytest.approx(1)


def test_regions_lie_within_each_other_and_parts_tile_the_head(tiny_take: Take) -> None:
    head, landmarks = head_region(tiny_take, 27), tiny_take.perception()["landmarks"][27]
    regions = picture_regions(head, landmarks)
    assert (regions["mouth"] & ~regions["head"]).sum() == 0 and (regions["face"] & ~head).sum() == 0
    assert regions["whole"].all() and 0 < regions["mouth"].sum() < regions["face"].sum() < head.sum()
    parts = error_parts(tiny_take.parts(27), head, landmarks)
    assert {"mouth", "eyes", "face", "silhouette"} <= set(parts)
    assert (np.sum(list(parts.values()), axis=0) == head).all()
    assert not parts["collar"][tiny_take.parts(27) != HEAD].any()
    lost = np.full_like(landmarks, np.nan)
    assert list(picture_regions(head, lost)) == ["whole", "head"] and list(error_parts(head * 1, head, lost)) == [
        "head"
    ]


def test_hulls_grow_and_edges_are_as_wide_as_asked() -> None:
    corners = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]])
    assert hull(corners, (40, 40)).sum() == pytest.approx(100, abs=25)
    assert hull(corners, (40, 40), grown=3).sum() > hull(corners, (40, 40)).sum() + 4 * 3 * 8
    person = np.zeros((40, 40), bool)
    person[10:, 5:35] = True
    head = person & (np.arange(40)[:, None] < 30)
    band = edge_band(person, head, 3)
    assert band[10:13, 15].all() and not band[13, 15] and not band[29, 15] and band[20, 5:8].all()
    assert len(OUTER_LIPS) == 20 and all(len(set(eye)) == len(eye) for eye in EYES_AND_BROWS)


def test_a_long_take_is_compared_in_stretches() -> None:
    assert stretches(90).tolist() == list(range(90))
    long = stretches(1800)
    assert len(long) == 240 and long[0] == 0 and long[-1] == 1799 and (np.diff(long) == 1).sum() == 8 * 29


def test_a_take_without_a_head_at_its_end_is_refused(
    light: None, take_copy: Take, tiny_gaussians: GaussianHead
) -> None:
    for index in (27, 28, 29):
        take_copy.write_parts(index, np.zeros((80, 80), np.uint8))
    with pytest.raises(InputError, match="No held-out frame"):
        evaluate_rows(take_copy, tiny_gaussians)


def test_speech_that_cannot_be_heard_is_a_note(
    take_copy: Take, open_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = judge_speech(take_copy, open_head)
    assert silent.motion is None and "no sound" in silent.figures["note"] and silent.figures["model"] is None

    def missing(_: Take) -> None:
        raise PartError("whisper_tiny_en is missing")

    monkeypatch.setattr(speech_quality, "take_features", missing)
    assert judge_speech(take_copy, open_head).figures["note"].startswith("whisper_tiny_en is missing")

    values = np.random.default_rng(0).standard_normal((375, 384)).astype(np.float32)
    monkeypatch.setattr(speech_quality, "take_features", lambda _: SpeechFeatures(values, 50.0, "synthetic/1"))
    monkeypatch.setattr(speech_quality, "augmented_features", lambda *_, **__: ((),))
    take_copy.write_speech(np.zeros(16000 * 7, np.float32))
    take_copy.write_frames(take_copy.times / 3, take_copy.used)
    motion = take_copy.motion()
    take_copy.write_motion(replace(motion, time=motion.time / 3), focal=take_copy.info.focal)
    short = judge_speech(take_copy, open_head)
    assert short.figures["driven"] is False and "too little speech" in short.figures["note"]


def test_copies_of_the_sound_are_learned_from_and_judged_with(
    take_copy: Take, open_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = SpeechFeatures(np.ones((375, 384), np.float32), 50.0, "synthetic/1")
    copies, given = ((features,),), []

    def fitted(*_: object, **options: Any) -> None:
        given.append(options["copies"])
        raise InputError("enough")

    def folds(spoken: SpokenTake, *_: object, **__: object) -> None:
        given.append(spoken.copies)
        raise InputError("enough")

    for module in (speaking, speech_quality):
        monkeypatch.setattr(module, "take_features", lambda _: features)
        monkeypatch.setattr(module, "augmented_features", lambda *_, **__: copies)
    monkeypatch.setattr(speaking, "fit_speech_model", fitted)
    monkeypatch.setattr(speech_quality, "fit_folds", folds)
    take_copy.write_speech(np.zeros(16000 * 7, np.float32))
    assert speaking.fit_speaking(take_copy, open_head)[2]["driven"] is False
    assert judge_speech(take_copy, open_head).figures["driven"] is False
    assert given == [copies, copies]


def test_identity_without_dlib_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(PartError, match=r"pip install 'headsplat\[eval\]'"):
        load_identity()


def test_one_person_is_nearer_than_two(shared, perception_parts) -> None:
    """Two frames of one recording, and the project's own synthetic person."""
    pytest.importorskip("dlib")
    from avatar.assets import asset
    from avatar.io.video import read_frames
    from avatar.preprocess.landmarks import FaceLandmarker

    try:
        describe = load_identity()
    except PartError as error:
        pytest.skip(str(error))
    found = []
    for path, step in ((shared / "clips" / "diwali_2016.mp4", 20), (asset("demo.mp4"), 1)):
        for number, frame in enumerate(read_frames(path)):
            if number % step == 0:
                face = FaceLandmarker().track(frame.image)
                assert face is not None
                found.append(describe(frame.image, face.landmarks))
            if number >= step:
                break
    same, other = np.linalg.norm(found[0] - found[1]), np.linalg.norm(found[0] - found[2])
    assert same < 0.4 and other > same + 0.2


def test_a_smooth_face_is_nearer_the_mean_person_and_further_from_the_frame() -> None:
    """By descriptors that are single colours: the person's is 10, the frame shows 40, the avatar 20."""

    def describe(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        return picture[0, 0].astype(np.float64)

    pictures = {row: np.full((8, 8, 3), value, np.uint8) for row, value in ((TRUTH, 40), (VIDEO, 20))}
    seen = Moment(0, np.zeros((478, 3)), {}, {}, pictures, {}, np.zeros((8, 8), bool), np.ones((8, 8)), True)
    tally = Tally()
    IdentityJudge(describe, np.full(3, 10.0)).see(seen, tally)
    found = {row: figures["face"] for row, figures in tally.rows().items()}
    assert found[TRUTH] == pytest.approx({"identity_distance": 0, "identity_from_person": 30 * 3**0.5})
    assert found[VIDEO] == pytest.approx({"identity_distance": 20 * 3**0.5, "identity_from_person": 10 * 3**0.5})


def test_every_mouth_is_looked_at_by_deep_features_and_all_else_in_sampled_frames() -> None:
    shape = (96, 96)
    picture = np.zeros((*shape, 3), np.uint8)
    regions = {name: np.zeros(shape, bool) for name in ("face", "mouth")}
    regions["face"][10:90, 10:90] = regions["mouth"][60:80, 30:60] = True
    moments = [
        Moment(
            0,
            np.zeros((478, 3)),
            regions,
            {},
            {TRUTH: picture, VIDEO: picture + brightness},
            {},
            *[regions["face"]] * 2,
            first,
        )
        for brightness, first in ((0, True), (80, False))
    ]
    distance = SimpleNamespace(
        features=lambda image: image, between=lambda one, other: float(np.abs(one - other).max())
    )
    judge, tally = PerceptualJudge("apart", distance), Tally()  # pyright: ignore[reportArgumentType]
    for moment in moments:
        judge.see(moment, tally)
    found = tally.rows()[VIDEO]
    assert found["face"]["apart"] == 0
    assert found["mouth"]["apart"] == pytest.approx(80 / 255 / 2)
