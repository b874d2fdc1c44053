"""The page and the contact sheet of an avatar, on the tiny take."""

import base64
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatar.errors import PartError
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.train import showcase
from avatar.train.contact_sheet import GAP, TILE, contact_sheet
from avatar.train.evaluation import FrameFigures, evaluate_frames, held_out_frames
from avatar.train.evaluation_page import write_evaluation
from avatar.train.judgement import judgements, likeness, overall
from avatar.train.report import Shown, write_report
from avatar.train.showcase import Film
from avatar.train.shown_frames import chosen_frames, shown_frames

FIGURES = FrameFigures([27, 28, 29], [6.75, 7.0, 7.25], [30.0, 20.0, 25.0], [0.9, 0.8, 0.85])


@pytest.fixture(scope="module")
def stored(tiny_avatar: Path) -> StoredAvatar:
    return load_avatar(tiny_avatar)


def decoded(film: Film, path: Path) -> list[np.ndarray]:
    path.write_bytes(film.data)
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_camera_goes_around_and_comes_back(stored: StoredAvatar, tiny_motion: Motion, tmp_path: Path) -> None:
    film = showcase.turning(stored, tiny_motion, np.array([0.0, 0.0, -0.7]))
    frames = decoded(film, tmp_path / "film.mp4")
    assert len(frames) == 16 and film.seconds == 4 and film.poster.shape == frames[0].shape == (80, 80, 3)
    steps = [np.abs(one.astype(int) - other).mean() for one, other in pairwise(frames)]
    seam = np.abs(frames[0].astype(int) - frames[-1]).mean()
    assert seam < 1.5 * max(steps) and np.abs(frames[4].astype(int) - frames[12]).mean() > seam
    assert np.allclose(frames[0][:4, :4], 204, atol=6)


def test_an_avatar_of_a_silent_clip_moves_as_recorded(stored: StoredAvatar, tiny_take: Take, tmp_path: Path) -> None:
    assert showcase.talking(stored, tiny_take) is None
    frames = decoded(showcase.moving(stored, tiny_take.motion()[:9]), tmp_path / "film.mp4")
    assert len(frames) == 8
    assert np.abs(frames[3].astype(int) - tiny_take.image(3)).mean() < 8


def test_talking_has_sound_and_does_without_the_network(
    stored: StoredAvatar,
    take_copy: Take,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_motion: Motion,
) -> None:
    rate = 16000
    take_copy.write_speech((0.3 * np.sin(np.arange(6 * rate) / 9)).astype(np.float32))
    heard: list[int] = []

    def motion_of(speech, life, *, samples: np.ndarray, fps: float, seed: int) -> Motion:
        heard.append(len(samples))
        return tiny_motion.resample(np.arange(round(len(samples) / rate * fps)) / fps)

    monkeypatch.setattr(showcase, "motion_from_audio", motion_of)
    film = showcase.talking(stored, take_copy)
    assert film is not None and heard == [round(showcase.SECONDS * rate)]
    (tmp_path / "talk.mp4").write_bytes(film.data)
    with av.open(str(tmp_path / "talk.mp4")) as container:
        assert len(container.streams.audio) == 1 and container.streams.video[0].codec_context.name == "h264"

    def missing(*_: object, **__: object) -> Motion:
        raise PartError("whisper_tiny_en is missing")

    monkeypatch.setattr(showcase, "motion_from_audio", missing)
    assert showcase.talking(stored, take_copy) is None


def test_recording_and_avatar_stand_side_by_side(stored: StoredAvatar, tiny_take: Take, tmp_path: Path) -> None:
    indices = showcase.excerpt(tiny_take, around=7.0)
    assert indices.tolist() == [27, 28, 29]
    frames = decoded(showcase.beside(stored, tiny_take, indices), tmp_path / "film.mp4")
    assert len(frames) == 3 and frames[0].shape == (80, 160, 3)
    for frame, index in zip(frames, indices, strict=True):
        truth = tiny_take.image(int(index)).astype(int)
        assert np.abs(frame[:, :80] - truth).mean() < 8 and np.abs(frame[:, 80:] - truth).mean() < 8


