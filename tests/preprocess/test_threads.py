import threading
import time

import pytest

from avatar.preprocess._threads import ahead, map_ordered


def test_items_are_drawn_ahead_but_not_all_of_them():
    drawn = []

    def source():
        for index in range(40):
            drawn.append(index)
            yield index

    items = ahead(source(), depth=3)
    assert next(items) == 0
    assert list(items) == list(range(1, 40))
    assert drawn == list(range(40))
    drawn.clear()
    items = ahead(source(), depth=3)
    assert [next(items) for _ in range(5)] == list(range(5))
    items.close()
    assert len(drawn) <= 5 + 3


def test_no_items_are_no_items():
    assert list(ahead([])) == []
    assert list(map_ordered(str, [])) == []


def test_results_come_in_order_from_several_threads_with_few_in_flight():
    meeting = threading.Barrier(2, timeout=10)
    drawn = []

    def source():
        for index in range(30):
            drawn.append(index)
            yield index

    def work(index):
        # Nobody passes alone: this ends only if two work at once.
        meeting.wait()
        time.sleep(0.002 * (index % 2))
        return index * index

    for index, result in enumerate(map_ordered(work, source(), threads=2)):
        assert result == index * index
        assert len(drawn) <= index + 8


def test_errors_of_the_source_and_of_the_work_reach_the_caller():
    def source():
        yield 1
        raise OSError("the disk is gone")

    items = ahead(source())
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
    results = map_ordered(lambda value: 1 // value, [1, 0, 1], threads=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
