"""The capture report: what is measured, what is said of it, and the page."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar import cli
from avatar.errors import InputError
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess._capture_excerpts import excerpt
from avatar.preprocess._capture_face import SHAPES, mouth_shapes, pose_figures
from avatar.preprocess._capture_pictures import edge_width, measure_pictures
from avatar.preprocess._capture_sound import sound_figures
from avatar.preprocess.capture_figures import (
    CaptureReport,
    ClipFigures,
    CoveredFigures,
    FaceFigures,
    PictureFigures,
    PoseFigures,
    ShapeFigures,
    SoundFigures,
    SyncFigures,
    TrackingFigures,
)
from avatar.preprocess.capture_report import CaptureLimits, capture_report, read_capture_report, require_go
from avatar.preprocess.capture_verdict import judge, verdict_of

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo.mp4"
GOOD = CaptureReport(
    verdict="go",
    forced=False,
    source_name="me.mp4",
    source_sha256="ab",
    findings=[],
    clip=ClipFigures(3000, 3000, 120.0, 120.0, 25.0, 512, 320.0, []),
    pose=PoseFigures("motion", (-30, 0, 30), (-15, 0, 15), (-5, 0, 5), [-10, 10], [-10, 10], [[120.0]]),
    face=FaceFigures(
        dict.fromkeys(("jawOpen", "mouthPucker", "mouthFunnel", "mouthSmileLeft"), (0.0, 0.2, 0.8))
        | dict.fromkeys(("mouthSmileRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"), (0.0, 0.2, 0.8)),
        {name: ShapeFigures(20.0, 60) for name in SHAPES},
        30,
        15.0,
        0.14,
    ),
    pictures=PictureFigures([0, 9], [0.5] * 2, [1.2] * 2, [120.0] * 2, [180.0] * 2, [0.0] * 2, [0.0] * 2, [False] * 2),
    sound=SoundFigures(-22.0, -60.0, 38.0, 90.0, 20.0, 0.0),
    sync=SyncFigures(0.1, 0.9, ""),
    tracking=TrackingFigures(0.005, 0.006, {"lips": 0.004}, [0.005] * 3000, [], 0.7),
    covered=CoveredFigures(50, 0.3, [(1.0, 3.0)]),
)


def findings(**parts: dict[str, Any]) -> list[tuple[str, str]]:
    """What is said of the good recording with some figures changed."""
    changed = {name: replace(getattr(GOOD, name), **values) for name, values in parts.items()}
    return [(found.name, found.severity) for found in judge(replace(GOOD, **changed), CaptureLimits())]


def test_nothing_is_said_of_a_good_recording() -> None:
    assert findings() == [] and verdict_of([]) == "go"


@pytest.mark.parametrize(
    ("part", "values", "expected"),
    [
        ("clip", {"used_seconds": 30.0}, ("short", "warning")),
        ("clip", {"used_seconds": 3.0}, ("short", "stop")),
        ("clip", {"fps": 15.0}, ("slow", "warning")),
        ("clip", {"used_frames": 2700}, ("lost", "warning")),
        ("clip", {"used_frames": 1400}, ("lost", "stop")),
        ("covered", {"frames": 160}, ("covered", "warning")),
        ("clip", {"face_pixels": 90.0}, ("small", "warning")),
        ("clip", {"face_pixels": 30.0}, ("small", "stop")),
        ("pictures", {"edge_percent": [1.6] * 2, "edge_pixels": [4.0] * 2}, ("blurred", "warning")),
        ("pictures", {"edge_percent": [3.6] * 2, "edge_pixels": [9.0] * 2}, ("blurred", "stop")),
        ("pictures", {"bright": [50.0] * 2}, ("dark", "warning")),
        ("pictures", {"bright": [20.0] * 2}, ("dark", "stop")),
        ("pictures", {"highlights": [0.1] * 2}, ("overexposed", "warning")),
        ("pictures", {"highlights": [0.6] * 2}, ("overexposed", "stop")),
        ("pictures", {"luminance": [70.0, 140.0]}, ("flicker", "warning")),
        ("pictures", {"cut_off": [True] * 2}, ("cut_off", "warning")),
        ("pose", {"yaw": (-4, 0, 4)}, ("frontal", "warning")),
        ("pose", {"pitch": (-2, 0, 2)}, ("frontal", "warning")),
        ("face", {"blinks": 0}, ("no_blinks", "warning")),
        ("face", {"mouth": {name: ShapeFigures(0.1, 1) for name in SHAPES}}, ("mouth_shapes", "warning")),
        ("sound", {"speech_db": None, "speech_seconds": 0.0}, ("silent", "warning")),
        ("sound", {"speech_db": -50.0}, ("quiet", "warning")),
        ("sound", {"snr_db": 8.0}, ("noisy", "warning")),
        ("sound", {"clipped": 0.01}, ("clipped", "warning")),
        ("sound", {"speech_seconds": 12.0}, ("little_speech", "warning")),
        ("sync", {"note": "no clear peak"}, ("sync", "warning")),
        ("tracking", {"error": 0.02}, ("tracking", "warning")),
        ("tracking", {"error": 0.06}, ("tracking", "stop")),
        ("tracking", {"outliers": list(range(400))}, ("outliers", "warning")),
    ],
)
def test_every_fault_is_named(part: str, values: dict[str, Any], expected: tuple[str, str]) -> None:
    assert findings(**{part: values}) == [expected]


def test_a_small_face_is_not_called_blurred_and_a_dark_one_not_cut_off() -> None:
    small = {"edge_percent": [2.0] * 2, "edge_pixels": [1.0] * 2}
    assert findings(clip={"face_pixels": 60.0}, pictures=small) == [("small", "warning")]
    assert findings(pictures={"bright": [50.0] * 2, "cut_off": [True] * 2}) == [("dark", "warning")]


def test_expressions_that_were_not_seen_are_named() -> None:
    still = dict.fromkeys(GOOD.face.actions, (0.1, 0.1, 0.15))
    found = judge(replace(GOOD, face=replace(GOOD.face, actions=still)), CaptureLimits())
    assert [finding.found for finding in found] == ["no open mouth or pursed lips or smile or raised brows"]


def test_a_refusal_names_every_stop_and_the_way_on(tmp_path: Path, take_copy: Take) -> None:
    clip = replace(GOOD.clip, used_seconds=3.0, face_pixels=30.0)
    found = judge(replace(GOOD, clip=clip), CaptureLimits())
    bad = replace(GOOD, clip=clip, findings=found, verdict=verdict_of(found))
    with pytest.raises(InputError) as refusal:
        require_go(bad, take_copy)
    assert str(refusal.value) == (
        "me.mp4 is not good enough for an avatar.\n"
        "  Expected: two minutes; at least 60 s, and never below 4 s; 300 pixels or more, and at least 128.\n"
        "  Found: the recording is short: 3.0 s with a face; the face is small in the picture: 30 pixels from hair "
        "line to chin.\n"
        "  To do: Talk for two minutes or more, about anything. More sounds and more looks are learned from a longer "
        "talk. Come closer until head and shoulders fill the picture, and record at 1080p or more.\n"
        f"         {take_copy.path / 'report.html'} says more; the option --force goes on all the same."
    )
    require_go(replace(bad, forced=True), take_copy)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("contrast", [20.0, 200.0])
def test_edge_width_is_the_blur_of_a_step(sigma: float, contrast: float) -> None:
    step = np.zeros((160, 160), np.float32)
    step[:, 80:] = contrast
    measured = edge_width(cv2.GaussianBlur(step, (0, 0), sigma), np.ones_like(step, bool))
    assert measured == pytest.approx(sigma, rel=0.15, abs=0.3)
    assert edge_width(np.full((20, 20), 7.0, np.float32), np.ones((20, 20), bool)) >= 20


def test_pictures_that_get_softer_and_darker_measure_so(take_copy: Take) -> None:
    sharp = measure_pictures(take_copy)
    assert sharp.frames == list(range(30)) and max(sharp.highlights) < 0.2
    for index in range(30):
        take_copy.write_image(index, cv2.GaussianBlur(take_copy.image(index), (0, 0), 2.0))
    soft = measure_pictures(take_copy)
    assert np.median(soft.edge_pixels) > 1.4 * np.median(sharp.edge_pixels)
    assert np.median(soft.luminance) == pytest.approx(np.median(sharp.luminance), rel=0.1)
    for index in range(30):
        take_copy.write_image(index, take_copy.image(index) // 4)
    dark = measure_pictures(take_copy)
    assert np.median(dark.luminance) == pytest.approx(0.25 * np.median(soft.luminance), rel=0.1)
    assert np.median(dark.bright) < 70 and np.sum(dark.shadows) > np.sum(soft.shadows)


@pytest.mark.parametrize("ratio", [30.0, 15.0, 5.0])
def test_speech_over_noise_is_found_with_and_without_pauses(ratio: float) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(10 * 16000) / 16000
    syllables = np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) * ((time % 4) < 3)
    voice = 0.2 * syllables * np.sin(2 * np.pi * 180 * time)
    power = np.mean(voice[(time % 4) < 3] ** 2)
    noise = rng.normal(size=len(time)) * np.sqrt(power / 10 ** (ratio / 10))
    found = sound_figures((voice + noise).astype(np.float32))
    assert found.snr_db == pytest.approx(ratio, abs=3)
    assert found.clipped == 0


def test_where_nothing_was_recorded_is_no_quiet_room() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(6 * 16000) / 16000
    voice = 0.2 * np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) * ((time % 3) < 2) * np.sin(2 * np.pi * 180 * time)
    heard = (voice + rng.normal(size=len(time)) * 0.02).astype(np.float32)
    gap = np.zeros(2 * 16000, np.float32)
    alone, cut = sound_figures(heard), sound_figures(np.concatenate([gap, heard, gap]))
    assert cut.noise_db == pytest.approx(alone.noise_db, abs=1) and cut.snr_db == pytest.approx(alone.snr_db, abs=1)
    assert cut.speech_seconds == pytest.approx(alone.speech_seconds, abs=0.3)


@pytest.mark.parametrize(
    ("sound", "title", "found"),
    [
        (None, "There is no speech", "no sound in the file"),
        (SoundFigures(None, -117.0, None, 0.0, 9.0, 0.0), "There is no speech", "a sound track that is silent"),
        (SoundFigures(None, -70.0, None, 0.0, 9.0, 0.0), "There is no speech", "nothing as loud as a voice"),
        (SoundFigures(-20.0, -51.0, 31.0, 0.1, 0.0, 0.0), "There is hardly any speech", "0.1 s of it"),
    ],
)
def test_what_is_said_of_a_clip_without_speech(sound: SoundFigures | None, title: str, found: str) -> None:
    (finding,) = judge(replace(GOOD, sound=sound), CaptureLimits())
    assert (finding.name, finding.title, finding.found) == ("silent", title, found)


def test_a_face_lost_once_is_lost_once() -> None:
    clip = replace(GOOD.clip, used_frames=2700, lost=[(4.0, 6.0)])
    (finding,) = judge(replace(GOOD, clip=clip), CaptureLimits())
    assert finding.found == "no usable face in 10% of the frames, once"


def test_the_tracked_piece_ends_with_the_clip(take_copy: Take, tmp_path: Path) -> None:
    shutil.copyfile(DEMO, take_copy.path / "tracking.mp4")
    end = float(take_copy.times[-1])
    assert end < 10 and f"0:00.0 to 0:{end:04.1f}<" in excerpt(take_copy, np.zeros(30))


def test_silence_has_no_speech_and_a_square_wave_is_clipped() -> None:
    assert sound_figures(np.zeros(32000, np.float32)).speech_db is None
    assert sound_figures(np.sign(np.sin(np.arange(32000) / 9)).astype(np.float32)).clipped > 0.9


def test_views_before_tracking_are_those_of_the_tracked_head(tiny_take: Take, tiny_motion: Motion) -> None:
    seen = tiny_take.perception()
    before, after = (pose_figures(tiny_take, seen, tracked=tracked) for tracked in (False, True))
    turns = Rotation.from_rotvec(tiny_motion.global_orient) * Rotation.from_rotvec(tiny_motion.neck_pose)
    yaw = turns.as_euler("YXZ", degrees=True)[:, 0]
    assert after.yaw == pytest.approx(np.percentile(yaw, [2, 50, 98]), abs=0.01)
    assert np.ptp(yaw) > 5
    # Weak perspective overstates turns of a head this near by a few degrees.
    assert before.yaw == pytest.approx(after.yaw, abs=5) and before.pitch == pytest.approx(after.pitch, abs=6)
    assert np.sum(after.seconds) == pytest.approx(7.5, abs=0.01)


def test_shapes_of_the_mouth() -> None:
    """One second each of closed, wide open, rounded, spread and middling lips at 25 frames a second."""
    landmarks = np.zeros((125, 478, 3), np.float32)
    landmarks[:, 263, 0] = 100
    gaps, widths = np.repeat([1.0, 25, 10, 10, 10], 25), np.repeat([60.0, 60, 45, 66, 60], 25)
    for lower, upper in ((13, 14), (82, 87), (312, 317)):
        landmarks[:, lower, 1], landmarks[:, upper, 1] = 0, gaps
    landmarks[:, 61, 0], landmarks[:, 291, 0] = -widths / 2, widths / 2
    used = np.ones(125, bool)
    found = mouth_shapes(landmarks, used, step=0.04)
    assert [(shape.seconds, shape.times) for shape in found.values()] == [(1.0, 1)] * 5
    used[:25] = False
    assert mouth_shapes(landmarks, used, step=0.04)[SHAPES[0]] == ShapeFigures(0.0, 0)


def test_the_report_of_a_take(take_copy: Take) -> None:
    used = np.ones(30, bool)
    used[10:14] = False
    take_copy.write_frames(take_copy.times, used)
    take_copy.update(source_name="<script>me & you</script>.mp4")
    take_copy.record("ingest", seconds=1.0, notes=["me.mp4 was cut into 3 shots."])
    report = capture_report(take_copy)
    assert report == read_capture_report(take_copy)
    assert report.clip.lost == [(2.5, 3.5)] and report.clip.used_frames == 26
    assert {"short", "slow", "lost", "small", "silent"} <= {finding.name for finding in report.findings}
    assert json.loads((take_copy.path / "report.json").read_text())["schema"] == 1
    page = (take_copy.path / "report.html").read_text()
    assert "me.mp4 was cut into 3 shots." in page
    assert "<script" not in page and "me &amp; you" in page and "://" not in page
    assert page.count("data:image/jpeg;base64,") == 8 and "No-go" in page
    assert all(finding.advice.split("'")[0] in page for finding in report.findings)


def test_a_report_is_continued_after_tracking_without_looking_at_the_pictures_again(
    take_copy: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    (take_copy.path / "motion.npz").rename(take_copy.path / "later.npz")
    first = capture_report(take_copy)
    assert (
        first.pose.source == "landmarks" and "written before tracking" in (take_copy.path / "report.html").read_text()
    )
    (take_copy.path / "later.npz").rename(take_copy.path / "motion.npz")
    detail: dict[str, Any] = {
        "reprojection_iod_median": 0.006,
        "reprojection_held_out": 0.007,
        "reprojection_regions": {"lips": 0.005},
        "residual": [0.006] * 29 + [None],
        "outliers": [3],
        "acceleration_ratio": 0.8,
        "focal": 160.0,
        "focal_error": 0.16,
    }
    take_copy.record("tracking", seconds=1.0, **detail)
    monkeypatch.setattr("avatar.preprocess.capture_report.measure_pictures", None)
    second = capture_report(take_copy)
    assert second.pictures == first.pictures and second.pose.source == "motion"
    assert second.tracking is not None and second.tracking.frames[-1] is None
    page = (take_copy.path / "report.html").read_text()
    assert "Tracking error of every frame" in page and "0.70% in held-out frames" in page
    assert "2.00 picture widths, to about 16%" in page


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_a_damaged_report_is_made_again(take_copy: Take, content: str) -> None:
    (take_copy.path / "report.json").write_text(content)
    assert capture_report(take_copy) == read_capture_report(take_copy)


def test_training_on_a_no_go_is_refused_before_it_starts(
    take_copy: Take, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capture_report(take_copy).verdict == "no-go"
    output = tmp_path / "me"
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", str(take_copy.path), "-o", str(output)])
    assert stop.value.code == 2 and not output.exists()
    assert "tiny.mp4 is not good enough for an avatar" in capsys.readouterr().err

    def reached(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("avatar.commands.create.make_avatar", reached)
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", str(take_copy.path), "-o", str(output), "--force"])
    assert stop.value.code == 130