def test_the_frames_a_person_asks_for_are_shown_once_each(stored: StoredAvatar, tiny_take: Take) -> None:
    chosen = chosen_frames(tiny_take, FIGURES)
    assert list(chosen)[:3] == [27, 29, 28]
    names = [name for names in chosen.values() for name in names]
    assert names[0] == "best frame" and "worst frame" in chosen[28] and "median frame" in chosen[29]
    motion = tiny_take.motion()[np.array(FIGURES.index)]
    assert ("open mouth" in names) == (motion.jaw_pose[:, 0].max() > 0.06)
    shown = shown_frames(tiny_take, stored.gaussians, FIGURES)
    assert [one.frame.index for one in shown] == list(chosen) and [one.psnr for one in shown] == [30.0, 25.0, 20.0]
    assert all(one.picture.shape == shown[0].picture.shape for one in shown)
    left, right = shown[0].picture[:, :340].astype(int), shown[0].picture[:, -340:]
    assert np.abs(left - right).mean() < 3
    assert not np.array_equal(shown[0].picture, shown[2].picture)


def test_faces_differ_from_rest_where_they_should(stored: StoredAvatar, tiny_take: Take) -> None:
    pictures = showcase.faces(stored, showcase.calm_moment(tiny_take))
    assert list(pictures) == list(showcase.FACES)
    rest = pictures.pop(showcase.AT_REST).astype(int)
    changes = {name: np.abs(picture - rest).mean() for name, picture in pictures.items()}
    assert min(changes.values()) > 0.02 and max(changes, key=lambda name: changes[name]) in ("open mouth", "smile")


def test_a_contact_sheet_has_every_picture_in_its_place(stored: StoredAvatar, tiny_take: Take) -> None:
    frames = list(held_out_frames(tiny_take, stored.gaussians))
    red = np.full((40, 40, 3), (200, 0, 0), np.uint8)
    sheet = contact_sheet("Zoë’s clip", {"left": red, "right": red}, {}, {"best": frames[0]})
    assert sheet.shape[1] == 2 * (TILE + GAP) + GAP
    reds = (sheet == (200, 0, 0)).all(-1)
    assert 0.8 * 2 * TILE**2 < reds.sum() <= 2 * TILE**2
    truth = cv2.resize(frames[0].truth, (TILE, TILE), interpolation=cv2.INTER_AREA).astype(int)
    bottom = sheet[-GAP - TILE : -GAP, GAP : GAP + TILE]
    assert np.abs(bottom - truth)[: TILE - 30].mean() < 3


def report(psnr: float = 34.0, **tracking: float) -> dict:
    held_out = {name: {"psnr": value, "ssim": 0.9, "l1": 0.01} for name, value in (("video_driven", psnr),)}
    held_out |= {"nearest_frame": held_out["video_driven"] | {"psnr": 24.0}}
    held_out |= {"nearest_frame_raw": held_out["nearest_frame"], "frames": {"count": 3.0, "skipped": 0.0}}
    return {
        "source": "me.mp4",
        "held_out": held_out,
        "tracking": {"reprojection_iod_median": 0.006, "silhouette_iou": 0.95} | tracking,
        "speech": {"driven": True, "correlation": 0.8, "rmse_mm": 2.0, "rmse_mean_face_mm": 4.0, "closure_f1": 0.7},
        "avatar": {"gaussians": 18000, "bytes": 7_000_000, "limits": {"yaw": (-30.0, 30.0)}},
        "stages": {"training": {"seconds": 100.0, "peak_rss_mb": 900.0}},
    }


def test_good_figures_are_called_good_and_weak_ones_come_first_with_advice() -> None:
    good = judgements(report())
    assert {one.kind for one in good} == {"good"} and overall(good, 34.0)[0] == "good"
    weak = report(reprojection_iod_median=0.05)
    weak["speech"] = {"driven": False, "note": "the clip has no sound"}
    weak["avatar"]["limits"]["yaw"] = (-12.0, 13.0)
    found = judgements(weak)
    assert [(one.kind, one.title) for one in found[:3]] == [
        ("bad", "Tracking of the face"),
        ("bad", "Speech"),
        ("warn", "Views from the side"),
    ]
    assert "the clip has no sound" in found[1].text and "Turn the head slowly" in found[2].text
    kind, _, text = overall(found, 34.0)
    assert kind == "warn" and "speech" in text
    assert overall(judgements(report(20.0)), 20.0)[0] == "bad"


def test_no_better_than_a_frame_of_the_recording_is_weak_whatever_the_figure() -> None:
    close = report(33.0)
    close["held_out"]["nearest_frame"] = {"psnr": 33.5, "ssim": 0.9, "l1": 0.01}
    found = judgements(close)[0]
    assert (found.kind, found.title) == ("bad", "Likeness") and "0.5 dB further off" in found.text
    assert likeness([found])[1] == "A weak likeness"
    uneven = judgements(report(), replace(FIGURES, psnr=[34.0, 24.0, 34.0]))[0]
    assert uneven.title == "Uneven" and "0:07.0" in uneven.text and uneven.kind == "bad"


