"""Motion: checks, resampling, and its file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError, InputError
from avatar.motion import PER_FRAME, Motion


def make_motion(count: int = 8, *, expression: int = 4) -> Motion:
    generator = np.random.default_rng(0)
    widths = {"expression": expression, "eyelids": 2}
    rows = {n: generator.normal(size=(count, widths.get(n, 3))).astype(np.float32) * 0.2 for n in PER_FRAME}
    return Motion(time=np.arange(count) / 25, betas=np.zeros(3, np.float32), head_id="open-1", head_hash="ab", **rows)


def test_a_file_gives_the_same_motion_back(tmp_path: Path) -> None:
    motion = make_motion()
    motion.save(tmp_path / "motion.npz")
    back = Motion.load(tmp_path / "motion.npz")
    assert (back.head_id, back.head_hash) == ("open-1", "ab")
    for name in ("time", "betas", *PER_FRAME):
        assert np.array_equal(getattr(back, name), getattr(motion, name))


def test_the_subjects_offsets_are_kept_through_file_slice_and_resampling(tmp_path: Path) -> None:
    offsets = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    motion = replace(make_motion(), vertex_offsets=offsets)
    motion.save(tmp_path / "motion.npz")
    for same in (Motion.load(tmp_path / "motion.npz"), motion[2:5], motion.resample(np.array([0.1, 0.2]))):
        assert same.vertex_offsets is not None and np.array_equal(same.vertex_offsets, offsets)


def test_a_file_without_offsets_or_shoulders_is_read_as_before(tmp_path: Path) -> None:
    motion = make_motion()
    assert "vertex_offsets" not in motion.arrays()
    np.savez(tmp_path / "motion.npz", **{k: v for k, v in motion.arrays().items() if k != "torso"})
    back = Motion.load(tmp_path / "motion.npz")
    assert back.vertex_offsets is None and not back.torso.any()


@pytest.mark.parametrize("bad", [np.zeros((9, 2)), np.full((9, 3), np.inf), np.zeros(9)])
def test_unusable_offsets_are_named(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="vertex_offsets"):
        replace(make_motion(), vertex_offsets=bad)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "motion.npz").write_text("hello")
    with pytest.raises(FormatError, match=r"is not a motion file\.\n.*\n  Found: something else\."):
        Motion.load(tmp_path / "motion.npz")


def test_resampling_at_its_own_times_changes_nothing() -> None:
    motion = make_motion()
    again = motion.resample(motion.time)
    for name in PER_FRAME:
        assert np.allclose(getattr(again, name), getattr(motion, name), atol=1e-6)


def test_rotations_take_the_shortest_way_and_ends_are_held() -> None:
    motion = make_motion(2)
    middle = motion.resample(np.array([-1.0, 0.02, 9.0]))
    first, last = (Rotation.from_rotvec(motion.neck_pose[i]) for i in (0, 1))
    halfway = first * Rotation.from_rotvec((first.inv() * last).as_rotvec() / 2)
    assert np.allclose(middle.neck_pose[1], halfway.as_rotvec(), atol=1e-5)
    assert np.allclose(middle.transl[[0, 2]], motion.transl, atol=1e-6)


@pytest.mark.parametrize("bad", [np.full((8, 3), np.nan, np.float32), np.zeros((7, 3), np.float32)])
def test_unusable_rows_are_named(bad: np.ndarray) -> None:
    rows = {name: getattr(make_motion(), name) for name in PER_FRAME} | {"jaw_pose": bad}
    with pytest.raises(InputError, match="jaw_pose"):
        Motion(time=np.arange(8) / 25, betas=np.zeros(3), head_id="open-1", head_hash="ab", **rows)


def test_times_must_increase() -> None:
    rows = {name: getattr(make_motion(), name) for name in PER_FRAME}
    with pytest.raises(InputError, match="times"):
        Motion(time=np.zeros(8), betas=np.zeros(3), head_id="open-1", head_hash="ab", **rows)


def test_back_and_forth_turns_gently_and_starts_as_it_is() -> None:
    ramp = replace(make_motion(51), transl=np.linspace(0, 1, 51, dtype=np.float32)[:, None].repeat(3, 1))
    length = float(ramp.time[-1] - ramp.time[0])
    time = np.linspace(0, 5 * length, 1001)
    way = ramp.back_and_forth(time).transl[:, 0]
    assert way[:170] == pytest.approx(time[:170] / length, abs=1e-4)
    assert way[200] > 0.9 and way[400] < 0.1 and way.min() >= 0 and way.max() <= 1
    assert np.abs(np.diff(way, 2)).max() < 0.5 * np.abs(np.diff(way)).max()
    assert np.array_equal(ramp.back_and_forth(ramp.time - ramp.time[0]).transl, ramp.transl)
    assert np.ptp(ramp[:1].back_and_forth(time).transl) == 0
