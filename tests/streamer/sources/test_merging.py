"""Records of several partitions come out in the order of their time stamps, and none is held for ever."""

from dataclasses import replace

from aiokafka import ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.merging import FULL_RECORDS, Merge

A, B, C = (TopicPartition("t", partition) for partition in range(3))


def records(tp: TopicPartition, *stamps: int) -> list[ConsumerRecord]:
    return [
        ConsumerRecord("t", tp.partition, at, stamp, 0, None, b"", None, 0, 0, ()) for at, stamp in enumerate(stamps)
    ]


def stamps(taken: list[ConsumerRecord]) -> list[int]:
    return [record.timestamp for record in taken]


def test_waits_for_a_partition_that_has_more() -> None:
    merge = Merge()
    merge.put({A: records(A, 1, 3, 5)})
    assert merge.take({A, B}, 10) == []
    merge.put({B: records(B, 2, 4)})
    assert stamps(merge.take({A, B}, 10)) == [1, 2, 3, 4]
    assert merge.take({A, B}, 10) == []
    assert stamps(merge.take({A}, 10)) == [5]


def test_partitions_that_are_at_their_end_hold_nothing_up() -> None:
    merge = Merge()
    merge.put({A: records(A, 1), C: records(C)})
    assert stamps(merge.take(set(), 10)) == [1]
    assert not merge.holds()


def test_what_is_dropped_is_gone_and_what_is_full_is_said() -> None:
    merge = Merge()
    merge.put({A: records(A, *range(FULL_RECORDS)), B: records(B, 1)})
    assert merge.full() == {A}
    merge.drop([A])
    assert merge.partitions() == {B}
    assert stamps(merge.take(set(), 10)) == [1]


def test_a_turn_ends_with_the_record_that_fills_it() -> None:
    merge = Merge()
    merge.put({A: [replace(record, value=b"x" * 40) for record in records(A, 1, 2, 3, 4, 5)]})
    assert stamps(merge.take(set(), 10, 100)) == [1, 2, 3]
    assert stamps(merge.take(set(), 10, 1)) == [4]
    assert stamps(merge.take(set(), 10)) == [5]


@given(st.lists(st.lists(st.integers(-1, 30), max_size=12), min_size=1, max_size=4), st.integers(1, 7), st.randoms())
def test_nothing_is_lost_and_every_partition_keeps_its_order(parts: list[list[int]], most: int, random: object) -> None:
    merge = Merge()
    of = {TopicPartition("t", at): records(TopicPartition("t", at), *part) for at, part in enumerate(parts)}
    pending = {tp: list(made) for tp, made in of.items()}
    taken: list[ConsumerRecord] = []
    while any(pending.values()) or merge.holds():
        tp = random.choice(list(pending))  # type: ignore[attr-defined]
        merge.put({tp: pending[tp][:2]})
        del pending[tp][:2]
        taken += merge.take({tp for tp, rest in pending.items() if rest}, most)
    for tp, made in of.items():
        assert [r for r in taken if r.partition == tp.partition] == made
    ordered = all(part == sorted(part) and -1 not in part for part in parts)
    assert not ordered or stamps(taken) == sorted(stamps(taken))
