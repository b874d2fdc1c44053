"""Memory: what may be taken is understood, refused early, watched, and shared out."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar import cli, memory
from avatar.assets import asset
from avatar.errors import InputError, MemoryLimitError
from avatar.io.take import Take
from avatar.memory import MemoryCap, in_parts, is_out_of_memory, parse_size, resident, smallest_limit
from avatar.train.dataset import FrameReader, read_ahead, read_frame


@pytest.mark.parametrize(
    ("text", "size"),
    [("2G", 2_000_000_000), ("1500M", 1_500_000_000), ("1.5GiB", 3 << 29), (" 2gb ", 2_000_000_000), ("4096", 4096)],
)
def test_sizes_are_understood(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-2G", "0", "2 gigs", "G"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="a size such as 2G"):
        parse_size(text)


def test_a_cap_that_cannot_be_held_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("create", "preprocess"):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, str(asset("demo.mp4")), "-o", str(tmp_path / "me"), "--max-memory", "300M"])
        said = capsys.readouterr().err
        assert stop.value.code == 2
        assert "demo.mp4 cannot be worked on in so little memory" in said and "--max-memory 1" in said
        assert "Found: 0.30 GB" in said
    assert list(tmp_path.iterdir()) == []


def test_longer_and_larger_clips_need_more() -> None:
    assert smallest_limit(300, 256) < smallest_limit(300, 512) < smallest_limit(18000, 512) < 2_000_000_000


def test_work_above_the_cap_is_stopped_with_the_figures() -> None:
    with (
        pytest.raises(MemoryLimitError, match=r"at most 0\.00 GB.*\n.*Found: [0-9.]+ GB"),
        MemoryCap(1000, asked=True).watched(),
    ):
        for _ in range(100):
            time.sleep(0.05)
    # Nobody asked, or there is room: the work goes on.
    for cap in (MemoryCap(1000, asked=False), MemoryCap(10**12, asked=True)):
        with cap.watched():
            time.sleep(0.15)


def test_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), MemoryCap(10**12, asked=True).watched():
        raise KeyboardInterrupt


def test_the_default_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2 * 10**9)
    cap = MemoryCap.of(None)
    assert not cap.asked and abs(cap.limit - resident() - 10**9) < 10**8
    monkeypatch.setattr(memory, "available", lambda: 10**12)
    assert MemoryCap.of(None).limit == memory.LARGEST_DEFAULT
    assert MemoryCap.of("3G") == MemoryCap(3 * 10**9, asked=True)


def test_frames_are_kept_as_far_as_there_is_room_and_are_the_same_bits(tiny_take: Take) -> None:
    sizes: list[int] = []

    def room_for_two(size: int) -> bool:
        sizes.append(size)
        return len(sizes) <= 2

    reader = FrameReader(tiny_take, room_for_two)
    for index in (3, 4, 5, 3, 4, 5):
        frame, plain = reader(index), read_frame(tiny_take, index)
        assert frame.index == plain.index == index
        assert torch.equal(frame.image, torch.from_numpy(tiny_take.image(index)).float() / 255)
        assert torch.equal(frame.alpha, torch.from_numpy(np.asarray(tiny_take.mask(index))))
        assert np.array_equal(frame.parts, plain.parts)
    assert len(reader) == 2
    assert sizes == [80 * 80 * 5] * 4
    ahead = read_ahead(tiny_take, [1, 2, 1], has_room=lambda _: True)
    assert [frame.index for frame in ahead] == [1, 2, 1]


def test_parts_become_smaller_where_memory_runs_out() -> None:
    tried: list[int] = []

    def work(part: torch.Tensor) -> float:
        tried.append(len(part))
        if len(part) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return float(part.sum())

    assert sum(in_parts(work, torch.arange(20.0), size=16)) == sum(range(20))
    assert tried == [16, 8, 4, *[2] * 10]


def test_an_item_that_does_not_fit_alone_is_an_error() -> None:
    def work(part: np.ndarray) -> int:
        raise MemoryError

    with pytest.raises(MemoryLimitError, match="not enough memory for a single picture"):
        list(in_parts(work, np.arange(5), size=4))


def test_other_errors_are_not_taken_for_memory() -> None:
    def work(part: np.ndarray) -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_parts(work, np.arange(5), size=4))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to …"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_command_line_says_that_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from avatar.commands import doctor

    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):

        def run(options: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(doctor, "run", run)
        with pytest.raises(SystemExit) as stop:
            cli.main(["doctor"])
        assert stop.value.code == 2
        assert "There is not enough memory" in capsys.readouterr().err