def test_the_page_is_self_contained_small_and_plays(
    stored: StoredAvatar, tiny_take: Take, tiny_motion: Motion, tmp_path: Path
) -> None:
    summary, figures = evaluate_frames(tiny_take, stored.gaussians)
    assert figures.index == [27, 28, 29] and len(figures.psnr) == len(figures.ssim) == len(figures.time) == 3
    assert np.mean(figures.psnr) == pytest.approx(summary["video_driven"]["psnr"], abs=1e-3)
    films = [(showcase.turning(stored, tiny_motion, np.array([0.0, 0.0, -0.7])), "It <turns>")]
    beside = showcase.beside(stored, tiny_take, tiny_take.split()["test"])
    shown = Shown(
        films=films,
        beside=(beside, "side by side"),
        frames=shown_frames(tiny_take, stored.gaussians, figures),
        figures=figures,
        faces={"smile": tiny_take.image(0)},
        commands=[("Say it", "avatar render 'my me' --audio a&b.wav")],
        links=[("the recording", "take/report.html")],
    )
    content = report() | {"held_out": summary}
    write_report(tmp_path / "report.html", content, {}, shown=shown)
    write_evaluation(tmp_path / "eval.html", {"source": "me.mp4", "name": "me", "held_out": summary}, shown)
    assert not list(tmp_path.glob(".partial*"))
    for name in ("report.html", "eval.html"):
        page = (tmp_path / name).read_text()
        assert len(page) < 6e6 and "://" not in page and "<script" not in page and "url(" not in page
        assert "default-src 'none'; img-src data:; media-src data:" in page
        sources = re.findall(r'(?:src|poster)="([^"]*)"', page)
        assert sources and all(re.match("data:(image/jpeg|video/mp4);base64,", source) for source in sources)
        videos = re.findall(r'<video ([^>]*)src="data:video/mp4;base64,([^"]*)"', page)
        assert len(videos) == (2 if name == "report.html" else 1)
        for attributes, data in videos:
            assert {"autoplay", "muted", "loop", "playsinline", "controls"} <= set(attributes.split())
            assert decoded(Film(base64.b64decode(data), np.zeros((1, 1, 3), np.uint8), 0.0), tmp_path / "film.mp4")
        assert "best" in page and "PSNR of every held-out frame" in page
    page = (tmp_path / "report.html").read_text()
    assert "It &lt;turns&gt;" in page and "avatar render &#x27;my me&#x27; --audio a&amp;b.wav" in page
    assert "train the avatar" in page and 'href="take/report.html"' in page


def test_the_evaluation_s_page_says_how_speech_was_judged(tmp_path: Path) -> None:
    row = {
        "mouth_opening_correlation": 0.776,
        "mouth_opening_rmse_mm": 2.5,
        "lip_vertex_error_mm": 2.0,
        "mouth_landmark_iod": 0.0151,
        "closure_f1": None,
        "silence_motion_ratio": 0.042,
        "silence_opening_iod": 0.02,
        "best_offset_frames": -1,
        "sync_score": 0.8,
    }
    names = ("model", "truth", "mean_face", "nearest_audio", "shuffled", "model_without_rest")
    curve = (0.9 - 0.2 * np.abs(np.arange(-15, 16))).clip(-0.3).tolist()
    speech: dict = {"driven": True, "notes": {"closure_f1": "<nothing> heard"}} | dict.fromkeys(names, row)
    speech["protocol"] = {"folds": 5, "seconds": 19.8, "bilabials": 0, "closed_opening_iod": 0.058}
    speech["sync"] = {"shift_frames": list(range(-15, 16)), "curves": dict.fromkeys(names, curve)}
    result = {"source": "me.mp4", "name": "me", "held_out": report()["held_out"], "speech": speech}
    write_evaluation(tmp_path / "eval.html", result, Shown())
    page = (tmp_path / "eval.html").read_text()
    for text in ("Five models", "0.78", "1.51%", "4.2%", "<td>-1</td>", "–", "no SyncNet", "Sync score by shift"):
        assert text in page
    assert "frames that the sound is shifted by" in page and "&lt;nothing&gt; heard" in page and "://" not in page
