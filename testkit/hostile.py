"""Messages that somebody else writes to topics that only workers should write to."""

import numpy as np
import orjson

from streamer.windows.wire import COLUMNS, MAGIC

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
