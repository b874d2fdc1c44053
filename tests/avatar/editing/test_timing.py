"""Cutting, retiming, moving and smoothing, and mixtures of motions."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.editing import curve_values, mix, retime, shift, smooth, trim
from avatar.errors import InputError
from avatar.motion import PER_FRAME, ROTATIONS, Motion


@pytest.fixture
def late(talk: Motion) -> Motion:
    """A motion whose clock does not begin at zero and whose moments are uneven."""
    kept = np.delete(np.arange(len(talk)), [3, 4, 40])
    return replace(talk[kept], time=talk.time[kept] + 7.3)


def same(one: Motion, other: Motion, *, atol: float = 1e-6) -> None:
    for name in PER_FRAME:
        assert np.allclose(getattr(one, name), getattr(other, name), atol=atol), name


def test_trimming_keeps_what_lies_between_and_begins_at_zero(late: Motion) -> None:
    part = trim(late, 1.01, 2.5)
    assert part.time[0] == 0 and part.time[-1] == pytest.approx(1.49)
    same(part, late.resample(part.time + late.time[0] + 1.01))
    inside = late.time[(late.time > late.time[0] + 1.01) & (late.time < late.time[0] + 2.5)]
    assert np.allclose(part.time[1:-1], inside - late.time[0] - 1.01)
    same(trim(late), late)
    assert trim(late, 1.0, 99.0).time[-1] == pytest.approx(late.time[-1] - late.time[0] - 1)
    assert len(trim(late[:1])) == 1


@pytest.mark.parametrize("ends", [(2.0, 1.0), (-1.0, 1.0), (9.0, None), (1.0, 1.0), (float("nan"), None)])
def test_nothing_to_keep_is_refused(late: Motion, ends: tuple[float, float | None]) -> None:
    with pytest.raises(InputError, match=r"within 0 to 3.960 s"):
        trim(late, *ends)


def test_a_speed_scales_time_and_a_rate_fills_it(late: Motion) -> None:
    fast = retime(late, 2.0)
    assert np.allclose(fast.time - fast.time[0], (late.time - late.time[0]) / 2) and fast.time[0] == late.time[0]
    same(fast, late)
    even = retime(late, 0.5, fps=60)
    assert len(even) == int(2 * 3.96 * 60 + 1e-6) + 1 and np.allclose(np.diff(even.time), 1 / 60)
    same(even, late.resample(late.time[0] + (even.time - even.time[0]) / 2))
    for options in ({"speed": 0.0}, {"speed": -1.0}, {"fps": 0.0}, {"fps": float("nan")}):
        with pytest.raises(InputError, match="cannot be used"):
            retime(late, **options)


def test_an_offset_moves_the_motion_along_its_own_times(late: Motion) -> None:
    later = shift(late, 0.5)
    assert np.array_equal(later.time, late.time)
    same(later, late.resample(late.time - 0.5))
    assert np.array_equal(later.jaw_pose[0], late.jaw_pose[0])
    back = shift(shift(late, 0.4), -0.4)
    middle = slice(15, -15)
    assert np.abs(back.transl[middle] - late.transl[middle]).max() < 2e-3


def test_smoothing_blurs_by_the_time_asked_for(talk: Motion) -> None:
    step = np.zeros((len(talk), 3), np.float32)
    step[50:, 0] = 1.0
    soft = smooth(replace(talk, transl=step, neck_pose=0.5 * step), 0.2)
    # A step blurred by a Gaussian is its distribution function: 0.841 one deviation later.
    assert soft.transl[55, 0] == pytest.approx(0.841, abs=0.04)
    assert soft.neck_pose[55, 0] == pytest.approx(0.5 * 0.841, abs=0.02)
    assert smooth(talk, 0.0) is talk and smooth(talk[:2], 1.0) is not None
    rough = np.abs(np.diff(talk.jaw_pose, axis=0)).mean()
    assert np.abs(np.diff(smooth(talk, 0.1).jaw_pose, axis=0)).mean() < 0.7 * rough
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="The smoothing cannot be used"):
            smooth(talk, bad)


def test_smoothing_uneven_times_keeps_a_straight_line(late: Motion) -> None:
    line = np.repeat(late.time[:, None], 3, axis=1).astype(np.float32) - 7.3
    soft = smooth(replace(late, transl=line), 0.1)
    assert np.allclose(soft.transl[15:-15], line[15:-15], atol=1e-3) and np.array_equal(soft.time, late.time)
    gap = replace(late[:4], time=np.array([0.0, 1e-6, 2e-6, 1e6]))
    assert len(smooth(gap, 0.1)) == 4


def test_a_mixture_is_between_its_motions(talk: Motion) -> None:
    other = shift(talk, 0.3)
    same(mix([talk, other], [2.0, 0.0]), talk)
    same(mix([talk, other], [0.0, 0.5]), other)
    half = mix([talk, other])
    assert np.allclose(half.expression, (talk.expression + other.expression) / 2, atol=1e-6)
    for name in ROTATIONS:
        one, two = (Rotation.from_rotvec(getattr(m, name)) for m in (talk, other))
        between = one * Rotation.from_rotvec((one.inv() * two).as_rotvec() / 2)
        assert np.allclose(getattr(half, name), between.as_rotvec(), atol=1e-5), name


def test_a_mixture_follows_curves_and_the_first_motions_times(talk: Motion) -> None:
    other = retime(replace(talk, time=talk.time + 100), fps=40)
    faded = mix([talk, other], [[[0, 1], [2, 1], [3, 0]], [[2, 0], [3, 1]]])
    assert np.array_equal(faded.time, talk.time)
    same(faded[:50], talk[:50])
    same(faded[76:], other.resample(other.time[0] + talk.time[76:] - talk.time[0]))


@pytest.mark.parametrize(
    ("weights", "said"),
    [([1.0], "2 weights"), ([0.0, 0.0], "none at 0.00 s"), ([1.0, -0.5], "a negative weight"), ([1.0, "x"], "A curve")],
)
def test_mixtures_that_cannot_be(talk: Motion, weights: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mix([talk, talk], weights)
    with pytest.raises(InputError, match="one head model"):
        mix([talk, replace(talk, head_hash="ab" * 32)])


def test_curves_are_numbers_or_keys() -> None:
    at = np.array([-1.0, 0.0, 0.5, 1.0, 9.0])
    assert np.array_equal(curve_values(0.3, at), np.full(5, 0.3))
    assert np.allclose(curve_values([[0, 0], [1, 2]], at), [0, 0, 1, 2, 2])
    for bad in (
        "x",
        [],
        [1, 2],
        [[0, 1], [0, 2]],
        [[1, 0], [0, 0]],
        [[0, float("nan")]],
        float("inf"),
        None,
        [[0], [1, 2]],
    ):
        with pytest.raises(InputError, match="A curve cannot be used"):
            curve_values(bad, at)  # type: ignore[arg-type]
