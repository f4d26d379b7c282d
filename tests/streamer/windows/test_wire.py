"""The binary value of `windows` survives the round trip; anything else is refused, never misread."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ContractError
from streamer.windows.header import StreamHeader
from streamer.windows.notices import MAX_BYTES, MAX_RUN, Notices, numbered_notices, reread_notice
from streamer.windows.wire import FLAG_HISTORY, FLAG_LATE, MAGIC, decode, mark
from testkit.hostile import windows_message


def header(channels: int) -> StreamHeader:
    return StreamHeader("grid", 3, 10**9, 17, 8192, [f"c{i}" for i in range(channels)])


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=9)
)
def test_round_trip(items: list[tuple[str, int, int]]) -> None:
    notices = Notices()
    blocks = []
    for i, (stream, channels, slots) in enumerate(items):
        block = np.arange(slots * channels, dtype=np.float32).reshape(slots, channels) + i
        blocks.append(block)
        late, history = i % 2 == 0, i % 3 == 0
        notices.extend(numbered_notices(stream, header(channels), 100 + i, block, late, history, (i, i)))
    (raw,) = notices.messages()
    batch = decode(raw)
    assert batch.streams == [stream for stream, _, _ in items]
    edges = batch.bounds()
    for i, block in enumerate(blocks):
        assert batch.values[edges[i] : edges[i + 1]].tolist() == block.reshape(-1).tolist()
        assert batch.columns["first_slot"][i] == 100 + i
        assert batch.columns["flags"][i] == FLAG_LATE * (i % 2 == 0) | FLAG_HISTORY * (i % 3 == 0)
    assert set(batch.columns["seq"].tolist()) == {1}


def test_long_runs_are_cut_into_pieces_with_numbers_of_their_own() -> None:
    notices, head = Notices(), header(4)
    values = np.arange(4 * (MAX_RUN // 4 * 2 + 5), dtype=np.float32).reshape(-1, 4)
    notices.extend(numbered_notices("s", head, 1000, values, late=False, history=True))
    decoded = [decode(raw) for raw in notices.messages()]
    assert all(len(raw) < MAX_BYTES + 4 * MAX_RUN for raw in notices.messages())
    assert [int(s) for batch in decoded for s in batch.columns["seq"]] == [1, 2, 3]
    assert np.concatenate([batch.values for batch in decoded]).tolist() == values.reshape(-1).tolist()
    assert head.seq == 3


def test_what_is_read_back_keeps_its_number_and_its_newest_slots() -> None:
    head = header(4)
    values = np.arange(4 * (MAX_RUN // 4 + 5), dtype=np.float32).reshape(-1, 4)
    notice = reread_notice("s", head, 9, 1000, values, history=False)
    notices = Notices()
    notices.extend([notice])
    (raw,) = notices.messages()
    batch = decode(raw)
    assert batch.columns["seq"].tolist() == [9]
    assert batch.columns["first_slot"].tolist() == [1005]
    assert batch.values.tolist() == values[5:].reshape(-1).tolist()
    assert head.seq == 0


@given(st.binary(max_size=60), st.integers(0, 200))
def test_other_bytes_are_refused(noise: bytes, cut: int) -> None:
    notices = Notices()
    notices.extend(numbered_notices("s", header(1), 5, np.ones((3, 1), np.float32), late=False, history=False))
    (raw,) = notices.messages()
    for wrong in (noise, b"ALW1" + noise, raw[: min(cut, len(raw) - 1)], raw + b"x"):
        with pytest.raises(ContractError):
            decode(wrong)


def test_the_message_of_the_next_tests_is_a_good_one() -> None:
    assert decode(windows_message()).streams == ["a"]


@pytest.mark.parametrize(
    "columns",
    [
        {"slots": -3, "channels": -1},
        {"slots": 0},
        {"channels": 257, "slots": 1},
        {"seq": -1},
        {"grid_version": 0},
        {"interval_ns": 0},
        {"interval_ns": -1},
        {"first_slot": 2**62},
        {"first_slot": -(2**63)},
        {"interval_ns": 2**62, "first_slot": 3},
        {"phase_ns": 2**63 - 1},
        {"seen_ms": 2**63 - 1},
        {"seen_ms": -5},
    ],
)
def test_numbers_that_no_streamer_writes_are_refused(columns: dict[str, int]) -> None:
    with pytest.raises(ContractError) as refused:
        decode(windows_message(**columns))
    assert refused.value.reason == "windows"


@pytest.mark.parametrize("streams", ["a", {"a": 1}, [1], [None], [""], ["x" * 300], None, [["a"]]])
def test_names_that_are_none_are_refused(streams: object) -> None:
    with pytest.raises(ContractError):
        decode(windows_message(streams))


def test_another_version_is_refused() -> None:
    with pytest.raises(ContractError, match="version 1"):
        decode(windows_message(version=2))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_whatever_follows_the_magic_is_read_or_refused(tail: bytes, cut: int) -> None:
    for raw in (
        MAGIC + tail,
        windows_message()[:cut],
        windows_message()[: cut // 2] + tail + windows_message()[cut // 2 :],
    ):
        try:
            batch = decode(raw)
        except ContractError:
            continue
        assert batch.bounds()[-1] == len(batch.values)


@pytest.mark.parametrize(
    "head",
    [
        {"received_ms": "now"}, {"received_ms": -1}, {"received_ms": 1 << 60}, {"received_ms": True}, {"refused": "a"},
        {"refused": [1]}, {"pauses": ["a"]}, {"pauses": {"a": "long"}}, {"pauses": {"a": -5}},
    ],
)  # fmt: skip
def test_a_mark_that_is_none_is_refused(head: dict[str, object]) -> None:
    raw = orjson.dumps({"v": 1, "streams": [], **head})
    with pytest.raises(ContractError, match="received_ms"):
        decode(b"ALW1" + len(raw).to_bytes(4, "little") + raw)


def test_pauses_and_marks_are_read_back() -> None:
    made = header(1)
    made.pauses = [59_000, 0, 0]
    notices = Notices()
    notices.extend(numbered_notices("a", made, 100, np.ones((1, 1), np.float32), False, False))
    assert [decode(raw).pauses for raw in notices.messages()] == [{"a": 59_000}]
    batch = decode(mark(17, ["b"]))
    assert (batch.streams, batch.received_ms, batch.refused) == ([], 17, ["b"])
