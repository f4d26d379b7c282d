"""Headers of other versions."""

import orjson

from streamer.windows.coarse import CoarseHead
from streamer.windows.header import StreamHeader


def test_a_header_of_a_later_version_is_read_without_what_is_not_known() -> None:
    header = StreamHeader("grid", 7, 10**9, capacity=64, channels=["value"], counters=[False], lo=1, hi=9)
    header.rising, header.highest = [False], [0.0]
    header.coarse = CoarseHead.of_channels(300 * 10**9, ["value"])
    body = orjson.loads(header.to_json())
    later = {**body, "new": 1, "review": {**body["review"], "new": 2}, "coarse": {**body["coarse"], "new": [3]}}
    assert StreamHeader.from_json(orjson.dumps(later)) == header


def test_a_header_of_an_earlier_version_is_read_with_what_was_meant_then() -> None:
    """As of 2026-11-26: without coarse ring, review, scale, and what counters are told by."""
    raw = (
        b'{"state":"grid","grid_version":1,"interval_ns":60000000000,"phase_ns":0,"capacity":2048,"channels":["value"],'
        b'"counters":[false],"lo":5,"hi":9,"history_hi":7,"seq":2,"last_raw":[null],"last_raw_slot":[0],"last_seen_ms":3,"points":4}'
    )
    header = StreamHeader.from_json(raw)
    assert (header.coarse, header.scale, header.rising, header.highest) == (None, [], [False], [0.0])
