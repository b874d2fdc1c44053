"""Frames of a take: reading ahead, and another background without a halo."""

import threading

import numpy as np
import pytest
import torch

from avatar.errors import FormatError
from avatar.io.take import Take
from avatar.train.dataset import Outline, TrainingFrame, read_ahead, read_frame


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


def test_masks_are_read_as_firm_as_asked(take_copy: Take) -> None:
    soft = np.full((take_copy.info.height, take_copy.info.width), 0.5, np.float32)
    soft[0, :4] = 0, 0.4, 0.6, 1
    take_copy.write_mask(0, soft)
    for outline, row in (
        (Outline(), [0, 0.4, 0.6, 1, 0.5]),
        (Outline(0.5, 2), [0, 0.3, 0.7, 1, 0.5]),
        (Outline(0.5, 8), [0, 0, 1, 1, 0.5]),
        (Outline(0.4, 2), [0, 0.5, 0.9, 1, 0.7]),
    ):
        alpha = next(read_ahead(take_copy, [0], outline=outline)).alpha
        assert alpha[0, :5].tolist() == pytest.approx(row, abs=0.02 * outline.contrast)


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
