"""The order of frames: every one in turn, the rare ones more often, and the same from wherever it is resumed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.io.take import Take
from avatar.train.schedule import CAP, drawn, rarity


def order(indices: np.ndarray, steps: range, *, extra: float = 0.0, seed: int = 7, rarities=None) -> list[int]:
    rarities = np.ones(len(indices)) if rarities is None else rarities
    return list(drawn(indices, rarities, steps, extra=extra, seed=seed))


@given(
    count=st.integers(1, 30),
    stop=st.integers(0, 100),
    share=st.floats(0, 1),
    extra=st.floats(0, 2),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_the_order_does_not_depend_on_where_it_starts(
    count: int, stop: int, share: float, extra: float, seed: int
) -> None:
    indices = np.arange(count) * 3 + 1
    whole = order(indices, range(stop), extra=extra, seed=seed)
    start = int(share * stop)
    assert order(indices, range(start, stop), extra=extra, seed=seed) == whole[start:]


def test_every_round_shows_every_frame_once_in_another_order() -> None:
    indices = np.array([4, 8, 9, 15, 21, 33, 40, 41])
    rounds = np.array(order(indices, range(24))).reshape(3, 8)
    assert (np.sort(rounds, axis=1) == indices).all()
    assert len({tuple(one) for one in rounds}) == 3
    assert order(indices, range(24), seed=8) != rounds.ravel().tolist()


def test_rare_frames_come_again_as_often_as_they_are_rare() -> None:
    indices, rarities = np.arange(20), np.array([1.0] * 16 + [4.0] * 4)
    rounds = 400
    counts = np.bincount(order(indices, range(30 * rounds), extra=0.5, rarities=rarities)) / rounds
    assert (counts >= 1).all()
    assert counts[:16] - 1 == pytest.approx(10 / 32, abs=0.1)
    assert counts[16:] - 1 == pytest.approx(40 / 32, abs=0.1)


def test_open_mouths_and_blinks_are_rare(take_copy: Take) -> None:
    indices = take_copy.split()["train"]
    motion, seen = take_copy.motion(), take_copy.perception()
    lids, marks = np.zeros_like(motion.eyelids), np.repeat(seen["landmarks"][:1], len(take_copy), 0)
    jaw = np.random.default_rng(0).normal(0, 0.01, motion.jaw_pose.shape)
    blink, gape = int(indices[3]), int(indices[8])
    lids[blink], jaw[gape] = 1.0, 0.4
    take_copy.write_motion(replace(motion, eyelids=lids, jaw_pose=jaw), focal=take_copy.info.focal)
    take_copy.write_perception({**seen, "landmarks": marks})
    found = rarity(take_copy, indices)
    told = np.isin(indices, [blink, gape])
    assert (found[told] == CAP).all() and np.median(found) == pytest.approx(1)
    assert np.mean(found[~told] < CAP) > 0.8


def test_a_lost_face_and_a_single_frame_have_a_rarity(take_copy: Take) -> None:
    indices, seen = take_copy.split()["train"], take_copy.perception()
    marks = seen["landmarks"].copy()
    marks[indices[2]] = np.nan
    take_copy.write_perception({**seen, "landmarks": marks})
    assert np.isfinite(rarity(take_copy, indices)).all()
    assert rarity(take_copy, indices[:1]).tolist() == [1.0]
