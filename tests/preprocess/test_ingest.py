from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.errors import FormatError, InputError
from avatar.io.take import Take
from avatar.io.video import VideoWriter
from avatar.preprocess.ingest import frame_rate, ingest
from avatar.preprocess.landmarks import Region
from avatar.preprocess.observer import Observer


@dataclass
class Face:
    landmarks: np.ndarray
    blendshapes: np.ndarray
    confidence: float = 0.9


class BlobLandmarker:
    """Takes red blobs of a picture for faces whose landmarks lie around their borders."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: np.ndarray) -> list[Region]:
        red = ((image[..., 0] > 150) & (image[..., 1] < 100)).astype(np.uint8)
        boxes = cv2.connectedComponentsWithStats(red)[2][1:]
        return [Region(x + w / 2, y + h / 2, 1.5 * max(w, h), 0.0) for x, y, w, h, area in boxes if area >= 20]

    def look(self, image: np.ndarray, region: Region) -> Face | None:
        self.calls += 1
        left, top = (max(0, round(middle - region.side / 2)) for middle in (region.x, region.y))
        part = image[top : top + round(region.side), left : left + round(region.side)]
        rows, columns = np.nonzero((part[..., 0] > 150) & (part[..., 1] < 100))
        if len(rows) < 20:
            return None
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
        angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
        points = (low + high) / 2 + (high - low) / 2 * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
        points[10], points[152] = ((low[0] + high[0]) / 2, low[1]), ((low[0] + high[0]) / 2, high[1])
        return Face(
            np.append(points + np.array([left, top]), np.zeros((478, 1)), axis=1), np.full(52, self.calls / 1000)
        )

    def first(self, image: np.ndarray) -> Face:
        """The only face of a picture."""
        (region,) = self.detect(image)
        face = self.look(image, region)
        assert face is not None
        return face


def observer() -> Observer:
    def fit(samples):
        return sum(1 for image, alpha, points in samples if points is not None and alpha.shape == image.shape[:2])

    def label(model, frames):
        assert 0 < model <= 32
        for _, alpha, points in frames:
            yield ((alpha > 0.5) * (1 if points is not None else 2)).astype(np.uint8)

    return Observer(
        landmarker=BlobLandmarker(),
        segment=lambda image: (image[..., 0] > 150).astype(np.float32),
        fit_regions=fit,
        label_parts=label,
        plate=lambda frames: np.median(np.stack([image for image, _ in frames]), axis=0).astype(np.uint8),
    )


def record(path: Path, *, frames=75, size=(96, 80), face=24, lost=(), sound=True, at=None) -> Path:
    """A red square face on grey that drifts to the right; `lost` frames show none."""
    audio = (np.sin(np.arange(frames * 640) / 9).astype(np.float32) / 2, 16000) if sound else None
    with VideoWriter(path, fps=Fraction(25), width=size[0], height=size[1], audio=audio, crf=10) as writer:
        for index in range(frames):
            image = np.full((size[1], size[0], 3), 90, np.uint8)
            if index not in lost:
                x, y = at or (size[0] // 3, size[1] // 3)
                image[y : y + face, x + index // 10 : x + index // 10 + face] = (230, 40, 40)
            writer.write(image)
    return path


def test_a_recording_becomes_a_take(tmp_path):
    steps: list[tuple[int, int]] = []
    take = ingest(
        record(tmp_path / "a.mp4"),
        tmp_path / "take",
        observer=observer(),
        progress=lambda done, total: steps.append((done, total)),
    )
    left, top, side = take.info.crop
    assert take.info.width == take.info.height == side < 80
    assert (take.info.fps, take.info.source_name) == ((25, 1), "a.mp4")
    assert np.allclose(take.times, np.arange(75) / 25)
    assert take.used.all() and take.is_complete("ingest")
    seen = take.perception()
    for index in (0, 40, 74):
        image, points = take.image(index), seen["landmarks"][index]
        found = BlobLandmarker().first(image)
        assert np.abs(found.landmarks - points).max() <= 1.01
        assert (take.mask(index) > 0.5).sum() == (take.parts(index) == 1).sum() > 400
        assert image.shape == (side, side, 3)
    speech = take.speech()
    assert speech is not None and len(speech) == pytest.approx(3 * 16000, abs=1024)
    assert take.background().shape == (side, side, 3)
    assert steps[-1] == (150, 150)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert (left, top) >= (0, 0)


def test_large_recordings_are_shrunk_with_their_landmarks_and_small_ones_never_enlarged(tmp_path):
    clip = record(tmp_path / "a.mp4", size=(400, 300), face=100, sound=False)
    take = ingest(clip, tmp_path / "take", size=64, observer=observer())
    assert (take.info.width, take.info.height) == (64, 64)
    assert take.info.crop[2] > 200
    found = BlobLandmarker().first(take.image(40))
    assert np.abs(found.landmarks - take.perception()["landmarks"][40]).max() < 1.5
    assert take.speech() is None


def test_a_small_face_in_a_huge_picture_is_found_again_in_the_crop(tmp_path):
    clip = record(tmp_path / "a.mp4", frames=60, size=(2560, 320), face=80, sound=False, at=(1801, 101))
    take = ingest(clip, tmp_path / "take", observer=observer())
    blend = take.perception()["blendshapes"]
    # Every frame was looked at again, in order, and its landmarks are those of the crop itself.
    assert np.allclose(np.diff(blend[:, 0]), 1 / 1000) and blend[0, 0] > 60 / 1000
    found = BlobLandmarker().first(take.image(30))
    assert np.abs(found.landmarks - take.perception()["landmarks"][30]).max() < 1e-3


def test_short_losses_are_bridged_and_long_ones_left_out(tmp_path):
    lost = {20, 21, 22, *range(40, 52)}
    take = ingest(record(tmp_path / "a.mp4", frames=90, lost=lost), tmp_path / "take", observer=observer())
    seen, used = take.perception(), take.used
    assert set(np.flatnonzero(~used).tolist()) == lost
    assert (seen["confidence"][sorted(lost)] == 0).all()
    assert np.isfinite(seen["landmarks"][20:23]).all() and np.isfinite(seen["blendshapes"][20:23]).all()
    assert np.isnan(seen["landmarks"][40:52]).all()
    assert take.info.stages["ingest"].detail["bridged"] == 3
    assert all(take.image(i).shape == take.image(0).shape for i in lost)


@pytest.mark.parametrize(
    ("options", "found"),
    [({"lost": range(75)}, "no face found in 75 frames"), ({"frames": 30}, "a face in 30 of 30 frames")],
)
def test_too_little_of_a_face_leaves_nothing_behind(tmp_path, options, found):
    with pytest.raises(InputError, match=found):
        ingest(record(tmp_path / "a.mp4", **options), tmp_path / "take", observer=observer())
    assert not (tmp_path / "take").exists()


def test_a_finished_take_is_kept_and_another_recordings_refused(tmp_path):
    first, path = record(tmp_path / "a.mp4"), tmp_path / "take"
    ingest(first, path, observer=observer())
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    again = observer()
    assert len(ingest(first, path, observer=again)) == 75
    assert again.landmarker.calls == 0
    with pytest.raises(InputError, match="another recording"):
        ingest(record(tmp_path / "b.mp4", frames=80), path, observer=observer())
    with pytest.raises(InputError, match="another size"):
        ingest(first, path, size=100, observer=observer())
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_an_interrupted_ingest_starts_over(tmp_path):
    clip, path = record(tmp_path / "a.mp4"), tmp_path / "take"
    whole = ingest(clip, path, observer=observer())
    whole.update(stages={})
    (path / "images" / "00010.png").unlink()
    assert not Take.open(path).is_complete("ingest")
    assert ingest(clip, path, observer=observer()).image(10).shape == whole.image(9).shape


def test_bad_places_and_files_end_in_one_clear_error(tmp_path):
    clip = record(tmp_path / "a.mp4", frames=3)
    with pytest.raises(InputError, match=r"a\.mp4 is a file"):
        ingest(clip, clip / "take", observer=observer())
    with pytest.raises(InputError, match="no such file"):
        ingest(tmp_path / "none.mp4", tmp_path / "take", observer=observer())
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(FormatError, match="plain text"):
        ingest(tmp_path / "text.mp4", tmp_path / "take", observer=observer())
    assert not (tmp_path / "take").exists()


def test_an_error_while_writing_reaches_the_caller(tmp_path, monkeypatch):
    def full_disk(self, index, alpha):
        raise InputError("no space left on the disk")

    monkeypatch.setattr(Take, "write_mask", full_disk)
    with pytest.raises(InputError, match="no space"):
        ingest(record(tmp_path / "a.mp4"), tmp_path / "take", observer=observer())


@pytest.mark.parametrize(
    ("times", "declared", "rate"),
    [
        # The container's value stays where the times agree with it: they are rounded to its clock.
        (np.round(np.arange(100) / 25, 2), Fraction(25), Fraction(25)),
        (np.round(np.arange(300) * 1.001 / 30, 3), Fraction(30000, 1001), Fraction(30000, 1001)),
        # A header that states its clock, with times that jitter around 24 frames a second.
        (np.r_[0, (np.arange(1, 240) + 0.3 * np.sin(np.arange(1, 240))) / 24, 10], Fraction(1000), Fraction(24)),
        (np.arange(50) / 12.5, Fraction(25), Fraction(25, 2)),
        (np.zeros(1), Fraction(90000), Fraction(240)),
        (np.arange(5) * 4.0, Fraction(25), Fraction(1)),
    ],
)
def test_the_frame_rate_is_that_of_the_decoded_times(times, declared, rate):
    assert frame_rate(times, declared) == rate


def test_a_header_that_states_its_clock_does_not_set_the_rate(tmp_path, monkeypatch):
    from avatar.preprocess import ingest as stage

    probe = stage.probe
    monkeypatch.setattr(stage, "probe", lambda path: replace(probe(path), fps=Fraction(1000)))
    take = ingest(record(tmp_path / "a.mp4"), tmp_path / "take", observer=observer())
    assert take.info.fps == (25, 1)
    assert take.perception()["landmarks"].dtype == np.float32
