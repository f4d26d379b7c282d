"""Messages that somebody else writes: to topics that only workers should write to, and to `metrics` whatever comes."""

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson

from streamer.windows.wire import COLUMNS, MAGIC
from testkit.serving import NOW_MS

GOOD = {
    "seq": 1, "grid_version": 1, "channels": 1, "first_slot": 100, "slots": 3, "interval_ns": 10**9, "phase_ns": 0,
    "first_offset": 0, "last_offset": 0, "seen_ms": 1_790_000_000_000, "flags": 0,
}  # fmt: skip


def windows_message(streams: object = ("a",), *, version: int = 1, values: int | None = None, **columns: int) -> bytes:
    """One change with whatever numbers are given; `values` floats follow them, by default as many as announced."""
    given = {**GOOD, **columns}
    count = abs(given["slots"] * given["channels"]) if values is None else values
    head = orjson.dumps({"v": version, "streams": streams})
    parts = [MAGIC, len(head).to_bytes(4, "little"), head]
    parts += [np.array([given[name]], dtype).tobytes() for name, dtype in COLUMNS]
    return b"".join([*parts, np.zeros(count, "<f4").tobytes()])


class HostileMessage(NamedTuple):
    """One record for `metrics`. `dead`: it must be dead-lettered; else it is odd but within the rules, or a part of it is."""

    kind: str
    value: bytes | None
    dead: bool
    key: bytes | None = None
    headers: list[tuple[str, bytes]] | None = None
    stamp_ms: int = NOW_MS


def hostile_messages(seed: int, count: int, large_every: int = 2000) -> Iterator[HostileMessage]:
    """Hostile records of all kinds in random order; the same seed gives the same."""
    draw = random.Random(seed)
    kinds = list(_KINDS)
    for number in range(count):
        if number % large_every == large_every - 1:
            yield HostileMessage("large", b'{"stream": "' + b"x" * 3_900_000, True)
        else:
            yield _KINDS[draw.choice(kinds)](draw)


def _json(kind: str, body: dict[str, Any], dead: bool = True, **more: Any) -> HostileMessage:
    """Under the key that clients use, the stream's name; a wrong key is a kind of its own."""
    stream = body.get("stream")
    key = stream.encode() if isinstance(stream, str) and stream else None
    return HostileMessage(kind, orjson.dumps(body), dead, **{"key": key, **more})


def _point(draw: random.Random, **own: object) -> dict[str, object]:
    return {"stream": f"hostile{draw.randrange(50)}", "ts": NOW_MS - draw.randrange(10**6), "value": 1.0, **own}


def _truncated(draw: random.Random) -> HostileMessage:
    whole = orjson.dumps(_point(draw))
    return HostileMessage("truncated", whole[: draw.randrange(1, len(whole) - 1)], True)


def _flipped(draw: random.Random) -> HostileMessage:
    raw = bytearray(orjson.dumps(_point(draw)))
    raw[draw.randrange(2)] = 0xFF  # the brace or the quote behind it: invalid UTF-8 either way
    return HostileMessage("invalid UTF-8", bytes(raw), True)


def _wrong_type(draw: random.Random) -> HostileMessage:
    wrong: dict[str, object] = draw.choice(
        [
            {"stream": 7}, {"stream": None}, {"stream": ["a"]}, {"stream": ""}, {"stream": "a\nb"}, {"stream": "é" * 200},
            {"value": "12"}, {"value": "true"}, {"value": [1]}, {"value": {}}, {"values": {"a": 1}}, {"points": []},
            {"ts": "yesterday"}, {"ts": True}, {"ts": -1}, {"ts": [1]}, {"ts": 10**19}, {"ts": 1e300},
            {"ts": "2026-13-45T99:99:99Z"}, {"ts": "9999-12-31T23:59:59Z"}, {"value": 1e308}, {"value": -1e300},
        ]
    )  # fmt: skip
    return _json("wrong type", _point(draw, **wrong))


def _wrong_batch(draw: random.Random) -> HostileMessage:
    wrong: dict[str, object] = draw.choice(
        [
            {"points": "x"}, {"points": [[]]}, {"points": [[1, 2, 3]]}, {"points": [["x", 1]]}, {"channels": []},
            {"points": [[NOW_MS, 1.0], [NOW_MS, "x"]]}, {"points": [[NOW_MS, 1e39]]}, {"points": {"a": 1}},
            {"channels": ["a", "a"], "points": [[NOW_MS, 1, 2]]}, {"channels": [1], "points": [[NOW_MS, 1]]},
            {"channels": ["a" * 200], "points": [[NOW_MS, 1]]}, {"values": {}}, {"values": {"": 1}},
            {"channels": [f"c{k}" for k in range(300)], "points": [[NOW_MS, *range(300)]]},
        ]
    )  # fmt: skip
    return _json("wrong batch", {"stream": f"hostile{draw.randrange(50)}", **wrong})


_NAN = b'{"stream":"a","ts":1,"value":NaN}'  # no JSON, but it can only mean a gap


def _raw(draw: random.Random) -> HostileMessage:
    raw = draw.choice(
        [
            None, b"", b"null", b"[]", b"7", b'"x"', b"\x00" * 50, b"\xff\xfe" * 20, b"[" * 5000, b'{"a":' * 3000,
            _NAN, b'{"stream":"a","ts":1,"value":Infinity}', b"\x00\x00\x00\x00\x01avro",
            b'{"stream":"\\ud800","value":1}', b"<xml/>", draw.randbytes(200),
        ]
    )  # fmt: skip
    return HostileMessage("not JSON", raw, raw != _NAN)


def _header(draw: random.Random) -> HostileMessage:
    return _json("header", _point(draw), headers=[("mode", draw.choice([b"", b"evil", b"\xff", b"History"]))])


def _stamp(draw: random.Random) -> HostileMessage:
    body = {"stream": f"stamped{draw.randrange(5)}", "value": 1.0}
    return _json("record's time stamp", body, stamp_ms=draw.choice([2**62, 2**63 - 1, 10**15]))


def _future(draw: random.Random) -> HostileMessage:
    return _json("future", _point(draw, ts=NOW_MS + draw.randrange(10**6, 10**12)))


def _channels(draw: random.Random) -> HostileMessage:
    named = {f"c{draw.randrange(10**6)}": draw.random() for _ in range(draw.randrange(1, 4))}
    return _json(
        "channels that change",
        {"stream": "changing", "ts": NOW_MS - draw.randrange(10**5), "values": named},
        dead=False,
    )


def _clock(draw: random.Random) -> HostileMessage:
    ts = draw.choice([1, 10**9, draw.randrange(10**8, 1_700_000_000), "1970-01-01T00:00:00Z"])
    return _json(
        "clock that jumps", {"stream": f"jump{draw.randrange(3)}", "ts": ts, "value": draw.random()}, dead=False
    )


def _nonsense(draw: random.Random) -> HostileMessage:
    body = _point(
        draw, stream=draw.choice(["🙂", "../../etc", "a b", "{1}:ring", "%s", "x" * 256]), value=None, more=[1] * 9
    )
    return _json("valid nonsense", body, dead=False)


def _key(draw: random.Random) -> HostileMessage:
    return _json("huge key", _point(draw), dead=False, key=draw.randbytes(draw.choice([1, 100, 20_000])))


_KINDS: dict[str, Callable[[random.Random], HostileMessage]] = {
    made.__name__: made
    for made in (
        _truncated, _flipped, _wrong_type, _wrong_batch, _raw, _header, _stamp, _future, _channels, _clock, _nonsense, _key,
    )
}  # fmt: skip
