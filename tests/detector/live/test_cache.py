"""The window cache: what it takes, when it asks Redis, what it notices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.live.cache import window_changes
from streamer.windows.ring import StreamWindow
from streamer.windows.wire import COLUMNS, FLAG_HISTORY, WindowBatch, decode, encode
from testkit.fakes import CONTEXT, change_of, column, entry_of, header

NAN = float("nan")


def test_a_new_slot_is_appended() -> None:
    entry = entry_of("a", column([1, 2, 3]))
    assert entry.follow(change_of(2, 1003, [4, 5]))
    assert (entry.hi, entry.seq, entry.filled) == (1004, 2, 5)
    np.testing.assert_array_equal(entry.segment(1003, 1004, 3)[:, 0], [2, 3, 4, 5])


def test_slots_that_are_told_again_are_counted_once() -> None:
    entry = entry_of("a", column([1, 2, 3]))  # slots 1000..1002
    entry.follow(change_of(2, 1001, [2, 3, 4]))
    assert (entry.hi, entry.filled) == (1003, 4)


def test_the_segment_is_a_view() -> None:
    entry = entry_of("a", column(range(20)))
    assert np.shares_memory(entry.segment(1019, 1019, CONTEXT), entry.buffer_SC)


def test_what_lies_before_the_window_is_missing() -> None:
    entry = entry_of("a", column([1, 2]))
    np.testing.assert_array_equal(entry.segment(1001, 1001, 4)[:, 0], [NAN, NAN, 1, 2])


def test_old_numbers_are_dropped() -> None:
    entry = entry_of("a", column([1, 2]))
    assert not entry.follow(change_of(1, 1002, [9]))
    assert entry.hi == 1001


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (change_of(2, 1002, [1]), False),
        (change_of(3, 1002, [1]), True),
        (change_of(2, 1002, [1], grid_version=2), True),
        (change_of(2, 5000, [1]), True),
    ],
)
def test_redis_is_read_only_when_the_cache_cannot_know(change: object, wanted: bool) -> None:
    assert entry_of("a", column([1, 2])).needs_redis(change) is wanted  # type: ignore[arg-type]


def test_the_end_of_history_is_looked_up() -> None:
    entry = entry_of("a", column([1, 2]))
    entry.follow(change_of(2, 1002, [1, 1], FLAG_HISTORY))
    assert entry.scored == entry.history_hi == 1003
    assert not entry.needs_redis(change_of(3, 1004, [1], FLAG_HISTORY))
    assert entry.needs_redis(change_of(3, 1004, [1]))


def test_only_real_differences_are_late() -> None:
    entry = entry_of("a", column([1, 2, NAN, 4]))
    entry.follow(change_of(2, 1000, [1, 2, NAN, 4, 5]))
    assert entry.late_from is None
    entry.follow(change_of(3, 1001, [2, 3, 4, 5]))
    assert entry.late_from == 1002
    assert entry.row(1002)[0] == 3


def test_late_data_that_redis_brings_are_noticed() -> None:
    entry = entry_of("a", column([1, 2, 3]))
    entry.reload(StreamWindow(header(1000, 1003, seq=9), column([1, 7, 3, 4])))
    assert (entry.late_from, entry.seq, entry.hi, entry.scored) == (1001, 9, 1003, 1002)


def test_a_gap_is_nan() -> None:
    entry = entry_of("a", column([1, 2]))
    entry.follow(change_of(2, 1004, [5]))
    np.testing.assert_array_equal(entry.segment(1000, 1004, 1)[:, 0], [1, 2, NAN, NAN, 5])
    assert entry.present(1000, 1004).tolist() == [True, True, False, False, True]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_any_cut_gives_the_same_window(sizes: list[int]) -> None:
    """However slots come in, the newest `keep` are as if they had come at once."""
    values = np.arange(100, 100 + sum(sizes), dtype=np.float32)
    entry, at = entry_of("a", column([0])), 0
    for seq, size in enumerate(sizes, 2):
        entry.follow(change_of(seq, 1001 + at, values[at : at + size]))
        entry.scored = entry.hi
        at += size
    count = min(len(values), entry.keep)
    first = entry.hi - count + 1
    np.testing.assert_array_equal(entry.segment(first, entry.hi, 1)[:, 0], values[-count:])
    assert len(entry.buffer_SC) < 3 * entry.keep + 600


def test_unjudged_slots_are_never_moved_out() -> None:
    entry = entry_of("a", column([0]))
    for seq in range(2, 400):
        entry.follow(change_of(seq, 999 + seq, [seq] * 1))
    assert entry.base <= entry.scored + 1 - CONTEXT or entry.base == 1000


def test_a_message_becomes_changes() -> None:
    columns = {name: np.array([2, 3], np.int64) for name, _ in COLUMNS}
    columns |= {"channels": np.array([1, 2]), "slots": np.array([3, 1])}
    batch = decode(encode(WindowBatch(["a", "b"], columns, np.array([1, NAN, 3, NAN, NAN], np.float32))))
    (a, first), (b, second) = window_changes(batch)
    assert (a, b) == ("a", "b")
    assert (first.first, first.last, first.data) == (2, 4, 2)
    assert (second.values_NC.shape, second.data) == ((1, 2), 0)


def test_a_window_is_whole_until_something_lies_before_it() -> None:
    entry = entry_of("a", column(np.zeros(30)), keep=72)
    assert entry.whole
    entry.follow(change_of(2, 1030, [0.0] * 41))
    assert entry.whole
    entry.follow(change_of(3, 1071, [0.0]))
    assert not entry.whole
    assert not entry_of("a", column(np.zeros(64)), keep=72, capacity=64).whole  # the ring has overwritten what was
