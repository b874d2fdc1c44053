"""Frames of a take: their order, reading ahead, and another background without a halo."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.errors import FormatError
from avatar.io.take import Take
from avatar.train.dataset import TrainingFrame, read_ahead, read_frame, shuffled


@given(count=st.integers(1, 30), stop=st.integers(0, 100), share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_order_does_not_depend_on_where_it_starts(count: int, stop: int, share: float, seed: int) -> None:
    indices = np.arange(count) * 3 + 1
    whole = list(shuffled(indices, range(stop), seed))
    start = int(share * stop)
    assert list(shuffled(indices, range(start, stop), seed)) == whole[start:]


def test_every_epoch_shows_every_frame_once_in_another_order() -> None:
    indices = np.array([4, 8, 9, 15, 21, 33, 40, 41])
    order = np.array(list(shuffled(indices, range(24), 7))).reshape(3, 8)
    assert (np.sort(order, axis=1) == indices).all()
    assert len({tuple(epoch) for epoch in order}) == 3
    assert list(shuffled(indices, range(24), 8)) != order.ravel().tolist()


def test_a_frame_is_read_as_it_lies_in_the_take(tiny_take: Take) -> None:
    frame = read_frame(tiny_take, 5)
    assert frame.index == 5
    assert torch.equal((frame.image * 255).round().byte(), torch.as_tensor(tiny_take.image(5)))
    assert np.array_equal(frame.alpha.numpy(), tiny_take.mask(5))
    assert np.array_equal(frame.parts, tiny_take.parts(5))


def test_reading_ahead_keeps_the_order_and_passes_errors_on(take_copy: Take) -> None:
    wanted = [3, 1, 3, 7]
    assert [frame.index for frame in read_ahead(take_copy, wanted)] == wanted
    assert list(read_ahead(take_copy, [])) == []
    (take_copy.path / "images" / "00001.png").write_bytes(b"no picture")
    frames = read_ahead(take_copy, wanted)
    assert next(frames).index == 3
    with pytest.raises(FormatError, match=r"00001\.png"):
        next(frames)


def test_a_reader_that_is_left_stops_its_thread(tiny_take: Take) -> None:
    before = threading.active_count()
    frames = read_ahead(tiny_take, range(20))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_the_plate_is_taken_out_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    person, plate, other = (torch.rand(6, 5, 3, generator=generator) for _ in range(3))
    alpha = torch.rand(6, 5, generator=generator)
    image = alpha[..., None] * person + (1 - alpha[..., None]) * plate
    frame = TrainingFrame(0, image, alpha, np.zeros((6, 5), np.uint8))
    assert torch.allclose(frame.over(plate, plate), image)
    assert torch.allclose(
        frame.over(other, plate), alpha[..., None] * person + (1 - alpha[..., None]) * other, atol=1e-6
    )
    flat = torch.tensor([0.2, 0.4, 0.9])
    assert torch.allclose(frame.over(flat, plate), alpha[..., None] * person + (1 - alpha[..., None]) * flat, atol=1e-6)
